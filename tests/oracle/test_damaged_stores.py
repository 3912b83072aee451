"""Damaged response stores: named in one line, or all is still there."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from fixtures import oracles
from fixtures.damages import damaged
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveal_names import parse
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.oracle.store_file import Mode

CLASSES = 6
# Reveal, dtype, rows answered; 30 others are charged and not answered.
STORES = (("scores", "float32", 200), ("logits", "float64", 60),
          ("top_k:3", "float16", 120))
OPEN = 30


def opened(path, reveal, dtype, mode=Mode.OWNER):
  return ResponseStore(path, parse("reveal", reveal), CLASSES,
                       {"victim": "v1", "data set": "d1"}, dtype, mode=mode)


def ask(store, reveal, x):
  return oracles.oracle(
      lambda rows: np.sin(rows[:, :1] + np.arange(CLASSES)) * 3, CLASSES, 1,
      reveal, store=store).query(x)


def rows(start, stop):
  return np.arange(start, stop, dtype=np.float64)[:, None]


def written(path, reveal, dtype, count):
  """A store's bytes, and the response to its answered rows."""
  with opened(path, reveal, dtype) as store:
    for start in range(0, count, 20):
      ask(store, reveal, rows(start, start + 20))
    store.charge(row_keys(rows(1000, 1000 + OPEN)))
    return path.read_bytes(), store.read(row_keys(rows(0, count)))


def check(path, mode, reveal, dtype, response):
  """Opens and reads; what is not refused has to be as it was."""
  count = len(response)
  keys = row_keys(rows(0, count))
  try:
    with opened(path, reveal, dtype, mode) as store:
      assert not len(store.missing(keys))
      again = store.read(keys)
      if mode is Mode.OWNER:
        assert store.spent == count + OPEN
        # Keys of rows without an answer have no checksum: charged again, if so.
        ask(store, reveal, rows(1000, 1010))
  except InputError as error:
    assert str(path) in str(error) and "\n" not in str(error)
    return False
  for name, values in response.arrays.items():
    np.testing.assert_array_equal(again.arrays[name], values)
  return True


@pytest.mark.parametrize("seed, files", [
    (0, 150), pytest.param(1, 3000, marks=pytest.mark.slow)])
def test_no_damage_is_misread_or_ends_in_a_traceback(tmp_path, seed, files):
  whole = 0
  for kind in STORES:
    data, response = written(tmp_path / "good.sqlite", *kind)
    (tmp_path / "good.sqlite").unlink()
    for index, content in enumerate(damaged(data, files // len(STORES), seed)):
      path = tmp_path / "damaged.sqlite"
      path.write_bytes(content)
      mode = (Mode.OWNER, Mode.READER)[index % 2]
      whole += check(path, mode, *kind[:2], response)
      for left in tmp_path.iterdir():
        left.unlink()
  assert 0 < whole < files  # some lies in free space


@pytest.fixture(name="path")
def fixture_path(tmp_path):
  written(tmp_path / "s.sqlite", *STORES[0])
  return tmp_path / "s.sqlite"


def change(path, statement, *values):
  with sqlite3.connect(path) as database:
    database.execute(statement, values)
  database.close()


@pytest.mark.parametrize("mode", [Mode.OWNER, Mode.READER])
@pytest.mark.parametrize("statement", [
    "UPDATE responses SET key = x'00112233445566778899aabbccddeeff' "
    "WHERE key = (SELECT key FROM responses LIMIT 1)",
    "DELETE FROM responses WHERE key = (SELECT key FROM responses LIMIT 1)",
    "UPDATE charges SET rows = 2 WHERE batch = 1",
    "UPDATE charges SET rows = 0 WHERE batch = 1",
    "UPDATE charges SET resent = 99 WHERE batch = 1",
    "DELETE FROM header WHERE name = 'format'",
    "UPDATE responses SET vals = 'text'"])
def test_a_changed_table_is_named(path, statement, mode):
  """A budget would hold for less, or a paid row be paid for again."""
  change(path, statement)
  keys = row_keys(rows(0, 20))
  with (pytest.raises(InputError, match="damaged: restore"),
        opened(path, "scores", "float32", mode) as store):
    store.read(keys)


def test_what_is_left_of_the_first_page_is_no_new_file(path):
  data = path.read_bytes()
  path.write_bytes(data[:1000])
  with pytest.raises(InputError, match="damaged: restore"):
    opened(path, "scores", "float32")
  assert path.read_bytes() == data[:1000]


def test_a_schema_that_is_no_text_is_named(path):
  data = path.read_bytes()
  assert data.count(b"TABLE charges") == 1
  path.write_bytes(data.replace(b"TABLE charges", b"TABLE ch\xe5\xffges"))
  with pytest.raises(InputError, match="malformed database schema"):
    opened(path, "scores", "float32")
