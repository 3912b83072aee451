"""Saved surrogates scored again, and tables of finished runs, as processes."""

from __future__ import annotations

import json

import keras
import pytest

from fixtures import commands

GRID = """\
from __gin__ import dynamic_registration

from wsl_extraction.report.grids import grid

grid.Grid.caption = "Digits."
grid.Grid.methods = {"labels": "base.gin"}
grid.Grid.budgets = (16,)
grid.Grid.seeds = (0,)
"""


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  commands.write_modules(tmp_path)
  return tmp_path


def run(folder, name, *arguments):
  return commands.run(commands.command(name, *arguments), folder,
                      commands.environment(folder))


def scores(path):
  result = json.loads(path.read_text())
  return result["oracle"], result["surrogate"]


def test_a_surrogate_scores_as_at_the_end_of_its_run(folder):
  train = ("train", "--gin_file=base.gin", "--workdir=run")
  done = run(folder, *train)
  assert done.status == 0, done.stderr
  # TensorFlow saves the surrogate of any backend; it has a lot to say.
  assert "oneDNN" not in done.stderr
  evaluate = ("evaluate", "--workdir=run", "--output=again.json")
  done = run(folder, *evaluate)
  assert done.status == 0, done.stderr
  assert scores(folder / "again.json") == scores(folder / "run/result.json")
  assert "attacked" not in done.stdout

  done = run(folder, *evaluate,
             "--gin_bindings=function.Function.fingerprint = 'new'")
  assert ", another than" in done.stdout

  exported = folder / "run/surrogate_export.keras"
  done = run(folder, *evaluate, "--export=keras")
  assert f"exported   {exported.relative_to(folder)}\n" in done.stdout
  told = " ".join(done.stdout.split())
  assert "differ by at most 0.0e+00 on 50 test examples" in told
  assert json.loads((folder / "again.json").read_text())["export"][
      "other_classes"] == 0
  assert keras.saving.load_model(exported).count_params() > 0
  # Refused at once, and nothing is written.
  (folder / "run/surrogate_saved_model").mkdir()
  done = run(folder, *evaluate, "--export=saved_model")
  assert done.status == 2 and done.stderr.count("\n") == 1
  assert "surrogate_saved_model is there already; delete it" in done.stderr
  assert done.before == done.after

  # What is missing is made again, from what was paid for.
  (folder / "run/surrogate.keras").unlink()
  responses = (folder / "run/responses.sqlite").read_bytes()
  assert run(folder, *train).status == 0
  assert (folder / "run/responses.sqlite").read_bytes() == responses
  assert run(folder, *evaluate).status == 0
  assert scores(folder / "again.json") == scores(folder / "run/result.json")


@pytest.mark.slow
def test_a_table_holds_no_result_of_other_settings(folder):
  (folder / "grid.gin").write_text(GRID)
  reproduce = ("reproduce", "--gin_file=grid.gin", "--workdir=runs")
  done = run(folder, *reproduce)
  assert done.status == 0 and "16 queries" in done.stdout, done.stderr
  again = run(folder, *reproduce)
  assert (again.status, again.stdout) == (0, done.stdout), again.stderr

  (folder / "base.gin").write_text(
      commands.GIN.replace("steps = 2", "steps = 3"))
  done = run(folder, *reproduce)
  assert (done.status, done.stdout) == (2, "")
  assert "Recipe.steps is 2 there and 3 here" in done.stderr
  assert done.stderr.count("\n") == 1
  done = run(folder, *reproduce, "--seed=1")
  assert done.status == 2 and "Grid.seeds" in done.stderr
