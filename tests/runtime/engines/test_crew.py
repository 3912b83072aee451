"""Tasks that are sent to workers, and workers that end."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from fixtures import labellers
from fixtures.scripted_engine import ScriptedEngine
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.runtime.engines.crew import Crew
from wsl_extraction.runtime.engines.processes import Processes
from wsl_extraction.runtime.engines.tasks import Task


class Echo:
  """Gives back what it gets."""

  def __init__(self, facts=0):
    self._facts = facts

  def facts(self):
    return self._facts

  def answer(self, value):
    if value == "fail":
      raise VictimFailed("out of paper")
    return value

  def pid(self):
    return os.getpid()

  def end(self, seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def run(crew, values):
  """Sends tasks, and those that were lost again, until all have ended."""
  waiting, results = [Task("answer", (value,)) for value in values], []
  while waiting or crew.lost or crew.in_flight:
    for _ in range(crew.room()):
      if crew.lost:
        crew.send(crew.lost.popleft())
      elif waiting:
        crew.send(waiting.pop(0))
    results += [outcome.value for outcome in crew.wait()]
  return results


def test_all_workers_are_used_and_lost_tasks_come_back():
  engine = ScriptedEngine(3, lost=(1, 8))
  with Crew(engine, Echo) as crew:
    crew.grow()
    while crew.room() < 6:
      crew.wait(0.1)
    assert sorted(run(crew, range(20))) == list(range(20))
    assert crew.replaced == 2
  assert set(engine.started) == {1, 2, 3}
  assert len(engine.started) == 5


def test_no_more_workers_than_there_are_tasks():
  engine = ScriptedEngine(9)
  with Crew(engine, Echo) as crew:
    crew.grow(2)
  assert engine.started == [1, 2]


def test_a_question_outlives_the_workers_that_it_was_put_to():
  with Crew(ScriptedEngine(1, lost=(0, 1)), Echo) as crew:
    assert crew.ask("answer", 7) == 7
    assert crew.replaced == 2
  with (Crew(ScriptedEngine(1, lost=range(9)), Echo) as crew,
        pytest.raises(InputError, match=r"^4 workers ended one after the")):
    crew.ask("answer", 7)


def test_a_task_that_ends_every_worker_is_given_up():
  engine = ScriptedEngine(1, depth=1, lost=range(9))
  said = (r"4 workers ended one after the other on a task \(it fell\); see "
          "that each has the memory")
  with Crew(engine, Echo) as crew:
    first, *others = run(crew, [7, 8, 9])
  assert isinstance(first, InputError) and re.match(said, str(first))
  # The second worker to have a task is another one, with tries of its own.
  assert [type(one) for one in others] == [InputError, int]


def test_an_error_is_the_outcome_of_its_task_alone():
  with Crew(ScriptedEngine(2), Echo) as crew:
    crew.grow()
    results = run(crew, [1, "fail", 2])
  assert [one for one in results if isinstance(one, int)] == [1, 2]
  [error] = [one for one in results if not isinstance(one, int)]
  assert isinstance(error, VictimFailed) and str(error) == "out of paper"


def test_workers_that_end_before_they_are_ready():
  with Crew(ScriptedEngine(1, broken_starts=2), Echo) as crew:
    assert run(crew, [1]) == [1]
  with pytest.raises(InputError, match=(
      r"actor 1 ends before it is ready, 3 times in a row \(it fell\); see")):
    Crew(ScriptedEngine(1, broken_starts=3), Echo)


def test_no_worker_has_a_place():
  with pytest.raises(InputError, match=r"^no actor had a place within 0\.2 s$"):
    Crew(ScriptedEngine(1, has_places=False), Echo)


def test_a_worker_may_take_its_time_once_it_has_a_place():
  """It may train the victim that all others then have."""
  with Crew(ScriptedEngine(1, start_seconds=0.5), Echo) as crew:
    assert run(crew, [1]) == [1]


def test_facts_of_every_worker_are_looked_at():
  def accept(facts):
    seen.append(facts)
    if len(seen) == 2:
      raise InputError("they differ")

  seen = []
  with Crew(ScriptedEngine(2), lambda: Echo(7), accept) as crew:
    crew.grow()
    with pytest.raises(InputError, match=r"^actor 2: they differ"):
      while True:
        crew.wait(0.1)
  assert seen == [7, 7]


def test_processes_that_are_killed_label_all_the_same(tmp_path):
  """Both end in the middle of a batch; the rest is answered by others."""
  rows, notices = labellers.pool(400), []
  with Processes(2) as engine, Crew(
      engine, Echo, None, notices.append) as crew:
    crew.grow()
    pids = {crew.ask("pid")}
    assert pids.isdisjoint({os.getpid()})
    crew.send(Task("end", (0.0,)))
    crew.send(Task("answer", ("kept",)))
    while not crew.lost:
      crew.wait(1.0)
    lost = crew.lost.popleft()
    assert (lost.method, lost.tries) == ("end", 1)
    [notice] = notices
    assert notice.startswith("process ")
    assert "has ended (its process was killed or crashed)" in notice
  with Processes(2) as engine:
    labellers.label(engine, tmp_path / "s", rows)
  with labellers.store(tmp_path / "s") as kept:
    assert (kept.spent, kept.resent, len(kept)) == (400, 0, 400)
    assert (kept.read(row_keys(rows)).values
            == labellers.scores(rows).arrays["values"]).all()
