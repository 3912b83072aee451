"""The runs of a table as processes, with the time that is left."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from wsl_extraction.errors import InputError
from wsl_extraction.report import progress
from wsl_extraction.report.grids import grid_results
from wsl_extraction.report.grids.grid_runs import Run
from wsl_extraction.report.run_folder import RunFolder
from wsl_extraction.runtime import files
from wsl_extraction.runtime.engines.crew import Crew
from wsl_extraction.runtime.engines.engine import Engine
from wsl_extraction.runtime.engines.tasks import Outcome, Task


@dataclasses.dataclass(frozen=True)
class Ended:
  """The end of a run.

  Attributes:
    status: Of its process; negative for the signal that killed it.
    text: What it wrote to its standard error, where that is elsewhere.
    files: The files of its folder, by name, where that is elsewhere.
  """

  status: int
  text: str = ""
  files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


class Trains(Protocol):
  """An object of a worker that does runs."""

  def train(self, run: Run) -> Ended:
    """Does a run, or the rest of it."""
    ...


class Processes:
  """Does runs as processes of this machine."""

  def __init__(self, root: pathlib.Path, flags: Sequence[str] = ()):
    """Starts nothing yet; see `arguments`."""
    self._root, self._flags = root, flags

  def train(self, run: Run) -> Ended:
    """Does a run, or the rest of it."""
    return Ended(_train(run, self._root, self._flags))


def run_all(missing: Sequence[Run], root: pathlib.Path, has_results: bool,
            engine: Engine, make: Callable[[], Trains]
            ) -> tuple[list[Run], int]:
  """Runs what is missing, as many at once as the engine has workers.

  Args:
    missing: The runs.
    root: The folder of the table.
    has_results: Whether the table has some already. If not, and the first run
      fails, the others are not tried.
    engine: Does them.
    make: Makes what does one.

  Returns:
    The runs that failed, and the number of those left to other processes.

  Raises:
    InputError: The first of all fails.
    KeyboardInterrupt: A run was interrupted.
  """
  table = _Table(missing, root, has_results, engine.workers)
  with Crew(engine, make, notice=_say) as crew:
    crew.grow(len(missing))
    while True:
      for task in table.next(crew):
        crew.send(task)
      if not crew.in_flight and not crew.lost and not table.is_waiting:
        return table.failed, table.left_alone
      for outcome in crew.wait():
        table.end(outcome)
      table.refuse_first_failure(crew.in_flight)


class _Table:
  """The runs that wait, and those that have ended.

  Attributes:
    failed: Those of them that failed.
    left_alone: The number of those that another process does.
  """

  def __init__(self, missing: Sequence[Run], root: pathlib.Path,
               has_results: bool, workers: int):
    self._missing, self._root = missing, root
    self._waiting = collections.deque(missing)
    self._has_results, self._workers = has_results, workers
    self._seconds: dict[str, list[float]] = {}
    self._started: dict[Run, float] = {}
    self._first_failure = ""
    self.failed: list[Run] = []
    self.left_alone = 0

  @property
  def is_waiting(self) -> bool:
    """True while runs are to be started."""
    return bool(self._waiting) and not self._first_failure

  def next(self, crew: Crew) -> list[Task]:
    """The runs to be started now, those first that were lost."""
    tasks: list[Task] = []
    while len(tasks) < crew.room() and (crew.lost or self.is_waiting):
      if crew.lost:
        task = crew.lost.popleft()
      else:
        run = self._waiting.popleft()
        if grid_results.taken_by_other_process(run, self._root):
          self.left_alone += 1
          continue
        task = Task("train", (run,), f"the run {run}")
      self._announce(task.arguments[0])
      self._started[task.arguments[0]] = time.monotonic()
      tasks.append(task)
    return tasks

  def _announce(self, run: Run) -> None:
    place = self._missing.index(run)
    left = _seconds_left(self._missing[place:], self._seconds)
    about = (f", about {progress.duration(left / self._workers)} left"
             if left else "")
    _say(f"run {place + 1}/{len(self._missing)}: {run}{about}")

  def end(self, outcome: Outcome) -> None:
    """Takes note of a run that has ended."""
    run: Run = outcome.task.arguments[0]
    ended = outcome.value
    if isinstance(ended, InputError):  # where it was to run
      ended = Ended(2, f"error: {ended}")
    if ended.status in (130, -signal.SIGINT):
      raise KeyboardInterrupt
    if not ended.status:
      if ended.files:
        _receive(run, self._root, ended.files)
      self._seconds.setdefault(run.cell.row, []).append(
          time.monotonic() - self._started[run])
      self._first_failure = ""
      return
    # Which was first after all.
    if grid_results.taken_by_other_process(run, self._root):
      self.left_alone += 1
      return
    self._fail(run, ended)

  def _fail(self, run: Run, ended: Ended) -> None:
    if ended.text:
      _say(ended.text.rstrip())
    # A killed process could not give a reason.
    words = f"the run in {run.folder(self._root)} " + (
        f"was killed by signal {-ended.status}" if ended.status < 0
        else f"ended with status {ended.status}, for the reason above")
    if not (self._has_results or self._seconds or self.failed):
      self._first_failure = words
    elif ended.status < 0:
      _say(words)
    self.failed.append(run)

  def refuse_first_failure(self, running: int) -> None:
    """Raises InputError once the first of all has failed, and no other runs."""
    if self._first_failure and not running:
      raise InputError(f"{self._first_failure}, and the others were not tried; "
                       "run the same command again when it is mended")


def _receive(run: Run, root: pathlib.Path,
             contents: Mapping[str, bytes]) -> None:
  """Writes the files of a run that was done on another file system."""
  config = contents["config.gin"].decode().split("\n", 1)[1]
  with RunFolder(run.folder(root)) as folder:
    folder.prepare(config)
    # The result last: with it the run is finished.
    for name in sorted(contents, key=lambda name: name == folder.result.name):
      with files.atomic_write(folder.path / name) as temporary:
        temporary.write_bytes(contents[name])


def _seconds_left(waiting: Sequence[Run],
                  seconds: dict[str, list[float]]) -> float | None:
  """Expects of each run what others took, those of its own row if any did."""
  every = [taken for row in seconds.values() for taken in row]
  if not every:
    return None
  expected = [seconds.get(run.cell.row, every) for run in waiting]
  return sum(sum(taken) / len(taken) for taken in expected)


def arguments(run: Run, root: pathlib.Path,
              flags: Sequence[str]) -> list[str]:
  """The arguments of `train` for a run; `flags` are the same for all."""
  return [
      f"--workdir={run.folder(root)}", f"--measured={root / 'measured'}",
      *(f"--gin_file={path}" for path in run.settings.files),
      *(f"--gin_bindings={binding}" for binding in run.settings.bindings),
      *flags]


def _train(run: Run, root: pathlib.Path, flags: Sequence[str]) -> int:
  # A process each, so that no run sees the compiled code, the random state or
  # the memory of another.
  return subprocess.run(
      [sys.executable, "-m", "wsl_extraction.train",
       *arguments(run, root, flags)],
      stdout=subprocess.DEVNULL, check=False).returncode


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
