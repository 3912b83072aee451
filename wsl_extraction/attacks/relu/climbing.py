"""Units that a network still misses, one after the other along a ray.

What the network does not explain is zero where the ray begins. Behind the first
missing kink it is one unit's, a multiple of a vector of K numbers that grows
with the distance from the kink; behind the next one two units', and so on. Two
rows that are multiples of one vector, and whose line meets zero behind the last
row that was explained, show that there is a single kink between. Rays may have
whole steps only, as pixels demand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

_ROWS = 40  # at most for one kink
_NEAR = 1e-9  # of a ray's length: kinks nearer to each other are not told apart


@dataclasses.dataclass(frozen=True, eq=False)
class Climb:
  """The kinks of a ray, as far as they were told apart.

  Attributes:
    at: float64 [m]: where, in order.
    jumps: float64 [m, K]: by how much the slope changes.
    end: Where the next kink may begin.
  """

  at: np.ndarray
  jumps: np.ndarray
  end: float


class Ray:
  """One ray: rows that were asked, and kinks that were found."""

  def __init__(self, unexplained: Callable[[np.ndarray], np.ndarray],
               length: float, whole: bool, allowed: float):
    """Prepares a ray.

    Args:
      unexplained: Places [n] to what the network leaves [n, K]; zero at 0.
      length: The last place.
      whole: Whether places are whole numbers.
      allowed: What counts as zero.
    """
    self.unexplained, self.length = unexplained, length
    self.whole, self.allowed = whole, allowed
    self.rows: dict[float, np.ndarray] = {}
    self.at: list[float] = []
    self.jumps: list[np.ndarray] = []
    self.arms: list[float] = []

  def climb(self, most: int) -> Climb:
    """Finds up to `most` kinks, from 0 upwards.

    Raises:
      BudgetExceeded: The budget ends first.
    """
    self._ask(self.length)
    zero = 0.0
    while len(self.at) < most:
      zero = self._explained_until(zero)
      if zero >= self.length:
        break
      reached = self._next(zero)
      if reached is None:
        break
      zero = reached
    zero = self._explained_until(zero)
    behind = [t for t in self.rows if t > zero and self._left(t) is not None]
    end = min(behind) if behind else self.length
    # The last kink may lie anywhere between what is and is not explained.
    end = zero if behind and len(self.at) else end
    jumps = np.array(self.jumps) if self.jumps else np.zeros(
        (0, len(self.rows[self.length])))
    return Climb(np.array(self.at), jumps, end)

  def _ask(self, t: float) -> None:
    if t not in self.rows:
      self.rows[t] = self.unexplained(np.array([t]))[0]

  def _left(self, t: float) -> np.ndarray | None:
    """What is not explained at t, None where that is as good as zero."""
    left, allowed = self.rows[t], self.allowed
    for at, jump, arm in zip(self.at, self.jumps, self.arms, strict=True):
      if t > at:
        left = left - (t - at) * jump
        allowed += 4 * self.allowed * (t - at) / arm
    return left if np.abs(left).max() > allowed else None

  def _explained_until(self, zero: float) -> float:
    for t in sorted(self.rows):
      if t > zero and self._left(t) is not None:
        break
      zero = max(zero, t)
    return zero

  def _next(self, zero: float) -> float | None:
    """Adds the first kink behind `zero`; the place up to which it explains."""
    for _ in range(_ROWS):
      ahead = sorted(t for t in self.rows if t > zero)
      first = next((t for t in ahead if self._left(t) is not None), None)
      if first is None:
        return self._explained_until(zero)
      zero = max([t for t in ahead if t < first], default=zero)
      second = next((t for t in ahead if t > first), None)
      if second is not None and self._meets(zero, first, second):
        return second
      middle = self._between(zero, first)
      if middle is None and second is not None:
        middle = self._between(first, second)
      if middle is None and second is None:
        middle = self._between(first, self.length)
      if middle is None:
        return None
      self._ask(middle)
    return None

  def _between(self, low: float, high: float) -> float | None:
    if self.whole:
      return float((low + high) // 2) if high - low > 1 else None
    if high - low < _NEAR * self.length:
      return None
    return (low + high) / 2

  def _meets(self, zero: float, first: float, second: float) -> bool:
    """Accepts a single kink between zero and first, none up to second."""
    one, two = self._left(first), self._left(second)
    if one is None or two is None:
      return False
    arm = second - first
    jump = (two - one) / arm
    size = float(jump @ jump)
    if size <= 0:
      return False
    at = first - float(one @ jump) / size
    off = np.abs(one - (first - at) * jump).max()
    if off > 4 * self.allowed * (1 + (first - at) / arm):
      return False
    blur = 8 * self.allowed / np.sqrt(size) * (1 + (first - at) / arm)
    if not zero - blur <= at <= first + blur:
      return False
    if not self._straight(at, first, jump, arm):
      return False
    self.at.append(at)
    self.jumps.append(jump)
    self.arms.append(arm)
    return True

  def _straight(self, at: float, first: float, jump: np.ndarray,
                arm: float) -> bool:
    """Compares with a row between the kink and the first row behind it."""
    middle = (at + first) / 2
    if self.whole:
      middle = float(np.ceil(middle))
    if not max(at, 0.0) < middle < first:
      return True
    self._ask(middle)
    left = self._left(middle)
    predicted = (middle - at) * jump
    off = np.abs((0 if left is None else left) - predicted).max()
    return bool(off <= 4 * self.allowed * (1 + (first - at) / arm))
