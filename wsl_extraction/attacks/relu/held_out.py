"""Acceptance of an extraction on held-out rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.networks.two_layer import TwoLayerNetwork

# Errors of few rows tell those of many: a Gaussian one of a million rows is
# beyond its mean by six standard deviations once in a thousand times.
_BEYOND = 6.0


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutCheck:
  """Fresh rows, and where a network is wrong on them.

  Attributes:
    points: float64 [n, d].
    errors: float64 [n], in units of the largest output among rows like it.
    tolerance: What an error may be.
  """

  points: np.ndarray
  errors: np.ndarray
  tolerance: float

  @property
  def wrong(self) -> np.ndarray:
    """bool [n]: rows whose error exceeds the tolerance."""
    return self.errors > self.tolerance

  @property
  def error(self) -> float:
    """The largest error."""
    return float(self.errors.max(initial=0))

  @property
  def expected(self) -> float:
    """The largest error to be expected on many rows more, by the spread."""
    if not len(self.errors):
      return 0.0
    return float(max(self.error, self.errors.mean()
                     + _BEYOND * self.errors.std()))


def held_out(answers: LogitQueries, network: TwoLayerNetwork,
             points: np.ndarray, examples: int,
             tolerance: float) -> HeldOutCheck:
  """Compares with the oracle at points that it was not asked about.

  A row is judged by its own outputs and those of rows like it: an example by
  all examples, another one by all rows that are no farther from the data.

  Args:
    answers: The oracle.
    network: In z.
    points: float64 [n, d].
    examples: How many of them, the last ones, are examples of the pool.
    tolerance: What an error may be.

  Raises:
    BudgetExceeded: Not all of them can be had.
  """
  outputs = answers(points)
  is_example = np.arange(len(points)) >= len(points) - examples
  is_finite = np.isfinite(outputs).all(axis=1)
  points, outputs = points[is_finite], outputs[is_finite]
  is_example = is_example[is_finite]
  off = np.abs(answers.expanded(outputs - network(points))).max(axis=1)
  sizes = np.abs(answers.expanded(outputs)).max(axis=1)
  usual = _no_farther(np.linalg.norm(
      points - answers.region.data, axis=1), sizes)
  usual[is_example] = sizes[is_example].max(initial=0)
  relative = off / np.maximum(usual, np.finfo(np.float64).tiny)
  return HeldOutCheck(points, relative, tolerance)


def _no_farther(lengths: np.ndarray, sizes: np.ndarray) -> np.ndarray:
  """The largest of `sizes` [n] over all rows that are no longer, [n]."""
  order = np.argsort(lengths, kind="stable")
  largest = np.maximum.accumulate(sizes[order])
  last = np.searchsorted(lengths[order], lengths * (1 + 1e-9), side="right")
  return largest[last - 1] if len(sizes) else sizes
