"""Acceptance of an extraction on held-out rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.networks.two_layer import TwoLayerNetwork


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutCheck:
  """Fresh rows, and where a network is wrong on them.

  Attributes:
    points: float64 [n, d].
    wrong: bool [n].
    error: The largest error, in units of the largest output at its place or
      at the scale of the data, whichever is larger.
  """

  points: np.ndarray
  wrong: np.ndarray
  error: float


def held_out(answers: LogitQueries, network: TwoLayerNetwork,
             points: np.ndarray, tolerance: float) -> HeldOutCheck:
  """Compares with the oracle at points [n, d] that it was not asked about.

  Raises:
    BudgetExceeded: Not all of them can be had.
  """
  outputs = answers(points)
  is_finite = np.isfinite(outputs).all(axis=1)
  points, outputs = points[is_finite], outputs[is_finite]
  off = np.abs(outputs - network(points)).max(axis=1)
  region = answers.region
  near = np.linalg.norm(points - region.data, axis=1) <= 3 * region.unit
  sizes = np.abs(outputs)
  usual = sizes[near].max(initial=0) or sizes.max(initial=0)
  relative = off / np.maximum(
      sizes.max(axis=1), max(usual, np.finfo(np.float64).tiny))
  return HeldOutCheck(
      points, relative > tolerance, float(relative.max(initial=0)))
