"""The runs of a table as processes, with the time that is left."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from wsl_extraction.errors import InputError
from wsl_extraction.report import progress
from wsl_extraction.report.grids import grid_results
from wsl_extraction.report.grids.grid_runs import Run


def run_all(missing: Sequence[Run], root: pathlib.Path, has_results: bool,
            flags: Sequence[str] = ()) -> tuple[list[Run], int]:
  """Runs what is missing, one process after the other.

  Args:
    missing: The runs.
    root: The folder of the table.
    has_results: Whether the table has some already. If not, and the first run
      fails, the others are not tried.
    flags: More flags of `train` for each of them.

  Returns:
    The runs that failed, and the number of those left to other processes.

  Raises:
    InputError: The first of all fails.
    KeyboardInterrupt: A run was interrupted.
  """
  failed: list[Run] = []
  left_alone = 0
  seconds: dict[str, list[float]] = {}
  for done, run in enumerate(missing):
    if grid_results.taken_by_other_process(run, root):
      left_alone += 1
      continue
    left = _seconds_left(missing[done:], seconds)
    about = f", about {progress.duration(left)} left" if left else ""
    print(f"run {done + 1}/{len(missing)}: {run}{about}", file=sys.stderr,
          flush=True)
    start = time.monotonic()
    status = _train(run, root, flags)
    if status in (130, -signal.SIGINT):
      raise KeyboardInterrupt
    if not status:
      seconds.setdefault(run.cell.row, []).append(time.monotonic() - start)
      continue
    # Which was first after all.
    if grid_results.taken_by_other_process(run, root):
      left_alone += 1
      continue
    failed.append(run)
    # A killed process could not give a reason.
    end = f"the run in {run.folder(root)} " + (
        f"was killed by signal {-status}" if status < 0
        else f"ended with status {status}, for the reason above")
    if done == 0 and not has_results:
      raise InputError(f"{end}, and the others were not tried; run the same "
                       "command again when it is mended")
    if status < 0:
      print(end, file=sys.stderr, flush=True)
  return failed, left_alone


def _seconds_left(waiting: Sequence[Run],
                  seconds: dict[str, list[float]]) -> float | None:
  """Expects of each run what others took, those of its own row if any did."""
  every = [taken for row in seconds.values() for taken in row]
  if not every:
    return None
  expected = [seconds.get(run.cell.row, every) for run in waiting]
  return sum(sum(taken) / len(taken) for taken in expected)


def _train(run: Run, root: pathlib.Path, flags: Sequence[str]) -> int:
  # A process each, so that no run sees the compiled code, the random state or
  # the memory of another.
  arguments = [
      f"--workdir={run.folder(root)}", f"--measured={root / 'measured'}",
      *(f"--gin_file={path}" for path in run.settings.files),
      *(f"--gin_bindings={binding}" for binding in run.settings.bindings),
      *flags]
  return subprocess.run(
      [sys.executable, "-m", "wsl_extraction.train", *arguments],
      stdout=subprocess.DEVNULL, check=False).returncode
