"""Cells, settings, runs, and the shares of machines."""

import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

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


@hypothesis.given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6),
                  st.integers(1, 40))
def test_shares_part_the_runs_evenly_within_every_cell(
    rows, columns, seeds, count):
  grid = made(rows, columns)
  every = grid_runs.runs(grid, range(seeds))
  shares = [grid_runs.share(grid, range(seeds), index, count)
            for index in range(1, count + 1)]
  dealt = [run for share in shares for run in share]
  assert len(dealt) == len(set(dealt)) == len(every)
  assert set(dealt) == set(every)
  assert max(map(len, shares)) - min(map(len, shares)) <= 1
  for share in shares:  # in the order of the grid
    assert share == [run for run in every if run in share]
  for cell in grid:
    counts = [sum(run.cell == cell for run in share) for share in shares]
    assert max(counts) - min(counts) <= 1


def test_runs_fill_all_cells_at_the_same_pace():
  every = grid_runs.runs(made(2, 1), (5, 3))
  assert [run.seed for run in every] == [5, 5, 3, 3]


@pytest.mark.parametrize("index, count", [(0, 2), (3, 2), (1, 0), (0, 0)])
def test_a_share_out_of_range_is_refused(index, count):
  with pytest.raises(InputError, match="give"):
    grid_runs.share(made(1, 1), (0,), index, count)


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
