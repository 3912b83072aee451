"""Ratios of the weights of a linear classifier, by bisection on labels.

At a point o on the boundary, o + r (e_i - c e_f) is of the positive class if
r w_f (w_i / w_f - c) > 0: one label compares a ratio of weights with c. All
features are compared at once, a row each.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.linear.label_queries import Boundary, LabelQueries
from wsl_extraction.attacks.linear.region import Region

_ORIGIN = 2.0**-48  # to this the origin is known along the pivot
_SLACK = 2.0**-44  # of comparisons, in units of the pivot's weight
_LARGEST = 40  # the exponent of the largest ratio
_ROOM = 1 / 64  # half ranges on both sides that the pivot wants
_CROSSINGS = 8  # points on the boundary whose mean lies away from the limits


class Ratios:
  """The weights of all features beside that of one, the pivot.

  Attributes:
    pivot: The sign witness f.
    sign: Of its weight.
    origin: A point on the boundary, [d].
    low: Lower bounds on |w_i / w_f|, [d].
    high: Upper bounds; infinite where nothing is known.
    signs: Of w_i / w_f, [d]; 0 where it is not known, or is_zero.
    is_zero: Ratios that cannot be told from 0.
    farthest: The largest step, in half ranges.
  """

  def __init__(self, queries: LabelQueries, negative: np.ndarray,
               positive: np.ndarray, *, reach: float):
    self._queries, self._reach = queries, reach
    self._ends = negative, positive
    d = len(negative)
    self.pivot, self.sign = 0, 1.0
    self.origin = (negative + positive) / 2
    self.low, self.high = np.zeros(d), np.full(d, np.inf)
    self.signs = np.zeros(d)
    self.is_zero = np.zeros(d, bool)
    self.farthest = self.least = 0.0

  @property
  def region(self) -> Region:
    return self._queries.region

  def recover(self, width: float, rng: np.random.Generator) -> None:
    """Finds all ratios, each to the share `width` of itself.

    Raises:
      BudgetExceeded: The budget ends first; what is known stays.
    """
    self._find_origin(*self._ends)
    if self._pivot_room(self.pivot) < _ROOM:
      self._move_inside(rng)
    self._find_signs()
    self._find_exponents()
    self._choose_pivot()
    self._bisect(width)

  @property
  def worst(self) -> float:
    """The largest error of a weight, as a share of itself."""
    with np.errstate(invalid="ignore", divide="ignore"):
      share = (self.high - self.low) / (self.high + self.low)
    return float(np.where(self.is_zero, 0, share).max(initial=0))

  def boundary(self) -> Boundary:
    """The hyperplane, its normal 1 or -1 along the pivot."""
    high = np.where(np.isfinite(self.high), self.high, 2 * self.low)
    normal = self.sign * self.signs * (self.low + high) / 2
    errors = np.where(np.isfinite(self.high), (high - self.low) / 2, np.inf)
    return Boundary(normal, float(-normal @ self.origin), self.origin.copy(),
                    errors, _SLACK)

  def _find_origin(self, negative: np.ndarray, positive: np.ndarray) -> None:
    """Finds the pivot, and the boundary along it.

    On the way from one class to the other, a feature at a time, the label
    changes; bisection over the features finds one whose step changes it.
    """
    order = np.flatnonzero(negative != positive)

    def mixed(count: int) -> np.ndarray:
      point = negative.copy()
      point[order[:count]] = positive[order[:count]]
      return point

    first, last = 0, len(order)
    while last - first > 1:
      middle = (first + last) // 2
      if self._queries(mixed(middle)[None])[0]:
        last = middle
      else:
        first = middle
    self.pivot = int(order[first])
    self._settle(mixed(first), mixed(last))

  def _settle(self, negative: np.ndarray, positive: np.ndarray) -> None:
    """Bisects between two points that differ in the pivot alone."""
    f = self.pivot
    self.sign = 1.0 if positive[f] > negative[f] else -1.0
    a, b = negative.copy(), positive.copy()
    self.low[f] = self.high[f] = self.signs[f] = 1.0
    while abs(b[f] - a[f]) > _ORIGIN * max(1.0, abs(a[f])):
      middle = a.copy()
      middle[f] = (a[f] + b[f]) / 2
      if middle[f] in (a[f], b[f]):
        break
      if self._queries(middle[None])[0]:
        b = middle
      else:
        a = middle
      self.origin = (a + b) / 2

  def _pivot_room(self, f: int) -> float:
    """The half ranges between the origin and the limits along an axis."""
    return float(min(self.region.high[f] - self.origin[f],
                     self.origin[f] - self.region.low[f]))

  def _move_inside(self, rng: np.random.Generator) -> None:
    """Takes an origin away from the limits, the mean of several crossings."""
    crossings = []
    for point in self.region.sample(2 * _CROSSINGS, rng):
      if len(crossings) == _CROSSINGS:
        break
      is_positive = self._queries(point[None])[0]
      a, b = self._ends[0], self._ends[1]
      a, b = (a, point) if is_positive else (point, b)
      for _ in range(16):
        middle = (a + b) / 2
        if self._queries(middle[None])[0]:
          b = middle
        else:
          a = middle
      crossings.append((a + b) / 2)
    inside = np.mean(crossings, axis=0)
    negative = (inside + self._ends[0] * 2.0**-8) / (1 + 2.0**-8)
    positive = (inside + self._ends[1] * 2.0**-8) / (1 + 2.0**-8)
    first, second = self._queries(np.array([negative, positive]))
    if not first and second:
      self.low, self.signs = np.zeros_like(self.low), np.zeros_like(self.signs)
      self.high = np.full_like(self.high, np.inf)
      self._find_origin(negative, positive)

  def _compare(self, features: np.ndarray, ratios: np.ndarray,
               far: bool = False) -> np.ndarray:
    """True [n] where w_i / w_f exceeds a ratio, for features i [n]."""
    f, count = self.pivot, len(features)
    region, rows = self.region, np.arange(count)
    steps = np.zeros((count, region.features))
    steps[rows, features] = 1.0
    steps[rows, f] = -ratios
    size = np.abs(steps).max(axis=1)
    # Small ratios want long steps, lest the origin's error hides them.
    with np.errstate(divide="ignore"):
      length = np.clip(2.0**-14 / np.abs(ratios), 1, None) if not far else (
          np.full(count, self._reach))
    wanted = np.minimum(length, self._reach) / size
    room = []
    for side in (1.0, -1.0):
      ends = np.where(side * steps > 0, region.high - self.origin,
                      self.origin - region.low)
      with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(steps == 0, np.inf, ends / np.abs(steps))
      room.append(np.clip(share.min(axis=1), 0, wanted))
    forward = room[0] >= room[1]
    moved = np.where(forward, room[0], -room[1])
    self.farthest = max(self.farthest, float((np.abs(moved) * size).max()))
    self._length = np.abs(moved)
    positive = self._queries(self.origin + moved[:, None] * steps)
    return positive == (forward == (self.sign > 0))

  def _others(self) -> np.ndarray:
    return np.flatnonzero(np.arange(self.region.features) != self.pivot)

  def _find_signs(self) -> None:
    """The signs of ratios, and those that cannot be told from 0."""
    others = self._others()
    if not len(others):
      return
    limits = np.minimum(self.region.high, np.maximum(
        self.origin + self._reach, self.origin)) - self.origin
    room = np.clip(np.maximum(limits, np.minimum(
        self.origin - self.region.low, self._reach)), 1e-3, self._reach)
    least = 4 * _SLACK / room[others]
    self.least = float(least.max())
    above = self._compare(others, least, far=True)
    self.signs[others[above]] = 1.0
    left = others[~above]
    if len(left):
      below = ~self._compare(left, -least[~above], far=True)
      self.signs[left[below]] = -1.0
      self.is_zero[left[~below]] = True
    self.low[others] = np.where(self.is_zero[others], 0, least)
    self.high[others[self.is_zero[others]]] = 0

  def _find_exponents(self) -> None:
    """Brackets of ratios between two powers of two, by galloping from 1/2."""
    todo = np.array([i for i in self._others() if not self.is_zero[i]], int)
    floor = np.floor(np.log2(np.maximum(self.low, 2.0**-200)))
    lowest = dict(zip(todo, floor[todo], strict=True))
    bounds = {i: [lowest[i], float(_LARGEST)] for i in todo}
    asked = dict.fromkeys(todo, -1.0)
    strides: dict[int, float] = dict.fromkeys(todo, 1.0)
    direction = dict.fromkeys(todo, 0)
    while len(todo):
      exponents = np.array([asked[i] for i in todo])
      larger = self._compare(
          todo, self.signs[todo] * 2.0**exponents) == (self.signs[todo] > 0)
      for i, is_larger in zip(todo, larger, strict=True):
        bounds[i][0 if is_larger else 1] = asked[i]
        step = 1 if is_larger else -1
        if direction[i] in (0, step):
          asked[i] += step * strides[i]
          strides[i] *= 2
          direction[i] = step
        else:
          direction[i] = 2
        least, most = bounds[i]
        if direction[i] == 2 or not least < asked[i] < most:
          asked[i] = np.floor((least + most) / 2)
          direction[i] = 2 if direction[i] == 2 else direction[i]
        self.low[i] = max(self.low[i], 2.0**least)
        self.high[i] = 2.0**most if most < _LARGEST else np.inf
      todo = np.array([i for i in todo if bounds[i][1] - bounds[i][0] > 1], int)

  def _choose_pivot(self) -> None:
    """Takes the largest weight for the pivot, which rounding disturbs least."""
    room = np.array([self._pivot_room(i) for i in range(len(self.low))])
    known = np.isfinite(self.high) & (room >= _ROOM)
    best = int(np.argmax(np.where(known, self.low, 0)))
    if not known[best] or self.low[best] < 2 or best == self.pivot:
      return
    low, high, sign = self.low[best], self.high[best], self.signs[best]
    self.low, self.high = self.low / high, self.high / low
    self.signs = self.signs * sign
    self.sign *= sign
    self.pivot = best
    self.low[best] = self.high[best] = 1.0

  def _bisect(self, width: float) -> None:
    todo = np.array([i for i in self._others() if not self.is_zero[i]
                     and np.isfinite(self.high[i])], int)
    while len(todo):
      middle = (self.low[todo] + self.high[todo]) / 2
      larger = self._compare(
          todo, self.signs[todo] * middle) == (self.signs[todo] > 0)
      self.low[todo[larger]] = middle[larger]
      self.high[todo[~larger]] = middle[~larger]
      gap = self.high[todo] - self.low[todo]
      slack = _SLACK / np.maximum(self._length, 2.0**-30)
      todo = todo[gap > np.maximum(width * self.high[todo], slack)]
