"""Processes that label shares of one pool, into one file, at one exact cost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import sqlite3

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import commands
import stopped_commands
from stopped_commands import BATCH, POOL, Command
from wsl_extraction import label
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response_store import (
  ResponseStore,
  resumed_ledger,
)
from wsl_extraction.report.grids import grid_runs


def test_a_shard_is_named_as_reproduce_names_it():
  assert grid_runs.parsed_shard("2/3") == (2, 3)
  assert grid_runs.parsed_shard(None) == (1, 1)
  for text, message in (("first", "--shard=first is no share"),
                        ("0/4", "no shard 0 of 4; give 1/4 to 4/4"),
                        ("-1/4", "no share"), ("1/0", "among 0"),
                        ("", "--shard='' is no share")):
    with pytest.raises(InputError, match=message):
      grid_runs.parsed_shard(text)


class File:
  """A store, and the answers that it gets in some order."""

  def __init__(self, path, numbers):
    self.keys = [b"%d" % number for number in numbers]
    self.oracle = Oracle(
        lambda x: np.eye(2)[x[:, 0].astype(int) % 2], outputs="probabilities",
        input_shape=(1,), num_classes=2, access="label")
    self.store = ResponseStore(
        path, {"access": "label", "k": None, "num_classes": 2})

  def plan(self, budget, index, count):
    """What a command that starts now would ask about."""
    with self.store.unchanged():
      left = resumed_ledger(budget, self.store).left
      missing = self.store.missing(self.keys)
    return label._share(missing, len(self.keys), left, index, count)[2]

  def ask(self, rows):
    self.store.answer(self.oracle, [self.keys[row] for row in rows],
                      np.zeros((len(rows), 1)))


@hypothesis.given(
    st.lists(st.integers(0, 25), min_size=1, max_size=30), st.integers(1, 30),
    st.integers(1, 5), st.data())
@hypothesis.settings(max_examples=40, deadline=None)
def test_shards_ask_what_one_process_would(
    tmp_path_factory, numbers, budget, count, data):
  folder = tmp_path_factory.mktemp("store")
  before = data.draw(st.lists(st.integers(0, len(numbers) - 1), max_size=4))
  single, shared = (File(folder / name, numbers) for name in "ab")
  with single.store, shared.store:
    for file in (single, shared):
      if before:
        file.ask(before)
    hypothesis.assume(single.store.spent <= budget)
    single.ask(single.plan(budget, 0, 1))
    # Each starts whenever it does, and may be stopped and started again.
    for index in data.draw(st.lists(st.integers(0, count - 1), max_size=8)):
      rows = shared.plan(budget, index, count)
      shared.ask(rows[:data.draw(st.integers(0, len(rows)))])
    started = [shared.plan(budget, index, count) for index in range(count)]
    assert len(set(np.concatenate(started))) == sum(map(len, started))
    for rows in started:
      shared.ask(rows)
    distinct = len(set(numbers))
    assert shared.store.spent == single.store.spent == min(budget, distinct)
    np.testing.assert_array_equal(shared.store.missing(shared.keys),
                                  single.store.missing(single.keys))
    assert not any(len(shared.plan(budget, i, count)) for i in range(count))


def test_a_larger_budget_only_adds(tmp_path):
  file = File(tmp_path / "s", range(20))
  with file.store:
    for budget in (7, 7, 12):
      for index in (1, 2, 0):
        file.ask(file.plan(budget, index, 3))
      assert file.store.missing(file.keys).tolist() == [*range(budget, 20)]


def asked(command):
  """Rows that the victim of this process answered."""
  log = command.folder / "victim.log"
  return sum(map(int, log.read_text().split())) if log.exists() else 0


def charged(path):
  with contextlib.closing(sqlite3.connect(path)) as held:
    return (held.execute("SELECT COUNT(*) FROM responses").fetchone()[0],
            held.execute("SELECT SUM(rows) FROM charges").fetchone()[0])


def test_one_of_two_is_killed_and_the_total_is_exact(tmp_path):
  stopped_commands.prepare(tmp_path)
  store = tmp_path / "responses.sqlite"
  one, two = (
      Command(tmp_path / f"shard{index}", "jax", "label",
              (f"--output={store}", f"--shard={index}/2")) for index in (1, 2))
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    other = threads.submit(two.finish)
    status, _ = one.hit(lambda command: asked(command) >= 100, 0)
    said = other.result()
  assert status == -9
  assert f"of {POOL} examples answered" in said
  # The killed one loses the batch in flight at most; the other loses nothing.
  assert asked(two) == POOL // 2
  left = asked(one)
  answered, spent = charged(store)
  assert answered == spent
  assert 0 <= left - (spent - POOL // 2) <= BATCH
  said = one.finish()
  assert charged(store) == (POOL, POOL)
  assert asked(one) - left == POOL - spent
  assert f"{POOL} of {POOL} examples" in said
  assert f"{POOL} queries charged" in said
  assert not store.with_name(f"{store.name}-claims").exists()


def test_more_shards_than_examples_are_refused(tmp_path):
  commands.write_modules(tmp_path)
  done = commands.run(
      commands.command("label", "--gin_file=base.gin", "--output=new/l.sqlite",
                       "--shard=64/65"), tmp_path,
      commands.environment(tmp_path))
  assert done.status == 2
  assert done.stderr == (
      "error: the pool of 64 examples cannot be shared among 65; give at most "
      "--shard=64/64, or raise Split.pool\n")
  assert done.after.keys() - {"__pycache__"} == {
      name for name in done.after if not name.startswith("new")} - {
          "__pycache__"}
