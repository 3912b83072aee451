r"""Runs a table's grid, or a random search, as far as missing, and prints it.

  python -m wsl_extraction.reproduce --gin_file=gin/tables/mnist5k.gin

Each cell and seed is a run of `train` in a folder of its own, below
runs/tables/mnist5k or what --workdir names.
The same command goes on where an interrupted one stopped; when nothing is
missing it runs nothing and prints the same table. Beside the runs it writes

  table.md table.tex   the table, ours beside the paper's, as it is printed
  table.csv runs.csv   its numbers: a line a cell, a line a run; in %
  differences.csv      what is compared, if anything is; in points of %
  plot.png plot.pdf    its figures with their intervals
  measured/            the victims' answers to the test sets, asked for once

--processes=4 does four runs at once; --engine=ray does them on the devices of a
Ray cluster, one each (docs/guide/scale.md). This process alone writes tables.
--dry_run shows a table before it is run, or while another process runs it.

A run that fails does not stop the others. Damaged folders and results of other
settings or versions are refused before anything is run. --gin_bindings are
those of the table, such as "Grid.seeds = (0,)"; --run_bindings change all its
runs, for a quick look say: --run_bindings="STEPS = 20".
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator, Sequence

import gin
from absl import flags

from wsl_extraction import cli, cli_engines, cli_files, cli_runs, cli_workers
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import (
    grid,
    grid_report,
    grid_runs,
    run_processes,
    search,
    search_report,
)
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.grids.grid_runs import Run
from wsl_extraction.report.grids.table_files import TableFiles
from wsl_extraction.report.run_folder import RunFolder
from wsl_extraction.runtime import backend, files

Plan = grid.Grid | search.Search


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "workdir", None, "The folder of the table; by default one below runs/ "
      "named after the gin file.")
  cli_engines.define_flags("runs")
  flags.DEFINE_string("shard", None, "Gone: --engine=ray divides the runs.")
  flags.DEFINE_multi_string(
      "run_bindings", [], "A gin binding for every run of the table, after all "
      "of its own; repeatable.")
  flags.DEFINE_boolean(
      "dry_run", False, "Runs and writes nothing; prints the table as far as "
      "there are results.")


def main() -> None:
  """Runs what is missing, one process a run, and prints the table."""
  if flags.FLAGS.shard is not None:
    raise InputError(
        "--shard is gone: --engine=ray divides the runs among machines; "
        "without Ray give each machine some seeds, "
        "--gin_bindings='Grid.seeds = (0,)', and copy the run folders together")
  cli_engines.check_flags()
  root = cli.results_folder()
  plan = _plan()
  planned = grid_runs.runs(plan.cells, plan.seeds)
  outcomes = GridResults.read(planned, root)
  if flags.FLAGS.dry_run:
    _check(planned, root, [])
    cli.show(_report(plan, outcomes).text)
    return
  missing = [run for run in planned if run not in outcomes]
  _check(planned, root, missing)
  failed, left = _run(missing, root, len(outcomes) > 0)
  outcomes = GridResults.read(planned, root, failed)
  _publish(_report(plan, outcomes), root)
  if left:
    print(f"{left} of {len(missing)} runs were left to another process that "
          "runs them", file=sys.stderr, flush=True)
  failed = [run for run in failed if run not in outcomes]
  if failed:
    raise InputError(
        f"{len(failed)} of {len(missing)} runs failed, first the one in "
        f"{failed[0].folder(root)}, for the reasons above; run the same "
        "command again when they are mended")


def _run(missing: Sequence[Run], root: pathlib.Path,
         has_results: bool) -> tuple[list[Run], int]:
  """Does the runs by the engine of the flags; see `run_processes.run_all`."""
  if not missing:
    return [], 0
  surroundings = cli_workers.Surroundings.of_this()
  with contextlib.ExitStack() as stack:
    engine = stack.enter_context(cli_engines.engine(keeps=False))
    make = functools.partial(
        run_processes.Processes, root, surroundings.words)
    if engine.is_remote:
      root = root.absolute()
      mark = stack.enter_context(cli_runs.marked(root))
      make = functools.partial(
          cli_runs.ClusterRuns, root, mark, surroundings)
    return run_processes.run_all(missing, root, has_results, engine, make)


def _publish(report: TableFiles, root: pathlib.Path) -> None:
  contents = list(report.files())  # before a part is shown that may stay alone
  cli.show(report.text)
  for name, content in contents:
    with files.atomic_write(root / name) as path:
      path.write_bytes(content)


def _plan() -> Plan:
  """Builds the grid or search that the flags' gin files describe."""
  bindings = flags.FLAGS.gin_bindings
  cli.configure(flags.FLAGS.gin_file, [])
  for binding in bindings:
    _check_binding(binding, "\n".join([gin.config_str(), *bindings]))
  cli.configure(flags.FLAGS.gin_file, bindings)
  described = [
      kind for kind in (grid.Grid, search.Search)
      if re.search(rf"^([\w./]+\.)?{kind.__name__}\.\w+ =", gin.config_str(),
                   re.MULTILINE)]
  if len(described) != 1:
    raise InputError(
        f"{'more than one table is' if described else 'no table is'} "
        "described; give the --gin_file of one, such as "
        "gin/tables/mnist5k.gin")
  plan = cli.built(described[0])
  grid_runs.GinSettings.parse("--run_bindings", flags.FLAGS.run_bindings)
  own = plan.overrides
  own = [own] if isinstance(own, str) else [*own]
  return dataclasses.replace(plan, overrides=own + flags.FLAGS.run_bindings)


