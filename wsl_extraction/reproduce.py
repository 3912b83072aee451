r"""Runs the grid of a table, as far as it has not been run, and prints it.

  python -m wsl_extraction.reproduce --gin_file=gin/tables/mnist5k.gin \
      --workdir=runs/mnist5k

Each cell and seed is a run of `train` in a folder of its own below --workdir.
The same command goes on where an interrupted one stopped; when nothing is
missing it runs nothing and prints the same table, which is also written to
table.md there. Results of other settings than those of the gin files are
refused. --gin_bindings are those of the table, not of its runs.
"""

from __future__ import annotations

import importlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import gin
from absl import flags

from wsl_extraction import cli, files
from wsl_extraction.errors import InputError
from wsl_extraction.report import grids, progress, runs, tables


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string("workdir", None, "The folder of the grid; required.")


def main() -> None:
  """Runs what is missing, one process a run, and prints the table."""
  if not flags.FLAGS.workdir:
    raise InputError("no folder for the results is named; give --workdir, such "
                     "as --workdir=runs/mnist5k")
  if flags.FLAGS.seed is not None:
    raise InputError("--seed is for single runs; the seeds of a table are "
                     "Grid.seeds")
  root = pathlib.Path(flags.FLAGS.workdir).expanduser()
  cli.configure(flags.FLAGS.gin_file, flags.FLAGS.gin_bindings)
  try:
    configurable = gin.get_configurable(grids.Grid)
  except ValueError as error:
    raise InputError("no grid is described; give the --gin_file of a table, "
                     "such as gin/tables/mnist5k.gin") from error
  grid = cli.built(configurable)
  missing = [run for run in grid.runs() if _result(run, root) is None]
  _refuse_others(grid, root, missing)
  start = time.monotonic()
  for done, run in enumerate(missing):
    _say(run, done, len(missing), start)
    _train(grid.methods[run.method], run, root)
  table = _table(grid, root)
  with files.whole(root / "table.md") as path:
    path.write_text(table + "\n", encoding="utf-8")
  print(table)


def _refuse_others(grid: grids.Grid, root: pathlib.Path,
                   missing: Sequence[grids.Run]) -> None:
  """Refuses results of a configuration that is not the grid's."""
  done = [run for run in grid.runs() if run not in missing]
  if done:
    # Imports the backend; a new grid needs none in this process.
    cli.start()
    importlib.import_module("wsl_extraction.experiment")
  for run in done:
    cli.configure([grid.methods[run.method]],
                  [_budget(run), f"Experiment.seed = {run.seed}"])
    with runs.RunFolder(run.folder(root)) as folder:
      folder.prepare(gin.config_str())


def _budget(run: grids.Run) -> str:
  return f"Experiment.budget = {run.budget}"


def _train(gin_file: str, run: grids.Run, root: pathlib.Path) -> None:
  # A process each, so that no run sees the compiled code, the random state or
  # the memory of another.
  arguments = [
      f"--gin_file={gin_file}", f"--workdir={run.folder(root)}",
      f"--gin_bindings={_budget(run)}", f"--seed={run.seed}"]
  for name in ("data_dir", "cache_dir"):
    if flags.FLAGS[name].value:
      arguments.append(f"--{name}={flags.FLAGS[name].value}")
  process = subprocess.run(
      [sys.executable, "-m", "wsl_extraction.train", *arguments],
      stdout=subprocess.DEVNULL, check=False)
  if process.returncode:
    raise InputError(
        f"the run in {run.folder(root)} ended with status "
        f"{process.returncode}, for the reason above; run the same command "
        "again when it is mended")


def _say(run: grids.Run, done: int, total: int, start: float) -> None:
  left = ""
  if done:
    seconds = (time.monotonic() - start) / done * (total - done)
    left = f", about {progress.duration(seconds)} left"
  print(f"run {done + 1}/{total}: {run.method}, {run.budget} queries, seed "
        f"{run.seed}{left}", file=sys.stderr, flush=True)


def _result(run: grids.Run, root: pathlib.Path) -> dict[str, Any] | None:
  return runs.RunFolder(run.folder(root)).read_json("result.json")


def _table(grid: grids.Grid, root: pathlib.Path) -> str:
  found: dict[tuple[str, int], list[dict[str, Any]]] = {}
  for run in grid.runs():
    result = _result(run, root)
    if result is not None:
      found.setdefault((run.method, run.budget), []).append(result)
  return tables.grid_table(found, methods=list(grid.methods),
                           budgets=grid.budgets, caption=grid.caption)


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
