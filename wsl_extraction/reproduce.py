r"""Runs a table's grid, or a random search, as far as missing, and prints it.

  python -m wsl_extraction.reproduce --gin_file=gin/tables/mnist5k.gin \
      --workdir=runs/mnist5k

Each cell and seed is a run of `train` in a folder of its own below --workdir.
The same command goes on where an interrupted one stopped; when nothing is
missing it runs nothing and prints the same table. Beside the runs it writes

  table.md table.tex   the table, ours beside the paper's, as it is printed
  table.csv runs.csv   its numbers: a line a cell, a line a run; in %
  plot.png plot.pdf    its figures with their intervals

--shard=2/3 runs the second third of the grid, on another machine say; copy the
run folders together, and the same command without it prints the whole table.
--dry_run shows a table before it is run, or while another process runs it.

A run that fails does not stop the others. Damaged folders and results of other
settings or versions are refused before anything is run. --gin_bindings are
those of the table: to change all its runs, for a quick look say, give
--gin_bindings="Grid.settings = ('STEPS = 20',)".
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import gin
from absl import flags

from wsl_extraction import cli, devices, files
from wsl_extraction.errors import InputError
from wsl_extraction.report import (
    cells,
    grid_report,
    grids,
    progress,
    search_report,
    searches,
)
from wsl_extraction.report.cells import Run
from wsl_extraction.report.outcomes import Outcomes
from wsl_extraction.report.reports import Report
from wsl_extraction.report.runs import RunFolder

Plan = grids.Grid | searches.Search


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string("workdir", None, "The folder of the table; required.")
  flags.DEFINE_string(
      "shard", None, "Runs only one share of the table, such as 1/2: the first "
      "of two. The shares of different machines never overlap.")
  flags.DEFINE_boolean(
      "dry_run", False, "Runs and writes nothing; prints the table as far as "
      "there are results.")


def main() -> None:
  """Runs what is missing, one process a run, and prints the table."""
  if not flags.FLAGS.workdir:
    raise InputError("no folder for the results is named; give --workdir, such "
                     "as --workdir=runs/mnist5k")
  if flags.FLAGS.seed is not None:
    raise InputError("--seed is for single runs; the seeds of a table are "
                     "Grid.seeds")
  root = pathlib.Path(flags.FLAGS.workdir).expanduser()
  plan = _plan()
  planned = cells.runs(plan.cells, plan.seeds)
  mine = _share(plan)
  outcomes = Outcomes.read(planned, root)
  if flags.FLAGS.dry_run:
    _check(planned, root, [])
    cli.show(_report(plan, outcomes).text)
    return
  missing = [run for run in mine if run not in outcomes]
  _check(planned, root, missing)
  failed = _run_all(missing, root, len(outcomes) > 0)
  report = _report(plan, Outcomes.read(planned, root))
  cli.show(report.text)
  for name, content in report.files():
    with files.whole(root / name) as path:
      path.write_bytes(content)
  if failed:
    raise InputError(
        f"{len(failed)} of {len(missing)} runs failed, first the one in "
        f"{failed[0].folder(root)}, for the reasons above; run the same "
        "command again when they are mended")


def _plan() -> Plan:
  """What the flags' gin files describe."""
  cli.configure(flags.FLAGS.gin_file, flags.FLAGS.gin_bindings)
  described = [
      kind for kind in (grids.Grid, searches.Search)
      if re.search(rf"^([\w./]+\.)?{kind.__name__}\.\w+ =", gin.config_str(),
                   re.MULTILINE)]
  if len(described) != 1:
    raise InputError(
        f"{'more than one table is' if described else 'no table is'} "
        "described; give the --gin_file of one, such as "
        "gin/tables/mnist5k.gin")
  return cli.built(gin.get_configurable(described[0]))


def _share(plan: Plan) -> list[Run]:
  """The runs that fall to this process."""
  shard = flags.FLAGS.shard or "1/1"
  found = re.fullmatch(r"(\d+)/(\d+)", shard)
  if not found:
    raise InputError(f"--shard={shard} is no share; give the first of two, "
                     "say, as --shard=1/2")
  return cells.share(plan.cells, plan.seeds, int(found[1]), int(found[2]))


