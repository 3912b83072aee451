"""The report of a grid: ours beside the paper's, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import text_tables
from wsl_extraction.report.grids import goal, table_files
from wsl_extraction.report.grids.grid import Grid
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.grids.grid_runs import FIGURES, Cell
from wsl_extraction.report.grids.table_files import TableFiles
from wsl_extraction.report.panels import Panel, Plot, Series, axis_label
from wsl_extraction.report.text_tables import TextTable


def _compared(grid: Grid) -> str:
  if len(grid.seeds) == 1:
    return "Differences under the one seed, in points of %."
  return ("Paired differences: mean over the seeds that both have, in points "
          "of %, and its 95% interval (Student's t).")


def report(grid: Grid, outcomes: GridResults) -> TableFiles:
  """Sums up what was run of a grid."""
  cells = _cells(grid, outcomes)
  intro = f"{grid.caption.strip()} {_explained(grid)}"
  total = table_files.total_text(outcomes, len(grid.cells) * len(grid.seeds))
  parts, tables = [intro, text_tables.markdown(cells), total], [(cells, intro)]
  if grid.pairs:
    differences = _differences(grid, outcomes)
    parts += [_compared(grid), text_tables.markdown(differences)]
    tables.append((differences, f"{grid.caption.strip()} {_compared(grid)}"))
  if grid.fidelity_goal is not None:
    parts.append(goal.sentence(grid, outcomes))
  return TableFiles("\n\n".join(parts), tables, _records(grid, outcomes),
                table_files.run_records(outcomes), _plot(grid, outcomes),
                _difference_records(grid, outcomes))


def _explained(grid: Grid) -> str:
  text = table_files.explained(grid.figures, len(grid.seeds))
  if grid.paper:
    names = " / ".join(name.split("_")[0] for name in grid.figures)
    text += f" Paper: the published {names} of the same cell."
  return text


def _decimals(grid: Grid) -> int:
  # Those of the paper, where its figures stand beside.
  return 2 if grid.paper else 1


def _cells(grid: Grid, outcomes: GridResults) -> TextTable:
  paper = ["paper"] if grid.paper else []
  header = ["", "", *paper, *(f"{FIGURES[name]}, %" for name in grid.figures),
            "seeds", "hours"]
  rows = []
  for row in grid.rows:
    for column in grid.headings:
      cell = grid.cell(row, column)
      rows.append([row, column, *(
          _missing(grid) if cell is None else _cell(grid, outcomes, cell))])
  return TextTable(header, rows, left=2)


def _missing(grid: Grid) -> list[str]:
  return ["n/a"] * (bool(grid.paper) + len(grid.figures)) + ["", ""]


def _cell(grid: Grid, outcomes: GridResults, cell: Cell) -> list[str]:
  decimals = _decimals(grid)
  published = grid.published(cell)
  paper = "-" if published is None else " / ".join(
      f"{value:.{decimals}f}" for value in published)
  return [
      *([paper] if grid.paper else []),
      *(table_files.mean_text(outcomes, cell, name, decimals)
        for name in grid.figures),
      table_files.seeds_text(outcomes, cell, grid.figures, len(grid.seeds)),
      table_files.hours_text(outcomes, cell)]


def _differences(grid: Grid, outcomes: GridResults) -> TextTable:
  rows = []
  for name, cell, other in grid.pairs:
    differences = [outcomes.difference(cell, other, figure)
                   for figure in grid.figures]
    rows.append([
        name, *([_published(grid, cell, other)] if grid.paper else []),
        *(_missing_text(grid, outcomes, cell, other) if estimate is None else
          _interval(estimate, _decimals(grid)) for estimate, _ in differences),
        str(min(count for _, count in differences))])
  header = ["", *(["paper"] if grid.paper else []),
            *(FIGURES[name] for name in grid.figures), "seeds"]
  return TextTable(header, rows)


def _published(grid: Grid, cell: Cell, other: Cell) -> str:
  """The differences of the paper's figures."""
  ours, theirs = grid.published(cell), grid.published(other)
  if ours is None or theirs is None:
    return "-"
  return " / ".join(f"{a - b:+.{_decimals(grid)}f}"
                    for a, b in zip(ours, theirs, strict=True))


def _missing_text(grid: Grid, outcomes: GridResults, cell: Cell,
                  other: Cell) -> str:
  both = all(outcomes.values(one, figure) for one in (cell, other)
             for figure in grid.figures)
  return "no common seed" if both else "not run"


def _difference_records(grid: Grid,
                        outcomes: GridResults) -> list[dict[str, Any]]:
  records = []
  for name, cell, other in grid.pairs:
    record = {"comparison": name, "row": cell.row, "column": cell.column,
              "minus_row": other.row, "minus_column": other.column}
    ours, theirs = grid.published(cell), grid.published(other)
    for order, figure in enumerate(grid.figures):
      estimate, seeds = outcomes.difference(cell, other, figure)
      paper = None if ours is None or theirs is None else round(
          ours[order] - theirs[order], 6)
      record |= {f"{figure}_paper": paper,
                 **table_files.estimate_fields(figure, estimate),
                 f"{figure}_seeds": seeds}
    records.append(record)
  return records


def _interval(estimate: Estimate, decimals: int) -> str:
  text = f"{estimate.value:+.{decimals}f}"
  if estimate.low != estimate.low:  # of a single seed: nan
    return text
  return (f"{text} [{estimate.low:+.{decimals}f}, "
          f"{estimate.high:+.{decimals}f}]")


def _records(grid: Grid, outcomes: GridResults) -> list[dict[str, Any]]:
  records = []
  for cell in grid.cells:
    record = {"row": cell.row, "column": cell.column,
              "queries": grid.queries.get(cell.column),
              "runs": len(outcomes.of(cell)),
              "hours": round(outcomes.hours(cell), 6)}
    published = grid.published(cell) or [None] * len(grid.figures)
    for name, paper in zip(grid.figures, published, strict=True):
      record |= {f"{name}_paper": paper,
                 **table_files.estimate_fields(name, outcomes.mean(cell, name)),
                 f"{name}_seeds": len(outcomes.values(cell, name))}
    records.append(record)
  return records


def _plot(grid: Grid, outcomes: GridResults) -> Plot:
  places: Sequence[int] = (
      list(grid.queries.values()) or range(len(grid.headings)))
  ticks: dict[float, str] = {
      place: column.removesuffix(" queries")
      for place, column in zip(places, grid.headings, strict=True)}
  position = dict(zip(grid.headings, places, strict=True))
  panels = [
      Panel(axis_label(FIGURES[name], "%"), [
          _series(grid, outcomes, row, order, position)
          for row in grid.rows], victim=outcomes.victims(name))
      for order, name in enumerate(grid.figures)]
  return Plot(grid.caption, panels, "Queries" if grid.queries else "", ticks,
              is_log=bool(grid.queries), is_joined=bool(grid.queries))


def _series(grid: Grid, outcomes: GridResults, row: str, order: int,
            position: dict[str, int]) -> Series:
  """The figure of that order in a row, over its columns."""
  points, paper = [], []
  for cell in grid.cells:
    if cell.row != row:
      continue
    estimate = outcomes.mean(cell, grid.figures[order])
    if estimate is not None:
      points.append((position[cell.column], estimate))
    published = grid.published(cell)
    if published is not None:
      paper.append((position[cell.column], published[order]))
  return Series(row, points, paper)
