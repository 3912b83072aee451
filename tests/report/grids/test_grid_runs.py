"""Cells, settings, runs, and the shares of machines."""

import pathlib

import pytest

from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid_runs
from wsl_extraction.report.grids.grid_runs import Cell, GinSettings, Run


def test_settings_are_files_and_bindings():
  given = ("a.gin", "b.c = 1", "from d import e", "sub/f.gin", "g/b.c = 'x'")
  assert GinSettings.parse("here", given) == GinSettings(
      ("a.gin", "sub/f.gin"), ("b.c = 1", "from d import e", "g/b.c = 'x'"))
  assert GinSettings.parse("here", "a.gin") == GinSettings(("a.gin",))
  assert GinSettings.parse("here", ()) == GinSettings()
  both = GinSettings(("a",), ("b",)) + GinSettings(("c",), ("d",))
  assert both == GinSettings(("a", "c"), ("b", "d"))


@pytest.mark.parametrize("given", [3, None, {"a.gin": 1}, ("a.gin", 3),
                                   "distillation", ("",)])
def test_other_settings_are_refused(given):
  with pytest.raises(InputError, match=r"row 'x'.*(give|mend)"):
    GinSettings.parse("row 'x'", given)


def test_a_run_adds_its_seed_and_has_its_own_folder():
  run = Run(Cell("a", "b", GinSettings(("f.gin",), ("c = 1",)), "a/b"), 7)
  assert run.settings == GinSettings(
      ("f.gin",), ("c = 1", "Experiment.seed = 7"))
  assert run.folder(pathlib.Path("root")) == pathlib.Path("root/a/b/seed_7")
  assert str(run) == "a, b, seed 7"


def made(rows, columns):
  return [Cell(f"r{row}", f"c{column}", GinSettings(), f"{row}/{column}")
          for row in range(rows) for column in range(columns)]


def test_runs_fill_all_cells_at_the_same_pace():
  every = grid_runs.runs(made(2, 1), (5, 3))
  assert [run.seed for run in every] == [5, 5, 3, 3]


def test_names_that_would_share_a_folder_are_refused():
  grid_runs.refuse_shared_folders("here", ["a b", "a-c"])
  for other in ("a-b", "A b"):
    with pytest.raises(InputError, match=f"'a b' and '{other}'.*rename one"):
      grid_runs.refuse_shared_folders("here", ["a b", other])


@pytest.mark.parametrize("seeds", [(), 3, None, (1, 1), (-1,), (0.5,), (True,),
                                   "01", (2**31,)])
def test_other_seeds_are_refused(seeds):
  with pytest.raises(InputError, match=r"Grid.seeds is .*each once"):
    grid_runs.checked_seeds("Grid.seeds", seeds)


@pytest.mark.parametrize("figures", [(), "accuracy_top1", ("accuracy",),
                                     ("accuracy_top1",) * 2, None])
def test_other_figures_are_refused(figures):
  with pytest.raises(InputError, match="choose from accuracy_top1, acc"):
    grid_runs.checked_figures("Grid.figures", figures)
