"""Batches that workers answer for the owner of a store, which charges them."""

from __future__ import annotations

import collections
import sqlite3

import numpy as np
import pytest

from fixtures import labellers
from fixtures.scripted_engine import ScriptedEngine
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import labelling
from wsl_extraction.oracle.exchanges import AnswersLost
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.runtime.engines.engine import WorkerLost
from wsl_extraction.runtime.engines.in_process import InProcess

ROWS = labellers.pool(103)


def label(engine, tmp_path, rows=ROWS, size=10, **more):
  return labellers.label(engine, tmp_path / "s", rows, size=size, **more)


def charges(tmp_path):
  with sqlite3.connect(tmp_path / "s") as database:
    return database.execute(
        "SELECT SUM(rows), SUM(resent) FROM charges").fetchone()


def batches(tmp_path):
  """The rows of the log, and how often each was sent."""
  log = (tmp_path / "s-log").read_text().splitlines()
  return collections.Counter(int(line.split()[1]) for line in log)


def check_answers(tmp_path, rows=ROWS):
  with labellers.store(tmp_path / "s") as kept:
    assert len(kept) == len(set(row_keys(rows)))
    np.testing.assert_array_equal(kept.read(row_keys(rows)).values,
                                  labellers.scores(rows).arrays["values"])


@pytest.mark.parametrize("engine", [InProcess(), ScriptedEngine(3)])
def test_every_engine_gives_the_same_responses(tmp_path, engine):
  # With rows twice, which are asked about once.
  rows = np.concatenate([ROWS, ROWS[:20]])
  label(engine, tmp_path, rows)
  check_answers(tmp_path, rows)
  assert charges(tmp_path) == (103, 0)
  assert set(batches(tmp_path).values()) == {1}


@pytest.mark.parametrize("is_remote, spent", [(False, 103), (True, 143)])
def test_rows_of_lost_workers_are_sent_again(tmp_path, is_remote, spent):
  notices = []
  crew = label(ScriptedEngine(lost=(0, 3, 4, 9)), tmp_path,
               is_remote=is_remote, notice=notices.append)
  check_answers(tmp_path)
  # A remote victim's worker has one batch at a time: no other is lost.
  assert charges(tmp_path) == (spent, spent - 103)
  assert crew.replaced == len(notices) == 4
  assert notices[0] == ("actor 1 has ended (it fell); another one takes its "
                        "place, and what it had is sent again")
  assert sum(batches(tmp_path).values()) == 143


def test_a_batch_is_charged_before_it_is_sent(tmp_path):
  seen = []

  def before(call):
    seen.append((call, *charges(tmp_path)))

  label(ScriptedEngine(1, depth=1, before=before), tmp_path)
  assert seen == [(call, min(10 * call + 10, 103), 0) for call in range(11)]


def test_an_interrupted_owner_goes_on_with_the_same_batches(tmp_path):
  asked = []

  class Noted(labellers.Labeller):
    def answer(self, rows, keys):
      asked.append(rows[:, 0].tolist())
      return super().answer(rows, keys)

  def stop(call):
    if call == 5:
      raise KeyboardInterrupt

  def make():
    return Noted(str(tmp_path / "s-log"))

  with pytest.raises(KeyboardInterrupt):
    label(ScriptedEngine(before=stop), tmp_path, make=make)
  # A hole in the middle, as other actors leave it.
  with sqlite3.connect(tmp_path / "s") as database:
    database.execute("UPDATE charges SET open = 1")
    database.executemany("DELETE FROM responses WHERE key = ?", [
        (key,) for key in row_keys(ROWS[10:20])])
  first, asked[:] = list(asked), []
  label(ScriptedEngine(), tmp_path, make=make)
  check_answers(tmp_path)
  assert charges(tmp_path) == (103, 0)
  whole = [list(map(float, range(start, min(start + 10, 103))))
           for start in range(0, 103, 10)]
  assert all(batch in whole for batch in [*first, *asked])
  assert whole[1] in asked


