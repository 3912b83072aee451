"""The sentence that says after how many queries a model is copied."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fixtures import stand_in_runs
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import goal, grid_report, grid_runs
from wsl_extraction.report.grids.grid import Grid
from wsl_extraction.report.grids.grid_results import GridResults

BUDGETS = (400, 50, 100)  # not in order
# Fidelity in % by seed: the mean of scores reaches 90 at 50, its interval at
# 100; that of labels nowhere.
FIDELITY = {
    ("scores", 50): (85.0, 91.0, 95.0), ("scores", 100): (93.0, 94.0, 93.5),
    ("scores", 400): (97.0, 97.0, 97.5), ("label", 50): (60.0, 70.0, 65.0),
    ("label", 100): (80.0, 81.0, 82.0), ("label", 400): (88.0, 95.0, 91.0),
}


def grid(**changes):
  return Grid(**{
      "caption": "Photographs.", "methods": {"label": "a.gin",
                                             "scores": "b.gin"},
      "budgets": BUDGETS, "seeds": (0, 1, 2), "fidelity_goal": 90, **changes})


def results(one, folder, without=()):
  """Stand-in runs of all cells but some."""
  planned = grid_runs.runs(one.cells, one.seeds)
  for run in planned:
    place = run.cell.row, one.queries[run.cell.column]
    if place not in without and (*place, run.seed) not in without:
      stand_in_runs.write(run, folder, stand_in_runs.result({
          "accuracy_top1": 0.5,
          "fidelity_top1": FIDELITY[place][run.seed] / 100}))
  return GridResults.read(planned, folder)


def lowest(row, fidelity_goal):
  """The same by scipy: the first budget whose lower end is high enough."""
  for budget in sorted(BUDGETS):
    values = FIDELITY[row, budget]
    low, _ = scipy.stats.t.interval(
        0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    if low >= fidelity_goal:
      return f"within {budget} queries"
  return f"not within {max(BUDGETS)} queries"


@pytest.mark.parametrize("fidelity_goal", [40, 70, 78.5, 90, 95, 99.5])
def test_it_names_the_first_budget_whose_interval_reaches(
    tmp_path, fidelity_goal):
  one = grid(fidelity_goal=fidelity_goal)
  said = goal.sentence(one, results(one, tmp_path))
  assert said == (
      f"The model is copied to a top-1 fidelity of {fidelity_goal:g}% (lower "
      f"end of the 95% interval) under label: {lowest('label', fidelity_goal)};"
      f" scores: {lowest('scores', fidelity_goal)}.")


def test_a_mean_that_reaches_is_not_enough(tmp_path):
  one = grid()
  said = goal.sentence(one, results(one, tmp_path))
  assert np.mean(FIDELITY["scores", 50]) > 90
  assert np.mean(FIDELITY["label", 400]) > 90
  assert "label: not within 400 queries; scores: within 100 queries." in said


@pytest.mark.parametrize("without, said", [
    ([("scores", 50)], "scores: within 100 queries (50 not known yet)"),
    ([("scores", 50, 1), ("scores", 50, 2)],
     "scores: within 100 queries (50 not known yet)"),
    ([("label", 400)], "label: not within 100 queries (400 not known yet)"),
    ([("label", budget) for budget in BUDGETS], "label: not known yet;"),
])
def test_what_was_not_run_is_not_claimed(tmp_path, without, said):
  one = grid()
  assert said in goal.sentence(one, results(one, tmp_path, without))


def test_cells_that_are_left_out_are_no_gap(tmp_path):
  one = grid(excluded=(("label", 400),))
  said = goal.sentence(one, results(one, tmp_path))
  assert "label: not within 100 queries;" in said


def test_one_seed_answers_nothing(tmp_path):
  one = grid(seeds=(1,))
  said = goal.sentence(one, results(one, tmp_path))
  assert "One seed has no interval" in said and "within" not in said


def test_the_report_ends_with_it_and_only_if_asked(tmp_path):
  one = grid(comparisons=(("scores", "label"),))
  outcomes = results(one, tmp_path)
  assert grid_report.report(one, outcomes).text.endswith(
      goal.sentence(one, outcomes))
  assert "copied" not in grid_report.report(
      grid(fidelity_goal=None), outcomes).text


@pytest.mark.parametrize("changes, said", [
    ({"fidelity_goal": 101}, "Grid.fidelity_goal is 101"),
    ({"fidelity_goal": "90"}, "Grid.fidelity_goal is '90'"),
    ({"fidelity_goal": True}, "Grid.fidelity_goal is True"),
    ({"budgets": (), "columns": {"a": "a.gin"}}, "give Grid.budgets"),
    ({"figures": ("accuracy_top1",)}, "fidelity_top1 among Grid.figures"),
])
def test_goals_that_cannot_be_are_named(changes, said):
  with pytest.raises(InputError, match=said):
    grid(**changes)
