"""What a table is handed over as: text, LaTeX, CSV and a plot."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wsl_extraction.metrics import Estimate
from wsl_extraction.report import plots, sheets
from wsl_extraction.report.cells import FIGURES, Cell
from wsl_extraction.report.outcomes import Outcomes
from wsl_extraction.report.plots import Plot
from wsl_extraction.report.sheets import Sheet


@dataclasses.dataclass(frozen=True)
class Report:
  """A table with all that belongs to it.

  Attributes:
    text: In Markdown, to be printed.
    tables: For LaTeX: each table and its caption.
    cells: For table.csv: a record a cell.
    runs: For runs.csv: a record a run.
    plot: What plot.png and plot.pdf show.
  """

  text: str
  tables: Sequence[tuple[Sheet, str]]
  cells: Sequence[Mapping[str, Any]]
  runs: Sequence[Mapping[str, Any]]
  plot: Plot

  def files(self) -> Iterator[tuple[str, bytes]]:
    """The files to write: name and content, the same for the same results."""
    yield "table.md", f"{self.text}\n".encode()
    tables = [sheets.latex(*table) for table in self.tables]
    yield "table.tex", "\n".join(tables).encode()
    yield "table.csv", _csv(self.cells)
    yield "runs.csv", _csv(self.runs)
    yield from plots.drawn(self.plot)


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
  fields = list(records[0]) if records else ["row", "column", "seed"]
  return sheets.csv_text(fields, records).encode()


def estimate_fields(name: str, estimate: Estimate | None) -> dict[str, Any]:
  """Mean and interval in %, as fields of a record."""
  parts = (dataclasses.astuple(estimate) if estimate else (math.nan,) * 3)
  return {f"{name}_{part}": None if math.isnan(value) else round(value, 6)
          for part, value in zip(("mean", "low", "high"), parts, strict=True)}


def run_records(outcomes: Outcomes) -> list[dict[str, Any]]:
  """Each run that ended as a record; figures are in %."""
  return [
      {"row": run.cell.row, "column": run.cell.column, "seed": run.seed,
       "folder": run.folder(pathlib.Path()).as_posix(),
       "status": outcome.status, "seconds": outcome.seconds,
       **{name: outcome.figures.get(name) for name in FIGURES}}
      for run, outcome in outcomes.items()]


def mean_text(outcomes: Outcomes, cell: Cell, figure: str,
              decimals: int) -> str:
  """The mean of a cell and half its interval: "93.4 ± 1.2"."""
  estimate = outcomes.mean(cell, figure)
  if estimate is None:
    return "-" if outcomes.of(cell) else "not run"
  text = f"{estimate.value:.{decimals}f}"
  if math.isnan(estimate.low):
    return text
  return f"{text} ± {estimate.high - estimate.value:.{decimals}f}"


def seeds_text(outcomes: Outcomes, cell: Cell, figure: str,
               planned: int) -> str:
  """How many seeds a mean is over, and what is missing."""
  measured = len(outcomes.values(cell, figure))
  failed = len(outcomes.of(cell)) - measured
  text = str(measured) if measured == planned else f"{measured} of {planned}"
  return f"{text} ({failed} without figures)" if failed else text


def hours_text(outcomes: Outcomes, cell: Cell) -> str:
  """How long the runs of a cell took together; "" if there are none."""
  return _hours(outcomes.hours(cell)) if outcomes.of(cell) else ""


def _hours(hours: float) -> str:
  return f"{hours:.2f}" if hours >= 0.1 else f"{hours:.3f}"


def total_text(outcomes: Outcomes, planned: int) -> str:
  """How much of the table was run, and how long that took."""
  hours = _hours(outcomes.hours())
  return f"{len(outcomes)} of {planned} runs, {hours} hours in all."


def explained(figures: Sequence[str], seeds: int) -> str:
  """Says what the numbers of a table are."""
  names = " and ".join(FIGURES[name] for name in figures)
  meant = {"accuracy": "the data set's label",
           "fidelity": "the oracle's label"}
  kinds = [kind for kind in meant if any(f.startswith(kind) for f in figures)]
  agreement = "; ".join(
      f"{kind}: agreement with {meant[kind]}" for kind in kinds)
  return (f"{names[0].upper()}{names[1:]} of the surrogate in % ({agreement}): "
          f"mean ± 95% interval (Student's t) over {seeds} "
          f"{'seed' if seeds == 1 else 'seeds'}; hours of all of them.")
