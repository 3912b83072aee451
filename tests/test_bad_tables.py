"""Bad table files, flags and folders as commands: status 2, one line."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pathlib
import subprocess
import sys

import pytest

from fixtures import commands, stand_in_runs
from fixtures.commands import GRID
from wsl_extraction.report.grids import grid_runs

# Of which the cases have stand-in results.
PREPARED = """\
from __gin__ import dynamic_registration

from wsl_extraction.report.grids import grid

grid.Grid.caption = "Digits."
grid.Grid.methods = {"a": "base.gin", "b": "base.gin"}
grid.Grid.budgets = (16, 32)
grid.Grid.seeds = (0, 1)
"""


def words(*more: str) -> list[str]:
  return commands.command(
      "reproduce", "--gin_file=grid.gin", "--workdir=runs", *more)


def spoiled(name: str, content: str | None):
  def spoil(folder: pathlib.Path) -> None:
    path = folder / "runs/b/budget_16/seed_1" / name
    path.write_text(content) if content is not None else path.unlink()
  return spoil


def held(folder: pathlib.Path) -> int:
  run = folder / "runs/b/budget_16/seed_1"
  (run / "result.json").unlink()
  (run / ".lock").write_text("12345\n")
  lock = os.open(run / ".lock", os.O_RDONLY)
  fcntl.flock(lock, fcntl.LOCK_EX)
  return lock


BAD = {
    "unknown cell of the paper": (
        GRID + 'grid.Grid.paper = {"MixMatch": (None,)}\n', (), None,
        ("row 'MixMatch', which is none of two steps, one step", "mend")),
    "paper beyond 100%": (
        GRID + 'grid.Grid.paper = {"one step": ((99.0, 101.0),)}\n', (), None,
        ("(99.0, 101.0) for 'one step', 16 queries", "from 0 to 100")),
    "unknown cell of a comparison": (
        GRID + 'grid.Grid.comparisons = ((("one step", 16), '
        '("one step", 17)),)\n', (), None,
        ("column '17 queries', which is none of 16 queries", "mend")),
    "missing gin file": (
        GRID + 'grid.Grid.methods = {"a": "nowhere.gin"}\n'
        "grid.Grid.comparisons = ()\n", (), None,
        ("no gin file nowhere.gin", '"a, 16 queries"', "--dry_run")),
    "neither file nor binding": (
        GRID + 'grid.Grid.settings = "steps 20"\n', (), None,
        ("Grid.settings has 'steps 20'", "mend")),
    "no table": ("", (), None, ("no table is described", "give")),
    "two tables": (
        GRID + "from wsl_extraction.report.grids import search\n"
        "search.Search.trials = 3\n", (), None,
        ("more than one table", "give")),
    "nothing required": (
        GRID.split("grid.Grid.caption")[0] + "grid.Grid.seeds = (0,)\n", (),
        None, ("caption", "mend the gin file")),
    "shard": (
        GRID, ("--shard=1/2",), None,
        ("--shard is gone", "--engine=ray", "Grid.seeds = (0,)")),
    "address without an engine": (
        GRID, ("--ray_address=auto",), None,
        ("--ray_address is for --engine=ray", "leave it out")),
    "binding of the runs": (
        GRID, ("--gin_bindings=STEPS = 20",), None,
        ("STEPS = 20 is no parameter of the table",
         "--run_bindings='STEPS = 20'")),
    "run binding that is none": (
        GRID, ("--run_bindings=STEPS",), None,
        ("--run_bindings has 'STEPS'", "name = value")),
    "seed": (GRID, ("--seed=3",), None, ("--seed", "Grid.seeds")),
    "damaged result": (
        PREPARED, (), spoiled("result.json", '{"surrogate": {'),
        ("runs/b/budget_16/seed_1/result.json is damaged", "delete")),
    "figure that is none": (
        PREPARED, (), spoiled("result.json", json.dumps(
            stand_in_runs.result({"fidelity_top1": 8}))),
        ("runs/b/budget_16/seed_1/result.json is damaged", "is 8", "delete")),
    "damaged configuration": (
        PREPARED, (), spoiled("config.gin", "# wsl_ex"),
        ("runs/b/budget_16/seed_1", "another version", "delete")),
    "another version": (
        PREPARED, (), spoiled(
            "config.gin", "# wsl_extraction 0.0.1\n"),
        ("runs/b/budget_16/seed_1", "another version", "0.0.1", "install")),
    "foreign folder": (
        PREPARED, ("--dry_run",), spoiled("config.gin", None),
        ("runs/b/budget_16/seed_1 is no run folder", "result.json")),
    "run in progress": (
        PREPARED, (), held,
        ("runs/b/budget_16/seed_1 is in use by process 12345", "wait")),
}


def refused(name: str, folder: pathlib.Path) -> commands.Outcome:
  table, more, spoil, _ = BAD[name]
  commands.write_modules(folder)
  (folder / "grid.gin").write_text(table)
  if spoil is None:
    return commands.run(words(*more), folder, commands.environment(folder))
  for row, budget, seed in itertools.product("ab", (16, 32), (0, 1)):
    cell = grid_runs.Cell(
        row, "", grid_runs.GinSettings(), f"{row}/budget_{budget}")
    stand_in_runs.write(
        grid_runs.Run(cell, seed), folder / "runs", stand_in_runs.result(
            {"accuracy_top1": 0.5, "fidelity_top1": 0.5}))
  lock = spoil(folder)
  try:
    return commands.run(words(*more), folder, commands.environment(folder))
  finally:
    if lock is not None:
      os.close(lock)


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_one_line_before_anything_is_run(
    name, tmp_path):
  outcome = refused(name, tmp_path)
  assert (outcome.status, outcome.stdout) == (2, ""), outcome.stderr
  assert outcome.stderr.startswith("error: ")
  assert outcome.stderr.count("\n") == 1, outcome.stderr
  for part in BAD[name][3]:
    assert part in outcome.stderr
  assert outcome.after == outcome.before


@pytest.mark.parametrize("arguments, cell, said", [
    (("--gin_bindings=Grid.methods = {'a': 'base.gin', 'b': "
      "('base.gin', 'learning.Learning.stepz = 1')}",
      "--gin_bindings=Grid.comparisons = ()"), "b", "stepz"),
    (("--run_bindings=Experiment.budget = -1",), "two steps",
     "Experiment.budget is -1"),
])
def test_a_wrong_setting_is_found_before_anything_is_run(
    tmp_path, arguments, cell, said):
  """A name that does not exist, and a value that cannot be."""
  commands.write_modules(tmp_path)
  (tmp_path / "grid.gin").write_text(GRID)
  outcome = commands.run(
      words(*arguments), tmp_path, commands.environment(tmp_path))
  assert (outcome.status, outcome.stdout) == (2, "")
  assert outcome.stderr.startswith(f'error: the cell "{cell}, 16 queries": ')
  assert said in outcome.stderr and outcome.stderr.count("\n") == 1
  assert outcome.after == outcome.before


def test_a_dry_run_needs_no_backend_and_leaves_nothing(tmp_path):
  commands.write_modules(tmp_path)
  (tmp_path / "grid.gin").write_text(GRID)
  environ = commands.environment(tmp_path)
  outcome = commands.run(
      words("--dry_run"), tmp_path, {**environ, "KERAS_BACKEND": "none"})
  assert outcome.status == 0 and not outcome.stderr
  assert "0 of 2 runs" in outcome.stdout
  assert outcome.stdout.count("not run") == 2 * 2 + 2
  assert outcome.after == outcome.before


def test_starting_imports_neither_backend_nor_plots():
  code = (
      "import sys, wsl_extraction.reproduce\n"
      "heavy = 'keras tensorflow jax torch pandas matplotlib scipy'.split()\n"
      "print([name for name in heavy if name in sys.modules])")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                        text=True, check=True, cwd=commands.ROOT)
  assert done.stdout == "[]\n"
