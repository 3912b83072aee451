"""The report of a random search: its trials, and which was the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsl_extraction.report import text_tables
from wsl_extraction.report.grids import table_files
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.grids.grid_runs import FIGURES, Cell
from wsl_extraction.report.grids.search import Search
from wsl_extraction.report.grids.table_files import TableFiles
from wsl_extraction.report.panels import Panel, Plot, Series, axis_label
from wsl_extraction.report.text_tables import TextTable


def report(search: Search, outcomes: GridResults) -> TableFiles:
  """Sums up what was run of a search, its trials in order of the values."""
  trials = sorted(zip(search.values, search.cells, strict=True),
                  key=lambda trial: trial[0])
  rows = [[_value(value),
           table_files.mean_text(outcomes, cell, search.figure, 1),
           table_files.seeds_text(outcomes, cell, search.figures,
                              len(search.seeds)),
           table_files.hours_text(outcomes, cell)] for value, cell in trials]
  name = FIGURES[search.figure]
  sheet = TextTable([search.parameter, f"{name}, %", "seeds", "hours"], rows)
  intro = (f"{search.caption.strip()} "
           f"{table_files.explained(search.figures, len(search.seeds))}")
  text = "\n\n".join([
      intro, text_tables.markdown(sheet),
      table_files.total_text(outcomes, len(search.cells) * len(search.seeds)),
      _best(search, outcomes)])
  return TableFiles(
      text, [(sheet, intro)],
      [_record(search, outcomes, *trial) for trial in trials],
      table_files.run_records(outcomes), _plot(search, outcomes, trials))


def _value(value: float) -> str:
  return f"{value:g}"


def _mean(search: Search, outcomes: GridResults, cell: Cell) -> float:
  estimate = outcomes.mean(cell, search.figure)
  return float("-inf") if estimate is None else estimate.value


def _best(search: Search, outcomes: GridResults) -> str:
  """Names the best trial, and says what its figure is worth."""
  if not len(outcomes):
    return "No trial was run."
  # A mean over fewer seeds is more often high by chance.
  ended = [number for number, cell in enumerate(search.cells)
           if len(outcomes.values(cell, search.figure)) == len(search.seeds)]
  planned = len(search.cells)
  if not ended:
    return f"The best is not decided: 0 of {planned} trials have all seeds."
  some = "" if len(ended) == planned else (
      f" of {planned} trials, those that have all seeds")
  best = max(ended, key=lambda n: _mean(search, outcomes, search.cells[n]))
  reached = table_files.mean_text(
      outcomes, search.cells[best], search.figure, 1)
  compared = "" if search.paper is None else (
      f" The paper's value: {_value(search.paper)}.")
  optimistic = "mean and its interval are" if len(search.seeds) > 1 else (
      "figure is")
  return (f"Best of {len(ended)}{some}: {search.parameter} = "
          f"{_value(search.values[best])}, {FIGURES[search.figure]} {reached} "
          f"%. That {optimistic} optimistic: the trial was selected for it; a "
          "run with other seeds on another split tells what it is worth."
          f"{compared}")


def _record(search: Search, outcomes: GridResults, value: float,
            cell: Cell) -> dict[str, Any]:
  return {
      search.parameter: value, "place": cell.place,
      "runs": len(outcomes.of(cell)),
      "hours": round(outcomes.hours(cell), 6),
      **table_files.estimate_fields(
          search.figure, outcomes.mean(cell, search.figure)),
      f"{search.figure}_seeds": len(outcomes.values(cell, search.figure))}


def _plot(search: Search, outcomes: GridResults,
          trials: Sequence[tuple[float, Cell]]) -> Plot:
  measured = [(value, outcomes.mean(cell, search.figure))
              for value, cell in trials]
  series = Series("mean of a trial, 95% interval",
                  [(value, mean) for value, mean in measured if mean], [])
  mark = None if search.paper is None else (
      search.paper, f"the paper's {_value(search.paper)}")
  return Plot(search.caption,
              [Panel(axis_label(FIGURES[search.figure], "%"), [series],
                     victim=outcomes.victims(search.figure))],
              axis_label(search.parameter.rpartition(".")[2]), {},
              is_log=search.log, is_joined=False, mark=mark)
