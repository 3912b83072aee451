"""Results of a table's runs, and figures computed from them."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import damage
from wsl_extraction.report.grids.grid_runs import FIGURES, Cell, Run
from wsl_extraction.report.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The result of one run.

  Attributes:
    status: Of the attack, such as "DONE".
    seconds: How long it took, all its processes together.
    figures: Of the surrogate, in %; those that were not measured are missing.
    victim: The fingerprint of the network that was attacked.
    backend: What Keras computed with.
    data: The fingerprint of the data set.
    oracle: Figures of the victim, in %: accuracy_top1, accuracy_top5.
  """

  status: str
  seconds: float
  figures: Mapping[str, float]
  victim: str | None = None
  backend: str | None = None
  data: str | None = None
  oracle: Mapping[str, float] = dataclasses.field(default_factory=dict)


class GridResults:
  """The outcomes of those runs of a table that have one.

  Args:
    ended: Each run that ended, and what it came to.
    failed: Runs that were tried just now and have no result.
  """

  def __init__(self, ended: Mapping[Run, Outcome],
               failed: Collection[Run] = ()):
    self._ended = dict(ended)
    self._failed = tuple(run for run in failed if run not in self._ended)

  @classmethod
  def read(cls, planned: Iterable[Run], root: pathlib.Path,
           failed: Collection[Run] = ()) -> GridResults:
    """Reads the results of runs below the folder of the table.

    Args:
      planned: The runs of the table.
      root: Its folder.
      failed: Those that were tried just now and failed.

    Raises:
      InputError: A run's folder is damaged, holds other files, or was written
        by another version.
    """
    ended = {}
    for run in planned:
      folder = RunFolder(run.folder(root))
      folder.refuse_others()
      outcome = _outcome(folder)
      if outcome is not None:
        ended[run] = outcome
    return cls(ended, failed)

  def __contains__(self, run: Run) -> bool:
    return run in self._ended

  def __len__(self) -> int:
    return len(self._ended)

  def items(self) -> list[tuple[Run, Outcome]]:
    """Each run that ended, and what it came to."""
    return list(self._ended.items())

  def of(self, cell: Cell) -> list[Outcome]:
    """The outcomes of one cell."""
    return [outcome for run, outcome in self._ended.items() if run.cell == cell]

  def failures(self, cell: Cell) -> int:
    """The number of runs of one cell that failed just now."""
    return sum(run.cell == cell for run in self._failed)

  def values(self, cell: Cell, figure: str) -> dict[int, float]:
    """The figures of one cell: {seed: %}."""
    return {run.seed: outcome.figures[figure]
            for run, outcome in self._ended.items()
            if run.cell == cell and figure in outcome.figures}

  def mean(self, cell: Cell, figure: str) -> Estimate | None:
    """The mean over seeds, in %, with its 95% interval."""
    values = list(self.values(cell, figure).values())
    return metrics.mean(values) if values else None

  def victims(self, figure: str) -> tuple[float, float] | None:
    """The least and the largest of the victims' figures of that name, in %."""
    values = [outcome.oracle[figure] for outcome in self._ended.values()
              if figure in outcome.oracle]
    return (min(values), max(values)) if values else None

  def difference(self, cell: Cell, other: Cell,
                 figure: str) -> tuple[Estimate | None, int]:
    """By how much one cell exceeds another under the same seeds.

    Returns:
      The mean difference, in points of %, with its 95% interval; and the
      number of seeds that both have.
    """
    ours, theirs = self.values(cell, figure), self.values(other, figure)
    common = [seed for seed in ours if seed in theirs]
    if not common:
      return None, 0
    return metrics.paired_difference(
        [ours[s] for s in common], [theirs[s] for s in common]), len(common)

  def hours(self, cell: Cell | None = None) -> float:
    """The total duration of the runs of one cell, or of all."""
    ended = self._ended.values() if cell is None else self.of(cell)
    return sum(outcome.seconds for outcome in ended) / 3600


def taken_by_other_process(run: Run, root: pathlib.Path) -> bool:
  """True if a run that was missing is done or running by now."""
  folder = RunFolder(run.folder(root))
  try:
    folder.refuse_use()
  except InputError:
    return True
  return folder.result.exists()


def _outcome(folder: RunFolder) -> Outcome | None:
  result = folder.read_json(folder.result.name)
  if result is None:
    return None
  with damage.reading(folder.result):
    surrogate, data = result.get("surrogate"), result.get("dataset")
    return Outcome(
        _text(result.get("status"), "status"),
        _number(result.get("seconds"), "seconds", 0, math.inf),
        dict(_figures({} if surrogate is None else surrogate)),
        _text(result.get("victim", ""), "victim") or None,
        _text(result.get("backend", ""), "backend") or None,
        None if data is None else _text(data.get("fingerprint", ""),
                                        "dataset") or None,
        dict(_figures(result.get("oracle") or {}, "oracle")))


def _text(value: Any, name: str) -> str:
  if not isinstance(value, str):
    raise ValueError(f"its {name} is {value!r}")
  return value


def _figures(figures: Mapping[str, Any],
             model: str = "surrogate") -> Iterable[tuple[str, float]]:
  if not isinstance(figures, dict):
    raise ValueError(f"its {model} is {figures!r}")
  for name in FIGURES:
    value = (figures.get(name) or {}).get("value")
    if value is not None:
      # Of six digits, as the result has them.
      yield name, round(100 * _number(value, name, 0, 1), 6)


def _number(value: Any, name: str, least: float, most: float) -> float:
  if type(value) not in (int, float) or not (
      math.isfinite(value) and least <= value <= most):
    raise ValueError(f"its {name} is {value!r}")
  return float(value)
