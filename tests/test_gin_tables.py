"""The table files that are shipped: sizes, cells, published figures."""

from __future__ import annotations

import pathlib

import gin
import numpy as np
import pytest

from fixtures.gin_files import (
    EXPERIMENTS,
    FILES,
    ROOT,
    TABLES,
    at_root,  # noqa: F401
)
from wsl_extraction import cli, reproduce
from wsl_extraction.report.grids import grid, grid_runs, search

# How many runs each table has.
RUNS = {
    "gin/search_temperature.gin": 12 * 3,
    "gin/tables/active_mnist5k.gin": 4 * 2 * 5,
    "gin/tables/mnist5k.gin": 3 * 3 * 5,
    "gin/tables/own_model.gin": 3 * 3 * 3,
    "gin/tables/table2.gin": 2 * 6 + 2 * 3,
    "gin/tables/table2_mnist5k.gin": (2 * 6 + 2 * 3) * 3,
    "gin/tables/table3_cifar10.gin": 2 * 3 * 3,
    "gin/tables/table3_mnist5k.gin": 2 * 3 * 5,
    "gin/tables/table3_svhn.gin": 2 * 3 * 3,
}


def plan(name):
  """What a table file describes."""
  cli.configure([name], [])
  kind = search.Search if "search.Search" in gin.config_str() else (
      grid.Grid)
  return cli.built(gin.get_configurable(kind))


def test_every_table_has_as_many_runs_as_it_should():
  assert {name: len(grid_runs.runs(plan(name).cells, plan(name).seeds))
          for name in TABLES} == RUNS


def test_tables_name_files_that_exist():
  named = {path for name in TABLES for cell in plan(name).cells
           for path in cell.settings.files}
  assert named <= set(FILES)


def test_table_2_consists_of_the_files_of_its_cells():
  """A cell is the same experiment by itself and in the table."""
  made = plan("gin/tables/table2.gin")
  cells_alone = {name for name in EXPERIMENTS
                 if name.startswith("gin/imagenet/v2_")}
  found = set()
  for run in grid_runs.runs(made.cells, made.seeds):
    row, column = (pathlib.Path(path).stem for path in run.settings.files)
    name = f"gin/imagenet/{row}_{column}.gin"
    found.add(name)
    cli.configure([name], ["Experiment.seed = 0"])
    alone = gin.config_str()
    cli.configure(run.settings.files, run.settings.bindings)
    assert gin.config_str() == alone
    figures = made.published(next(
        cell for cell in made.cells
        if cell.settings.files == run.settings.files))
    assert "{:.2f} / {:.2f} %".format(*figures) in (ROOT / name).read_text()
  assert found == cells_alone
  assert len(found) == 18


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_can_be_configured(name):
  from wsl_extraction import experiment as experiments

  made = plan(name)
  configured = set()
  for run in grid_runs.runs(made.cells, made.seeds[:1]):
    configured.add(reproduce._configuration(run))
    experiment = cli.built(experiments.Experiment)
    assert experiment.seed == made.seeds[0]
    for binding in run.settings.bindings:
      if binding.startswith("Experiment.budget"):
        assert binding == f"Experiment.budget = {experiment.budget}"
  # No two cells are the same experiment.
  assert len(configured) == len(made.cells)


def test_the_papers_figures_are_those_that_its_captions_speak_of():
  table = plan("gin/tables/table2.gin")
  paper = {(cell.row, cell.column): np.array(table.published(cell))
           for cell in table.cells}
  deep, whole = "ResNet_v2_200, 10%", "ResNet_v2_200, 100%"
  np.testing.assert_allclose(
      paper[deep, "WSL + rotation"] - paper[deep, "WSL"], (1.36, 1.80))
  np.testing.assert_allclose(
      paper[whole, "WSL"] - paper[whole, "ImageNet labels"], (0.56, 1.13))
  for name in ("gin/tables/table3_cifar10.gin", "gin/tables/table3_svhn.gin"):
    paper = plan(name).paper
    assert paper["MixMatch"][0] > paper["fully supervised"][2]


def test_table_2_is_the_papers_cell_by_cell():
  assert plan("gin/tables/table2.gin").paper == {
      "ResNet_v2_50, 10%": (
          (81.86, 82.95), (82.71, 84.18), (82.97, 84.52), (82.27, 84.14),
          (82.76, 84.73), (82.84, 84.59)),
      "ResNet_v2_200, 10%": (
          (83.50, 84.96), (84.81, 86.36), (85.00, 86.67), (85.10, 86.29),
          (86.17, 88.16), (86.11, 87.54)),
      "ResNet_v2_50, 100%": (
          (92.45, 93.93), (93.00, 94.64), (93.12, 94.87), None, None, None),
      "ResNet_v2_200, 100%": (
          (93.70, 95.11), (94.26, 96.24), (94.21, 95.85), None, None, None)}


@pytest.mark.parametrize("name, supervised, mixmatch", [
    ("svhn", ((79.25, 79.48), (89.47, 89.87), (94.25, 94.71)),
     ((95.82, 96.38), (96.87, 97.45), (97.07, 97.61))),
    ("cifar10", ((53.35, 53.61), (73.47, 73.96), (86.51, 87.37)),
     ((87.98, 88.79), (90.63, 91.39), (93.29, 93.99)))])
def test_table_3_is_the_papers_cell_by_cell(name, supervised, mixmatch):
  made = plan(f"gin/tables/table3_{name}.gin")
  assert made.budgets == (250, 1000, 4000)
  assert made.paper == {"fully supervised": supervised, "MixMatch": mixmatch}


def test_digits_are_not_set_beside_the_papers_figures():
  for name in TABLES:
    if "mnist" in name or "mnist" in (ROOT / name).read_text():
      assert not getattr(plan(name), "paper", {}) or "search" in name