def test_a_victim_that_fails_ends_it_and_other_answers_stay(tmp_path):
  class Failing(labellers.Labeller):
    def answer(self, rows, keys):
      if rows[0, 0] == 30:
        raise VictimFailed("out of paper")
      return super().answer(rows, keys)

  with pytest.raises(VictimFailed, match=r"^out of paper$"):
    label(ScriptedEngine(), tmp_path,
          make=lambda: Failing(str(tmp_path / "s-log")))
  with labellers.store(tmp_path / "s") as kept:
    answered = len(kept)
    # It stays charged, and nothing that was not sent is.
    assert kept.spent == answered + 10
  assert answered == sum(batches(tmp_path).values()) >= 30
  label(ScriptedEngine(), tmp_path)
  check_answers(tmp_path)
  assert charges(tmp_path) == (103, 0)


def test_a_batch_that_ends_every_worker_ends_it_and_others_stay(tmp_path):
  class Deadly(labellers.Labeller):
    def answer(self, rows, keys):
      if rows[0, 0] == 30:
        raise WorkerLost("it fell")
      return super().answer(rows, keys)

  with pytest.raises(InputError, match=(
      r"^4 workers ended one after the other on a batch of 10 rows \(it fell")):
    label(ScriptedEngine(2, depth=1), tmp_path,
          make=lambda: Deadly(str(tmp_path / "s-log")))
  with labellers.store(tmp_path / "s") as kept:
    answered, spent = len(kept), kept.spent
  assert (answered, spent) == (sum(batches(tmp_path).values()), answered + 10)
  label(ScriptedEngine(), tmp_path)
  check_answers(tmp_path)
  assert charges(tmp_path) == (103, 0)


def test_a_budget_that_lost_answers_use_up(tmp_path):
  with pytest.raises(AnswersLost, match=(
      r"80 of 103 rows .* budget is 113 rows, 110 are charged, 30 of them rows "
      "sent again")):
    label(ScriptedEngine(1, lost=(2, 3, 4)), tmp_path, is_remote=True,
          budget=113)
  assert charges(tmp_path) == (110, 30)
  with labellers.store(tmp_path / "s") as kept:
    assert len(kept) == 80


def test_too_small_a_budget_is_refused(tmp_path):
  with pytest.raises(BudgetExceeded, match="exceeds the budget: 20 of 25"):
    label(InProcess(), tmp_path, budget=25)
  assert charges(tmp_path) == (20, 0)


def test_a_row_outside_of_the_space_is_not_charged(tmp_path):
  rows = ROWS.copy()
  rows[25, 0] = -1
  with pytest.raises(InputError, match="outside of 0 to"):
    label(ScriptedEngine(), tmp_path, rows)
  assert charges(tmp_path) == (20, 0)


def most_in_flight(tmp_path, engine, count):
  """The most rows that were sent and not kept, of a pool of so many."""
  held, most = [], []

  class Counting(labellers.Labeller):
    def answer(self, rows, keys):
      with sqlite3.connect(tmp_path / "s") as database:
        kept = database.execute("SELECT COUNT(*) FROM responses").fetchone()[0]
      held.append(len(rows))
      most.append(sum(held) - kept)
      return super().answer(rows, keys)

  label(engine, tmp_path, labellers.pool(count),
        make=lambda: Counting(str(tmp_path / "s-log")))
  assert sum(held) == count
  return max(most)


def test_few_batches_are_in_flight_however_many_there_are(tmp_path):
  # Quick workers get more at once, so that they never wait, up to 64.
  assert most_in_flight(tmp_path, ScriptedEngine(2), 4000) <= 2 * 64 * 10


def test_large_rows_are_two_batches_at_a_worker(tmp_path, monkeypatch):
  # A row of this pool and its answer have 20 bytes.
  monkeypatch.setattr(labelling, "_MOST_BYTES", 10 * 20 * 2)
  assert most_in_flight(tmp_path, ScriptedEngine(1), 1000) == 2 * 10