def _check_binding(binding: str, table: str) -> None:
  """Refuses a binding that the table does not read, but its runs might."""
  name = re.match(r"\s*([\w./]+)\s*=", binding)
  if name is None or re.search(r"\b(Grid|Search)\.\w+$", name[1]):
    return
  # Unless it is a macro that the table uses.
  if not re.search(rf"%{re.escape(name[1])}\b", table):
    raise InputError(f"--gin_bindings={binding} is no parameter of the table "
                     "(Grid or Search); for its runs give "
                     f"--run_bindings={shlex.quote(binding)}")


def _report(plan: Plan, outcomes: GridResults) -> TableFiles:
  if isinstance(plan, search.Search):
    return search_report.report(plan, outcomes)
  return grid_report.report(plan, outcomes)


def _check(planned: Sequence[Run], root: pathlib.Path,
           missing: Sequence[Run]) -> None:
  """Refuses what cannot be run, and results of other settings.

  Raises:
    InputError: A gin file is missing or wrong, a value cannot be, a folder
      holds the run of another configuration, or one of `missing` is being run
      right now.
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
  if not needed:
    return
  with _without_accelerators():
    cli.load_backend()
    importlib.import_module("wsl_extraction.experiment")
    for run in needed:
      configuration = _configuration(run, first.get(run.cell) == run)
      RunFolder(run.folder(root)).refuse_others(configuration)


def _check_exists(run: Run, path: str) -> None:
  # Before the backend is imported, which takes seconds.
  if cli_files.find(path) is None:
    raise InputError(f"there is no gin file {path}, which the cell "
                     f"\"{run.cell}\" names; name another in the table file, "
                     "or see what there is with --dry_run")


@contextlib.contextmanager
def _without_accelerators() -> Iterator[None]:
  """Hides them from this process, which would take their memory from runs.

  Runs get the environment as it was: backends leave their own marks in it.
  """
  before = dict(os.environ)
  backend.hide_accelerators()
  try:
    yield
  finally:
    os.environ.clear()
    os.environ |= before


def _configuration(run: Run, is_built: bool = False) -> str:
  """The configuration that `train` will have, built once if asked for."""
  from wsl_extraction import experiment  # slow to import

  try:
    cli.configure(run.settings.files, run.settings.bindings)
    configuration = gin.config_str()
    if is_built:
      cli.built(experiment.Experiment)
  except InputError as error:
    raise InputError(f"the cell \"{run.cell}\": {error}") from error
  return configuration


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(
      main, define_flags,
      reads=("gin_file", "gin_bindings", "data_dir", "cache_dir"),
      instead={"seed": "--seed is for single runs; the seeds of a table are "
                       "Grid.seeds"})


if __name__ == "__main__":
  sys.exit(launch())
