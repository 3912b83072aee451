"""Regions of a search, and what fixing each unit has won so far.

References:
  Achterberg, Koch, Martin. Branching Rules Revisited. Operations Research
    Letters 33, 2005, section 3 (reliability branching).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

# What counts as nothing, and after how many tries a mean is believed.
LEAST_GAIN = 1e-12
_RELIABLE = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
  """Some binaries fixed.

  Attributes:
    low: Of the binaries, int8 [k]: 0, or 1 where a unit is fixed to on.
    high: 1, or 0 where it is fixed to off.
    bound: No value of the goal is above it.
  """

  low: np.ndarray
  high: np.ndarray
  bound: float

  @property
  def free(self) -> np.ndarray:
    """Binaries that are not fixed."""
    return np.flatnonzero(self.low < self.high)

  def child(self, unit: int, side: int, bound: float) -> Region:
    """The part of it where a unit is on (1) or off (0)."""
    low, high = self.low.copy(), self.high.copy()
    (low if side else high)[unit] = side
    return Region(low, high, min(bound, self.bound))


class Gains:
  """How much fixing a binary to 0 and to 1 lowers a bound, on average.

  Gains are counted for each unit of violation: how far the unit's output was
  from max(0, z).
  """

  def __init__(self, binaries: int):
    self._sums = np.zeros((2, binaries))
    self._tries = np.zeros(binaries)

  def note(self, unit: int, gains: Sequence[float], violation: float) -> None:
    """Remembers what both sides have won, if that was a number."""
    if np.isfinite(gains).all():
      self._sums[:, unit] += np.array(gains) / max(violation, 1e-9)
      self._tries[unit] += 1

  def is_reliable(self, unit: int) -> bool:
    """True once a unit was tried often enough."""
    return self._tries[unit] >= _RELIABLE

  def scores(self, units: np.ndarray, violations: np.ndarray) -> np.ndarray:
    """The product of what both sides of units [k] are expected to win."""
    total = self._tries.sum()
    usual = self._sums.sum(axis=1, keepdims=True) / total if total else 1.0
    mean = np.where(self._tries > 0, self._sums / np.maximum(self._tries, 1),
                    usual)
    return np.maximum(
        mean[:, units] * violations[units], LEAST_GAIN).prod(axis=0)
