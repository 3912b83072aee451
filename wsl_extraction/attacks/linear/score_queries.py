"""Scores of points as logarithms of ratios, and how precise they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.attacks.linear.region import Region
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Quantity

_DECIMALS = 8  # of scores that are taken for rounded ones
# The largest error of a log-ratio on fresh rows, of scores in these types.
_TOLERANCE = {"float64": 1e-6, "float32": 1e-2, "float16": 0.3}
_SMALLEST = 1e-290  # a score below has lost digits
_COMPARED = 1e-7  # scores below are too small to be held against others


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
  """Points and their scores.

  Attributes:
    points: float64 [n, d].
    scores: float64 [n, K], probabilities; NaN where logits are revealed and are
      not finite.
    logs: float64 [n, K], logits up to a constant for each row; -inf at 0.
  """

  points: np.ndarray
  scores: np.ndarray
  logs: np.ndarray

  def __len__(self) -> int:
    return len(self.points)

  @classmethod
  def join(cls, parts: Sequence[Scored]) -> Scored:
    """The rows of several, in order."""
    return cls(*(np.concatenate([getattr(part, name) for part in parts])
                 for name in ("points", "scores", "logs")))

  def take(self, rows: np.ndarray | slice) -> Scored:
    """Some of the rows."""
    return Scored(self.points[rows], self.scores[rows], self.logs[rows])

  @property
  def is_exact(self) -> np.ndarray:
    """True [n] for rows whose log-ratios have lost no digits."""
    return np.all(np.isfinite(self.logs) & (self.scores > _SMALLEST), axis=1)

  @property
  def centred(self) -> np.ndarray:
    """The logs less their mean over the classes, [n, K]."""
    return self.logs - self.logs.mean(axis=1, keepdims=True)

  @property
  def columns(self) -> np.ndarray:
    """The points and a 1, [n, d + 1]."""
    return np.column_stack([self.points, np.ones(len(self))])


class ScoreQueries:
  """Asks for scores of points z, and remembers them.

  Attributes:
    region: Where points lie.
    outputs: The number of classes, K.
    dtype: The name of the type of scores.
    resolution: The distance of two neighbouring scores, where they are rounded;
      declared by the oracle, or seen from the scores.
  """

  def __init__(self, oracle: Oracle, region: Region,
               progress: Callable[[str, int], None]):
    self.region, self.outputs = region, oracle.outputs
    self.dtype, self.resolution = "float64", 0.0
    self.stage = "asking for scores"
    self._oracle, self._progress = oracle, progress
    self._parts: list[Scored] = []

  def __call__(self, points: np.ndarray) -> Scored:
    """The scores of points [n, d].

    Raises:
      BudgetExceeded: Not all of them can be had; none was asked.
    """
    rows = self.region.rows(points)
    response = self._oracle.query(rows)
    values = response.values
    if np.finfo(values.dtype).eps > np.finfo(self.dtype).eps or (
        not self._parts):
      self.dtype = values.dtype.name
    values = values.astype(np.float64)
    if response.scale is Quantity.LOGITS:
      logs = np.where(np.isfinite(values), values, -np.inf)
      scores = response.probabilities().astype(np.float64)
    else:
      scores = np.maximum(values, 0)
      with np.errstate(divide="ignore"):
        logs = np.log(scores)
    part = Scored(self.region.points(rows), scores, logs)
    self._parts.append(part)
    self.resolution = response.resolution or (
        0.0 if response.scale is Quantity.LOGITS else _rounded_to(
            self.asked.scores, float(np.finfo(self.dtype).eps)))
    self._progress(self.stage, self.count)
    return part

  @property
  def count(self) -> int:
    """The points that were asked about."""
    return sum(map(len, self._parts))

  @property
  def left(self) -> int | None:
    """The rows that may still be asked; None for no limit."""
    return self._oracle.ledger.left()

  @property
  def asked(self) -> Scored:
    """All points so far."""
    return Scored.join(self._parts)

  @property
  def tolerance(self) -> float:
    """The largest error of fresh rows: of a log-ratio, or a rounded score."""
    return 2 * self.resolution or _TOLERANCE[self.dtype]

  def error(self, fresh: Scored, logits: np.ndarray) -> float:
    """The largest error of logits [n, K] on fresh rows; see `tolerance`."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = powers / powers.sum(axis=1, keepdims=True)
    gap = np.abs(scores - fresh.scores)
    if self.resolution:
      return float(gap.max(initial=0))
    known = (fresh.scores > _COMPARED) & (scores > _COMPARED)
    with np.errstate(divide="ignore", invalid="ignore"):
      ratios = np.abs(np.log(scores) - fresh.logs + _shift(fresh))
    return float(max(np.where(known, ratios, 0).max(initial=0),
                     gap.max(initial=0)))


def _shift(scored: Scored) -> np.ndarray:
  """The logarithm of the sum of the scores that `logs` stand for, [n, 1]."""
  top = scored.logs.max(axis=1, keepdims=True)
  return top + np.log(np.exp(scored.logs - top).sum(axis=1, keepdims=True))


def _rounded_to(values: np.ndarray, eps: float) -> float:
  """10^-k if all scores have k decimals, at most eight; else 0.

  A hard label has none; neither digits nor rounding can be told from it.
  """
  if not ((values > 0) & (values < 1)).any():
    return 0.0
  for decimals in range(1, _DECIMALS + 1):
    unit = 10.0**-decimals
    near = np.abs(values - np.round(values, decimals))
    if unit > 1e3 * eps and (near <= eps).all():
      return unit
  return 0.0
