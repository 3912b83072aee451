"""The label store: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import response_store
from wsl_extraction.oracle.ledger import BudgetExceeded, Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response_store import (
  ResponseStore,
  recorded,
  resumed_ledger,
)
from wsl_extraction.oracle.reveals import Access

CLASSES = 6


def make_oracle(access="scores", k=None, budget=None, **kwargs):
  seen = []

  def victim(x):
    seen.extend(x[:, 0].tolist())
    return np.sin(x[:, :1] + np.arange(CLASSES)) * 3

  oracle = Oracle(victim, outputs="logits", input_shape=(1,),
                  num_classes=CLASSES, access=access, k=k,
                  ledger=Ledger(budget), **kwargs)
  return oracle, seen


def identity(access="scores", k=None, **others):
  return {"access": access, "k": k, "num_classes": CLASSES, "victim": "v1",
          "data set": "d1", **others}


def batch(*numbers):
  x = np.array(numbers, dtype=np.float64)[:, None]
  return Examples(x).keys, x


@pytest.mark.parametrize("access, k", [
    ("label", None), ("label_score", None), ("top_k", 3), ("scores", None),
    ("logits", None)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_is_read_is_what_was_answered(tmp_path, access, k, dtype):
  oracle, _ = make_oracle(access, k)
  keys, x = batch(1, 2, 3)
  direct = oracle.query(x)
  with ResponseStore(tmp_path / "s", identity(access, k), dtype) as store:
    first = store.answer(oracle, keys, x)
  with ResponseStore(tmp_path / "s", identity(access, k), dtype) as store:
    again = store.read(keys)
  for answer in (first, again):
    assert answer.access is Access.parse(access)
    np.testing.assert_array_equal(answer.classes, direct.classes)
    np.testing.assert_array_equal(answer.values, direct.values.astype(dtype))
  np.testing.assert_array_equal(again.labels, direct.labels)


def test_a_repeated_example_is_free(tmp_path):
  oracle, seen = make_oracle(budget=4)
  with ResponseStore(tmp_path / "s", identity()) as store:
    store.answer(oracle, *batch(1, 2))
    store.answer(oracle, *batch(2, 3, 3, 1))
    keys, x = batch(1, 2, 3)
    np.testing.assert_allclose(
        store.answer(oracle, keys, x).values,
        make_oracle()[0].query(x).values, rtol=1e-6)
    assert store.spent == oracle.ledger.spent == len(store) == 3
  assert seen == [1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6),
                max_size=8))
@settings(max_examples=30, deadline=None)
def test_charges_equal_distinct_examples(tmp_path_factory, batches):
  path = tmp_path_factory.mktemp("store") / "s"
  oracle, seen = make_oracle()
  with ResponseStore(path, identity()) as store:
    for numbers in batches:
      store.answer(oracle, *batch(*numbers))
    distinct = {number for numbers in batches for number in numbers}
    assert store.spent == oracle.ledger.spent == len(store) == len(distinct)
  assert sorted(seen) == sorted(distinct)


def test_over_budget_leaves_the_store_as_it_was(tmp_path):
  oracle, _ = make_oracle(budget=2)
  with ResponseStore(tmp_path / "s", identity()) as store:
    store.answer(oracle, *batch(1))
    with pytest.raises(BudgetExceeded):
      store.answer(oracle, *batch(1, 2, 3))
    assert (store.spent, len(store)) == (1, 1)
    store.answer(oracle, *batch(2))
    assert store.spent == 2


def test_a_failing_victim_leaves_the_store_as_it_was(tmp_path):
  def victim(x):
    raise ConnectionError("gone")

  broken = Oracle(victim, outputs="logits", input_shape=(1,),
                  num_classes=CLASSES)
  with ResponseStore(tmp_path / "s", identity()) as store:
    with pytest.raises(ConnectionError):
      store.answer(broken, *batch(1))
    assert (store.spent, len(store), broken.ledger.spent) == (0, 0, 0)
    store.answer(make_oracle()[0], *batch(1))
    assert store.spent == 1


def test_a_ledger_goes_on_where_the_store_stands(tmp_path):
  oracle, _ = make_oracle()
  with ResponseStore(tmp_path / "s", identity()) as store:
    store.answer(oracle, *batch(1, 2, 3))
    assert resumed_ledger(5, store).left == 2
    with pytest.raises(BudgetExceeded):
      resumed_ledger(2, store)


def test_recorded_oracle_asks_once(tmp_path):
  oracle, seen = make_oracle()
  with ResponseStore(tmp_path / "s", identity()) as store:
    memory = recorded(oracle, store, lambda x: Examples(x).keys)
    for _ in range(3):
      memory.query(batch(5, 6)[1])
    assert memory.ledger is oracle.ledger
    with pytest.raises(InputError, match="shape"):
      memory.query(np.zeros((1, 2)))
  assert seen == [5, 6]


@pytest.mark.parametrize("changed, message", [
    ({"access": "logits"}, "access 'scores', this run has access 'logits'"),
    ({"access": "top_k", "k": 2}, "access"),
    ({"victim": "v2"}, "victim 'v1', this run has victim 'v2'"),
    ({"data set": "d2"}, "data set 'd1'"),
    ({"decimals": 3}, "decimals None, this run has decimals 3"),
])
def test_a_store_of_another_identity_is_refused(tmp_path, changed, message):
  ResponseStore(tmp_path / "s", identity()).close()
  with pytest.raises(InputError, match=message):
    ResponseStore(tmp_path / "s", {**identity(), **changed})


def test_another_k_is_refused(tmp_path):
  ResponseStore(tmp_path / "s", identity("top_k", 3)).close()
  with pytest.raises(InputError, match="with k 3, this run has k 2"):
    ResponseStore(tmp_path / "s", identity("top_k", 2))


def test_another_dtype_is_refused(tmp_path):
  ResponseStore(tmp_path / "s", identity(), "float16").close()
  with pytest.raises(InputError, match="dtype 'float16'"):
    ResponseStore(tmp_path / "s", identity(), "float32")


@pytest.mark.parametrize("page", [512, 16384])
def test_a_file_of_another_page_size_is_read_and_written(
    tmp_path, monkeypatch, page):
  with monkeypatch.context() as old:
    old.setattr(response_store, "table_layout", lambda _: (page, ""))
    keys = filled(tmp_path / "s", 20)
  with contextlib.closing(sqlite3.connect(tmp_path / "s")) as database:
    assert database.execute("PRAGMA page_size").fetchone() == (page,)
  with ResponseStore(tmp_path / "s", identity()) as store:
    assert len(store.read(keys)) == 20
    store.answer(make_oracle()[0], *batch(99))
    assert store.spent == 21


def filled(path, count=200):
  oracle, _ = make_oracle()
  keys, x = batch(*range(count))
  with ResponseStore(path, identity()) as store:
    store.answer(oracle, keys, x)
  return keys


def test_every_overwritten_byte_range_is_found_or_harmless(tmp_path):
  path = tmp_path / "s"
  keys = filled(path)
  whole = path.read_bytes()
  with ResponseStore(path, identity()) as store:
    good = store.read(keys)
  named = 0
  for start in range(0, len(whole), 997):
    path.write_bytes(whole[:start] + b"\xa5" * 64 + whole[start + 64:])
    try:
      with ResponseStore(path, identity()) as store:
        answer = store.read(keys)
        assert store.spent == 200
    except InputError as error:
      assert str(path) in str(error)
      assert "\n" not in str(error)
      named += 1
    else:
      np.testing.assert_array_equal(answer.values, good.values)
  assert named > 10


def test_a_truncated_file_is_named(tmp_path):
  path = tmp_path / "s"
  filled(path)
  os.truncate(path, path.stat().st_size // 2)
  with pytest.raises(InputError, match="damaged"):
    ResponseStore(path, identity())


def test_a_foreign_file_is_named(tmp_path):
  path = tmp_path / "s"
  path.write_text("no database, but long enough to be taken for one " * 50)
  with pytest.raises(InputError, match="not a database"):
    ResponseStore(path, identity())
  other = tmp_path / "o"
  with sqlite3.connect(other) as database:
    database.execute("CREATE TABLE t (x)")
  database.close()
  with pytest.raises(InputError, match="no label store"):
    ResponseStore(other, identity())


def test_an_unfinished_file_is_taken_up(tmp_path):
  (tmp_path / "s").touch()
  with ResponseStore(tmp_path / "s", identity()) as store:
    assert store.spent == 0


def test_missing_responses_are_counted(tmp_path):
  keys = filled(tmp_path / "s", 5)
  others, _ = batch(99, 98)
  with ResponseStore(tmp_path / "s", identity()) as store:
    assert store.missing([*others, keys[0], others[0]]).tolist() == [0, 1]
    with pytest.raises(InputError, match="no response to 2 of 3"):
      store.read([*others, keys[0]])


def test_another_writer_is_named(tmp_path, monkeypatch):
  path = tmp_path / "s"
  filled(path, 2)
  with ResponseStore(path, identity()) as store:
    store._database.execute("PRAGMA busy_timeout = 50")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(InputError, match="another process"):
      store.answer(make_oracle()[0], *batch(77))
    writer.execute("ROLLBACK")
    writer.close()


def test_a_value_too_large_for_the_store_is_refused(tmp_path):
  big = Oracle(lambda x: x + np.array([[1e6, 0.5]]), outputs="logits",
               input_shape=(1,), num_classes=2, access="logits")
  named = {**identity("logits"), "num_classes": 2}
  with ResponseStore(tmp_path / "s", named, "float16") as store:
    with pytest.raises(InputError, match="wider"):
      store.answer(big, *batch(1))
    assert store.spent == 0


def test_an_unused_file_is_removed_and_a_used_one_kept(tmp_path):
  with ResponseStore(tmp_path / "s", identity()) as store:
    store.remove_unused()
  assert not list(tmp_path.iterdir())
  with ResponseStore(tmp_path / "s", identity()) as store:
    store.answer(make_oracle()[0], *batch(1))
    store.remove_unused()
  assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_small_rows_are_stored_compactly(tmp_path):
  """Top-5 of 1,000 classes: the size that 1.28 M rows would need is bounded."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(20_000, 1000)).astype(np.float32)
  oracle = Oracle(lambda x: logits[x[:, 0].astype(int)], outputs="logits",
                  input_shape=(1,), num_classes=1000, access="top_k", k=5)
  named = {**identity("top_k", 5), "num_classes": 1000}
  x = np.arange(len(logits))[:, None]
  keys = Examples(x).keys
  with ResponseStore(tmp_path / "s", named, "float16") as store:
    for start in range(0, len(x), 1000):
      store.answer(oracle, keys[start:start + 1000], x[start:start + 1000])
  size = (tmp_path / "s").stat().st_size
  assert size / len(x) * 1_281_167 < 100 * 2**20


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match=r"cannot write .*choose a folder"):
    ResponseStore(tmp_path / "file" / "s", identity())


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
  with pytest.raises(InputError, match="choose a path"):
    ResponseStore(tmp_path, identity())
