"""The answer of a grid: the budget from which a fidelity is reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wsl_extraction.report.grids.grid import Grid
from wsl_extraction.report.grids.grid_results import GridResults

FIGURE = "fidelity_top1"


def sentence(grid: Grid, outcomes: GridResults) -> str:
  """Says within how many queries each row of a grid reaches its goal.

  That is the smallest budget at which the lower end of the interval is at
  least `Grid.fidelity_goal`. A single run has no interval and reaches nothing.

  Args:
    grid: One with a goal, whose columns are budgets.
    outcomes: What was run of it.
  """
  if len(grid.seeds) == 1:
    return ("One seed has no interval, so no budget is named at which a "
            f"fidelity of {grid.fidelity_goal:g}% is reached; give two "
            "Grid.seeds or more.")
  answers = "; ".join(
      f"{row}: {_answer(grid, outcomes, row)}" for row in grid.rows)
  return (f"The model is copied to a top-1 fidelity of {grid.fidelity_goal:g}% "
          f"(lower end of the 95% interval) under {answers}.")


def _answer(grid: Grid, outcomes: GridResults, row: str) -> str:
  """The first budget of a row that reaches the goal, as words."""
  assert grid.fidelity_goal is not None, "the grid has a goal"
  missing: list[int] = []
  seen = 0
  for column, budget in sorted(grid.queries.items(), key=lambda one: one[1]):
    cell = grid.cell(row, column)
    if cell is None:
      continue
    estimate = outcomes.mean(cell, FIGURE)
    if estimate is None or math.isnan(estimate.low):
      missing.append(budget)
      continue
    seen = budget
    # In the digits of the results, where rounding may fall below the goal.
    if round(estimate.low, 6) >= grid.fidelity_goal:
      return f"within {_queries(budget)}{_untold(missing)}"
  if not seen:
    return "not known yet"
  return f"not within {_queries(seen)}{_untold(missing)}"


def _untold(missing: Sequence[int]) -> str:
  """A note on budgets that have too few runs for an interval."""
  if not missing:
    return ""
  return f" ({', '.join(f'{budget:,}' for budget in missing)} not known yet)"


def _queries(budget: int) -> str:
  return f"{budget:,} {'query' if budget == 1 else 'queries'}"
