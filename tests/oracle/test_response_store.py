"""The response store: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import response_store
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveal_names import parse
from wsl_extraction.oracle.reveals import Logits, Scores, TopK
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.oracle.store_file import Mode

CLASSES = 6
IDENTITY = {"victim": "v1", "data set": "d1", "defences": ""}


def opened(path, reveal="scores", dtype="float32", identity=None, **settings_):
  return ResponseStore(path, parse("reveal", reveal), CLASSES,
                       {**IDENTITY, **(identity or {})}, dtype, **settings_)


def asking(store=None, reveal="scores", **settings_):
  """An oracle, and what its victim has seen."""
  seen = []

  def predict(x):
    seen.extend(x[:, 0].tolist())
    return np.sin(x[:, :1] + np.arange(CLASSES)) * 3

  return oracles.oracle(predict, CLASSES, 1, reveal, store=store,
                        **settings_), seen


def rows(*numbers):
  return np.array(numbers, dtype=np.float64)[:, None]


def filled(path, count=200):
  x = rows(*range(count))
  with opened(path) as store:
    asking(store)[0].query(x)
  return row_keys(x)


def test_a_transaction_that_fails_leaves_all_as_before(tmp_path):
  first, second = row_keys(rows(1, 2))
  response = asking()[0].query(rows(1))
  with opened(tmp_path / "s") as store:
    store.charge([first], most=1)
    for _ in range(2):
      with pytest.raises(BudgetExceeded), store.transaction():
        store.write([first], response)
        store.charge([second], most=1)
      assert (len(store), store.spent) == (0, 1)
      assert store.is_charged(first) and not store.is_charged(second)
  with opened(tmp_path / "s") as store:
    assert (len(store), store.spent) == (0, 1)
    assert store.price([first, second]) == 1
    with store.transaction():
      store.write([first], response)
      store.charge([second], most=2)
    assert (len(store), store.spent) == (1, 2)


@pytest.mark.parametrize("reveal", [
    "label", "label_score", "top_k:3", "scores", "logits"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_reading_gives_the_response_to_the_query(tmp_path, reveal, dtype):
  x = rows(1, 2, 3)
  direct = asking(reveal=reveal)[0].query(x)
  with opened(tmp_path / "s", reveal, dtype) as store:
    first = asking(store, reveal)[0].query(x)
  with opened(tmp_path / "s", reveal, dtype) as store:
    second = store.read(row_keys(x))
  for response in (first, second):
    assert response.scale is direct.scale
    assert response.arrays.keys() == direct.arrays.keys()
    for name, array in direct.arrays.items():
      stored = array.astype(dtype) if name == "values" else array
      np.testing.assert_array_equal(response.arrays[name], stored)
    np.testing.assert_array_equal(response.top_classes, direct.top_classes)


def test_a_repeated_row_is_free(tmp_path):
  with opened(tmp_path / "s") as store:
    oracle, seen = asking(store, budget=3)
    oracle.query(rows(1, 2))
    oracle.query(rows(2, 3, 3, 1))
    np.testing.assert_allclose(
        oracle.query(rows(1, 2, 3)).values,
        asking()[0].query(rows(1, 2, 3)).values, rtol=1e-6)
    assert store.spent == oracle.ledger.rows == len(store) == 3
  assert seen == [1, 2, 3]


def test_without_a_store_a_repeated_row_is_paid_again():
  oracle, seen = asking(budget=5)
  oracle.query(rows(1, 1))
  oracle.query(rows(1))
  assert (oracle.ledger.rows, seen) == (3, [1, 1, 1])


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6),
                max_size=8))
@settings(max_examples=30)
def test_charges_equal_distinct_rows(tmp_path_factory, batches):
  path = tmp_path_factory.mktemp("store") / "s"
  with opened(path) as store:
    oracle, seen = asking(store)
    for numbers in batches:
      oracle.query(rows(*numbers))
    distinct = {number for numbers in batches for number in numbers}
    assert store.spent == oracle.ledger.rows == len(store) == len(distinct)
  assert sorted(seen) == sorted(distinct)
  with opened(path) as store:
    assert (store.spent, store.resent) == (len(distinct), 0)


def test_over_budget_leaves_the_store_as_it_was(tmp_path):
  with opened(tmp_path / "s") as store:
    oracle, seen = asking(store, budget=2)
    oracle.query(rows(1))
    with pytest.raises(BudgetExceeded, match=r"2 rows .* 1 of 2"):
      oracle.query(rows(1, 2, 3))
    assert (store.spent, len(store), seen) == (1, 1, [1])
    oracle.query(rows(2))
    assert store.spent == 2


def test_a_budget_goes_on_where_the_store_stands(tmp_path):
  filled(tmp_path / "s", 3)
  with opened(tmp_path / "s") as store:
    assert asking(store, budget=5)[0].ledger.left() == 2
    with pytest.raises(BudgetExceeded, match="3 rows are spent already"):
      asking(store, budget=2)


def test_a_failing_victim_is_paid_once_for_each_row(tmp_path):
  """The rows stay charged; asked again, they are part of that charge."""
  def predict(x):
    raise ConnectionError("gone")

  with opened(tmp_path / "s") as store:
    with pytest.raises(ConnectionError):
      oracles.oracle(predict, CLASSES, 1, store=store).query(rows(1, 2))
    assert (store.spent, len(store)) == (2, 0)
  with opened(tmp_path / "s") as store:
    assert store.is_charged(row_keys(rows(1))[0])
    oracle, seen = asking(store, budget=3)
    oracle.query(rows(1, 2, 3))
    assert (oracle.ledger.rows, oracle.ledger.resent, seen) == (3, 0, [1, 2, 3])
    assert not store.is_charged(row_keys(rows(1))[0])


def test_the_lost_rows_of_a_remote_victim_are_charged_again(tmp_path):
  def predict(x):
    raise ConnectionError("gone")

  for _ in range(2):
    with opened(tmp_path / "s") as store, pytest.raises(ConnectionError):
      oracles.oracle(predict, CLASSES, 1, store=store, remote=True).query(
          rows(1, 2))
  with opened(tmp_path / "s") as store:
    assert (store.spent, store.resent) == (4, 2)
    oracle, _ = asking(store, remote=True, budget=7)
    with pytest.raises(BudgetExceeded, match=r"a batch of 4 rows .* 4 of 7"):
      oracle.query(rows(1, 2, 3, 4))
    oracle.query(rows(1, 2, 3))
    assert (oracle.ledger.rows, oracle.ledger.resent) == (7, 4)
  with opened(tmp_path / "s") as store:
    assert (store.spent, store.resent, len(store)) == (7, 4, 3)


@pytest.mark.parametrize("changed, message", [
    ({"victim": "v2"}, "victim 'v1', this run has victim 'v2'"),
    ({"data set": "d2"}, "data set 'd1'"),
    ({"defences": "Rounded(decimals=3)"},
     "defences '', this run has defences 'Rounded"),
])
def test_a_store_of_another_identity_is_refused(tmp_path, changed, message):
  opened(tmp_path / "s").close()
  with pytest.raises(InputError, match=message):
    opened(tmp_path / "s", identity=changed)


@pytest.mark.parametrize("reveal", ["logits", "top_k:2", "label"])
def test_another_reveal_is_refused(tmp_path, reveal):
  opened(tmp_path / "s", "top_k:3").close()
  with pytest.raises(InputError, match="with reveal 'top_k:3', this run has "
                     f"reveal '{reveal}'"):
    opened(tmp_path / "s", reveal)


def test_another_dtype_is_refused(tmp_path):
  opened(tmp_path / "s", dtype="float16").close()
  with pytest.raises(InputError, match="dtype 'float16'"):
    opened(tmp_path / "s")


@pytest.mark.parametrize("page", [512, 16384])
def test_a_file_of_another_page_size_is_read_and_written(
    tmp_path, monkeypatch, page):
  with monkeypatch.context() as old:
    old.setattr(response_store, "table_layout", lambda _: (page, ""))
    keys = filled(tmp_path / "s", 20)
  with contextlib.closing(sqlite3.connect(tmp_path / "s")) as database:
    assert database.execute("PRAGMA page_size").fetchone() == (page,)
  with opened(tmp_path / "s") as store:
    assert len(store.read(keys)) == 20
    asking(store)[0].query(rows(999))
    assert store.spent == 21


def test_every_overwritten_byte_range_is_noticed_or_harmless(tmp_path):
  path = tmp_path / "s"
  keys = filled(path)
  whole = path.read_bytes()
  with opened(path) as store:
    good = store.read(keys)
  named = 0
  for start in range(0, len(whole), 997):
    path.write_bytes(whole[:start] + b"\xa5" * 64 + whole[start + 64:])
    try:
      with opened(path) as store:
        response = store.read(keys)
        assert store.spent == 200
    except InputError as error:
      assert str(path) in str(error)
      assert "\n" not in str(error)
      named += 1
    else:
      np.testing.assert_array_equal(response.values, good.values)
  assert named > 10


def test_a_truncated_file_is_named(tmp_path):
  path = tmp_path / "s"
  filled(path)
  os.truncate(path, path.stat().st_size // 2)
  with pytest.raises(InputError, match="damaged"):
    opened(path)


def test_a_foreign_file_is_named(tmp_path):
  path = tmp_path / "s"
  path.write_text("no database, but long enough to be taken for one " * 50)
  with pytest.raises(InputError, match="not a database"):
    opened(path)
  other = tmp_path / "o"
  with sqlite3.connect(other) as database:
    database.execute("CREATE TABLE t (x)")
  database.close()
  with pytest.raises(InputError, match="no store of responses"):
    opened(other)


def test_an_unfinished_file_is_taken_up(tmp_path):
  (tmp_path / "s").touch()
  with opened(tmp_path / "s") as store:
    assert store.spent == 0


def test_missing_responses_are_counted(tmp_path):
  keys = filled(tmp_path / "s", 5)
  others = row_keys(rows(99, 98))
  with opened(tmp_path / "s") as store:
    assert store.missing([*others, keys[0], others[0]]).tolist() == [0, 1]
    with pytest.raises(InputError, match="no response to 2 of 3"):
      store.read([*others, keys[0]])


def test_a_file_that_is_locked_by_another_program_is_named(tmp_path):
  path = tmp_path / "s"
  filled(path, 2)
  with opened(path) as store:
    store._file.database.execute("PRAGMA busy_timeout = 50")
    with contextlib.closing(
        sqlite3.connect(path, isolation_level=None)) as writer:
      writer.execute("BEGIN IMMEDIATE")
      with pytest.raises(InputError, match="another process"):
        asking(store)[0].query(rows(77))
      writer.execute("ROLLBACK")


def test_an_unused_file_is_removed_and_a_used_one_kept(tmp_path):
  with opened(tmp_path / "s") as store:
    store.remove_unused()
  assert not list(tmp_path.iterdir())
  with opened(tmp_path / "s") as store:
    asking(store)[0].query(rows(1))
    store.remove_unused()
  assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_small_rows_are_stored_compactly(tmp_path):
  """Top-5 of 1,000 classes: the size that 1.28 M rows would need is bounded."""
  logits = np.random.default_rng(0).normal(size=(20_000, 1000))
  x = np.arange(len(logits))[:, None]
  with ResponseStore(tmp_path / "s", TopK(5), 1000, {}, "float16") as store:
    oracle = oracles.oracle(lambda x: logits[x[:, 0].astype(int)], 1000, 1,
                            "top_k:5", store=store)
    for start in range(0, len(x), 1000):
      oracle.query(x[start:start + 1000])
  # Beside the responses: 16 bytes of a row's key in the book of charges.
  size = (tmp_path / "s").stat().st_size
  assert size / len(x) * 1_281_167 < 120 * 2**20


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match=r"cannot write .*choose a folder"):
    opened(tmp_path / "file" / "s")


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
  with pytest.raises(InputError, match="choose a path"):
    opened(tmp_path)


def old_file(path, **header):
  """A store of format 1: three rows of logits, charged without keys."""
  keys = row_keys(rows(1, 2, 3))
  values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
  with contextlib.closing(sqlite3.connect(path)) as database, database:
    database.execute("CREATE TABLE header (name TEXT PRIMARY KEY, value)")
    database.execute("CREATE TABLE charges (batch INTEGER PRIMARY KEY, "
                     "rows INTEGER NOT NULL)")
    database.execute(
        "CREATE TABLE responses (key BLOB PRIMARY KEY NOT NULL, classes BLOB "
        "NOT NULL, vals BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID")
    database.executemany("INSERT INTO header VALUES (?, ?)", {
        "format": 1, "dtype": "float32", "access": "logits", "k": None,
        "num_classes": 2, "decimals": 1, "victim": "v1", **header}.items())
    database.executemany("INSERT INTO charges (rows) VALUES (?)", [(2,), (1,)])
    database.executemany("INSERT INTO responses VALUES (?, ?, ?, ?)", [
        (key, b"", row.tobytes(), zlib.crc32(row.tobytes()))
        for key, row in zip(keys, values, strict=True)])
  return keys, values


def test_a_file_of_before_keeps_its_charges_and_responses(tmp_path):
  path = tmp_path / "s"
  keys, values = old_file(path)
  named = {"victim": "v1", "defences": "Rounded(decimals=1)"}
  with pytest.raises(InputError, match="victim 'v1', this run has victim 'v2'"):
    ResponseStore(path, Logits(), 2, {**named, "victim": "v2"})
  with pytest.raises(InputError, match="reveal 'logits'"):
    ResponseStore(path, Scores(), 2, named)
  for _ in range(2):
    with ResponseStore(path, Logits(), 2, named, mode=Mode.READER) as store:
      np.testing.assert_array_equal(store.read(keys).values, values)
  for spent in (3, 4):
    with ResponseStore(path, Logits(), 2, named) as store:
      assert store.spent == spent
      np.testing.assert_array_equal(store.read(keys).values, values)
      oracles.oracle(lambda x: np.zeros((len(x), 2)), 2, 1, "logits",
                     decimals=1, store=store).query(rows(1, 2, 3, 4))