def _report(plan: Plan, outcomes: Outcomes) -> Report:
  if isinstance(plan, searches.Search):
    return search_report.report(plan, outcomes)
  return grid_report.report(plan, outcomes)


def _check(planned: Sequence[Run], root: pathlib.Path,
           missing: Sequence[Run]) -> None:
  """Refuses what cannot be run, and results of other settings.

  Raises:
    InputError: A gin file is missing or wrong, a folder holds the run of
      another configuration, or one of `missing` is being run right now.
  """
  begun = {run for run in planned
           if RunFolder(run.folder(root)).config.exists()}
  first = {run.cell: run for run in reversed(missing)}
  needed = [run for run in planned
            if run in begun or first.get(run.cell) == run]
  for run in needed:
    for path in run.settings.files:
      _check_exists(run, path)
  for run in missing:
    RunFolder(run.folder(root)).refuse_use()
  if needed:
    with _without_accelerators():
      devices.start_backend()
      importlib.import_module("wsl_extraction.experiment")
  for run in needed:
    RunFolder(run.folder(root)).refuse_others(_configuration(run))


def _check_exists(run: Run, path: str) -> None:
  # Before the backend is imported, which takes seconds.
  package = pathlib.Path(__file__).parent
  if not any((folder / path).is_file()
             for folder in (pathlib.Path(), package, package.parent)):
    raise InputError(f"there is no gin file {path}, which the cell "
                     f"\"{run.cell}\" names; name another in the table file, "
                     "or see what there is with --dry_run")


@contextlib.contextmanager
def _without_accelerators() -> Iterator[None]:
  """Hides them from this process, which would take their memory from runs.

  Runs get the environment as it was: backends leave their own marks in it.
  """
  before = dict(os.environ)
  os.environ |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
  try:
    yield
  finally:
    os.environ.clear()
    os.environ |= before


def _configuration(run: Run) -> str:
  """What `train` will have as its configuration."""
  try:
    cli.configure(run.settings.files, run.settings.bindings)
  except InputError as error:
    raise InputError(f"the cell \"{run.cell}\": {error}") from error
  return gin.config_str()


def _run_all(missing: Sequence[Run], root: pathlib.Path,
             has_results: bool) -> list[Run]:
  """Runs what is missing; gives the runs that failed."""
  failed: list[Run] = []
  seconds: dict[str, list[float]] = {}
  for done, run in enumerate(missing):
    left = _seconds_left(missing[done:], seconds)
    about = f", about {progress.duration(left)} left" if left else ""
    print(f"run {done + 1}/{len(missing)}: {run}{about}", file=sys.stderr,
          flush=True)
    start = time.monotonic()
    status = _train(run, root)
    if status in (130, -signal.SIGINT):
      raise KeyboardInterrupt
    if not status:
      seconds.setdefault(run.cell.row, []).append(time.monotonic() - start)
      continue
    failed.append(run)
    if done == 0 and not has_results:
      raise InputError(
          f"the run in {run.folder(root)} ended with status {status}, for the "
          "reason above, and the others were not tried; run the same command "
          "again when it is mended")
  return failed


def _seconds_left(rest: Sequence[Run],
                  seconds: dict[str, list[float]]) -> float | None:
  """Expects of each run what others took, those of its own row if any did."""
  every = [taken for row in seconds.values() for taken in row]
  if not every:
    return None
  expected = [seconds.get(run.cell.row, every) for run in rest]
  return sum(sum(taken) / len(taken) for taken in expected)


def _train(run: Run, root: pathlib.Path) -> int:
  # A process each, so that no run sees the compiled code, the random state or
  # the memory of another.
  arguments = [
      f"--workdir={run.folder(root)}",
      *(f"--gin_file={path}" for path in run.settings.files),
      *(f"--gin_bindings={binding}" for binding in run.settings.bindings)]
  for name in ("data_dir", "cache_dir"):
    if flags.FLAGS[name].value:
      arguments.append(f"--{name}={flags.FLAGS[name].value}")
  return subprocess.run(
      [sys.executable, "-m", "wsl_extraction.train", *arguments],
      stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
