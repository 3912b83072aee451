"""Files of a table: text, LaTeX, CSV and a plot."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import plots, text_tables
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.grids.grid_runs import FIGURES, Cell
from wsl_extraction.report.panels import Plot
from wsl_extraction.report.text_tables import TextTable


@dataclasses.dataclass(frozen=True)
class TableFiles:
  """A table with all that belongs to it.

  Attributes:
    text: In Markdown, to be printed.
    tables: For LaTeX: each table and its caption.
    cells: For table.csv: a record a cell.
    runs: For runs.csv: a record a run.
    plot: What plot.png and plot.pdf show.
    differences: For differences.csv, which is left out without any.
  """

  text: str
  tables: Sequence[tuple[TextTable, str]]
  cells: Sequence[Mapping[str, Any]]
  runs: Sequence[Mapping[str, Any]]
  plot: Plot
  differences: Sequence[Mapping[str, Any]] = ()

  def files(self) -> Iterator[tuple[str, bytes]]:
    """The files to write: name and content, the same for the same results."""
    yield "table.md", f"{self.text}\n".encode()
    tables = [text_tables.latex(*table) for table in self.tables]
    yield "table.tex", "\n".join(tables).encode()
    yield "table.csv", _csv(self.cells)
    yield "runs.csv", _csv(self.runs)
    if self.differences:
      yield "differences.csv", _csv(self.differences)
    yield from plots.drawn(self.plot)


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
  fields = list(records[0]) if records else ["row", "column", "seed"]
  return text_tables.csv_text(fields, records).encode()


def estimate_fields(name: str, estimate: Estimate | None) -> dict[str, Any]:
  """Mean and interval in %, as fields of a record."""
  parts = (dataclasses.astuple(estimate) if estimate else (math.nan,) * 3)
  return {f"{name}_{part}": None if math.isnan(value) else round(value, 6)
          for part, value in zip(("mean", "low", "high"), parts, strict=True)}


def run_records(outcomes: GridResults) -> list[dict[str, Any]]:
  """Each run that ended as a record; figures are in %."""
  return [
      {"row": run.cell.row, "column": run.cell.column, "seed": run.seed,
       "folder": run.folder(pathlib.Path()).as_posix(),
       "status": outcome.status, "seconds": outcome.seconds,
       **{name: outcome.figures.get(name) for name in FIGURES},
       "victim": outcome.victim, "backend": outcome.backend,
       "data": outcome.data}
      for run, outcome in outcomes.items()]


def mean_text(outcomes: GridResults, cell: Cell, figure: str,
              decimals: int) -> str:
  """The mean of a cell and half its interval: "93.4 ± 1.2"."""
  estimate = outcomes.mean(cell, figure)
  if estimate is None:
    return "-" if outcomes.of(cell) else "not run"
  text = f"{estimate.value:.{decimals}f}"
  if math.isnan(estimate.low):
    return text
  return f"{text} ± {estimate.high - estimate.value:.{decimals}f}"


def seeds_text(outcomes: GridResults, cell: Cell, figures: Sequence[str],
               planned: int) -> str:
  """The least number of seeds of all means, and a note on exceptions."""
  ended = outcomes.of(cell)
  measured = min(len(outcomes.values(cell, figure)) for figure in figures)
  text = str(measured) if measured == planned else f"{measured} of {planned}"
  counts = {
      "failed": outcomes.failures(cell),
      "not DONE": sum(outcome.status != "DONE" for outcome in ended),
      "without figures": len(ended) - measured}
  notes = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
  return f"{text} ({notes})" if notes else text


def hours_text(outcomes: GridResults, cell: Cell) -> str:
  """The total duration of a cell's runs; "" if there are none."""
  return _hours(outcomes.hours(cell)) if outcomes.of(cell) else ""


def _hours(hours: float) -> str:
  return f"{hours:.2f}" if hours >= 0.1 else f"{hours:.3f}"


def total_text(outcomes: GridResults, planned: int) -> str:
  """The number of runs of the table, and their total duration."""
  hours = _hours(outcomes.hours())
  text = f"{len(outcomes)} of {planned} runs, {hours} hours in all."
  # Cells that differ in these are compared all the same: readers should know.
  ended = [outcome for _, outcome in outcomes.items()]
  victims = {outcome.victim for outcome in ended} - {None}
  if len(victims) > 1:
    text += f" These runs attack {len(victims)} different victims."
  backends = sorted({o.backend for o in ended if o.backend})
  if len(backends) > 1:
    text += f" These runs used {len(backends)} backends: {', '.join(backends)}."
  return text


def explained(figures: Sequence[str], seeds: int) -> str:
  """Says what the numbers of a table are."""
  names = " and ".join(FIGURES[name] for name in figures)
  meant = {"accuracy": "the data set's label",
           "fidelity": "the oracle's label"}
  kinds = [kind for kind in meant if any(f.startswith(kind) for f in figures)]
  agreement = "; ".join(
      f"{kind}: agreement with {meant[kind]}" for kind in kinds)
  over = ("one seed, so without intervals; hours of its run" if seeds == 1 else
          f"mean ± 95% interval (Student's t) over {seeds} seeds; hours of all "
          "of them")
  return (f"{names[0].upper()}{names[1:]} of the surrogate in % ({agreement}): "
          f"{over}.")
