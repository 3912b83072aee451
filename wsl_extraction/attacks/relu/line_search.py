"""Finding every kink of a piecewise linear function on a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from wsl_extraction.attacks.relu import smooth

# How many errors apart two numbers count as different; how wide a probe is,
# beside the distance to its neighbour; how near a kink it is confirmed. Where
# answers are precise the first may be large, the others small.
_PRECISE, _NOISY = (40.0, 0.1, 1e-6), (6.0, 0.3, 0.05)

_SAME = 1e-3  # of a probe's width
_PROBES = 3000  # more are not needed for a thousand units
_CURVE = 150  # probes before the first look for a curve; then at each doubling
_MANY = 0.12  # of all gaps: as many are left of a curve, not of kinks
# Gaps that are looked at, by their rank among all by size, and how closely.
_LOOKS, _LEVELS = (0.1, 0.4, 0.7), 2


class TooManyKinks(Exception):
  """A line that does not come apart into straight pieces."""


@dataclasses.dataclass(frozen=True, eq=False)
class Kinks:
  """Kinks on a line.

  Attributes:
    at: float64 [h]: where, in order.
    jumps: float64 [h, K]: by how much the slope changes.
    values: float64 [h + 1, K]: of each linear piece, continued to 0.
    slopes: float64 [h + 1, K].
    merged: bool [h]: several kinks too near each other to be told apart.
  """

  at: np.ndarray
  jumps: np.ndarray
  values: np.ndarray
  slopes: np.ndarray
  merged: np.ndarray


class LineSearch:
  """Searches t -> ask(t) on the range of a grid, breadth first.

  A probe is a pair of rows near each other: it gives the function's value and
  slope. Between two probes there is nothing if their tangents are one line,
  and a single kink if their tangents meet, in all outputs at the same place.
  Otherwise a probe is put where the tangents come nearest to each other.
  """

  def __init__(self, ask: Callable[[np.ndarray], np.ndarray],
               errors: Callable[[np.ndarray, np.ndarray], np.ndarray],
               rng: np.random.Generator, confirm: bool, noisy: bool = False):
    self.ask, self.errors, self.rng = ask, errors, rng
    self.confirm = confirm
    self.loose, self.width, self.near = _NOISY if noisy else _PRECISE
    self.t = np.zeros(0)
    self.checked: dict[tuple[float, float], bool] = {}
    self.next_look = _CURVE

  def __call__(self, grid: np.ndarray, resolution: float,
               rounds: int = 200) -> Kinks:
    """Finds the kinks in a range.

    Args:
      grid: [m] where to look first, in order.
      resolution: Kinks nearer to each other are merged; a share of t, or of
        1 where t is smaller.
      rounds: How often to ask, at most.

    Raises:
      TooManyKinks: They do not come to an end.
      Smooth: The function is curved.
    """
    near = np.minimum(np.diff(grid, prepend=-np.inf),
                      np.diff(grid, append=np.inf))
    self._insert(grid, self.width * near)
    for _ in range(rounds):
      if not self._step(resolution):
        break
      if len(self.t) > _PROBES:
        raise TooManyKinks(
            f"after {len(self.t)} looks at a line it is still not in straight "
            "pieces: too many units for their precision, or another function")
    return self._result(resolution)

  def _insert(self, t: np.ndarray, width: np.ndarray) -> None:
    width = (t + width) - t
    both = self.ask(np.concatenate([t, t + width]))
    y, end = both[:len(t)], both[len(t):]
    if not len(self.t):
      self.t, self.w, self.y, self.s, self.e = (
          t, width, y, (end - y) / width[:, None],
          self.errors(np.maximum(np.abs(y), np.abs(end)), np.abs(t)))
      return
    order = np.argsort(np.concatenate([self.t, t]), kind="stable")
    for name, new in (("t", t), ("w", width), ("y", y),
                      ("s", (end - y) / width[:, None]),
                      ("e", self.errors(
                          np.maximum(np.abs(y), np.abs(end)), np.abs(t)))):
      both = np.concatenate([getattr(self, name), new])
      setattr(self, name, both[order])

  def _compare(self):
    """For each interval: whether straight, whether one kink, and where."""
    gap = np.diff(self.t)
    steep = 2 * self.e / self.w
    a = self.y[:-1] - self.y[1:] + self.s[1:] * gap[:, None]
    b = self.s[:-1] - self.s[1:]
    off = np.abs(self.y[1:] - self.y[:-1] - self.s[:-1] * gap[:, None])
    both = self.e[:-1] + self.e[1:]
    straight = ((np.abs(b).max(1) <= self.loose * (steep[:-1] + steep[1:]))
                & (off.max(1) <= self.loose * (both + steep[:-1] * gap)))
    size = np.maximum((b * b).sum(1), 1e-300)
    at = -(a * b).sum(1) / size
    apart = np.abs(a + b * at[:, None]).max(1)
    # Before its end, a probe's own rows would show the kink.
    inside = (at >= (1 - _SAME) * self.w[:-1]) & (
        at <= gap + _SAME * self.w[1:])
    allowed = both + steep[:-1] * np.abs(at) + steep[1:] * np.abs(gap - at)
    meets = inside & (apart <= self.loose * allowed)
    return gap, straight, meets & ~straight, at

  def _step(self, resolution: float) -> bool:
    gap, straight, meets, at = self._compare()
    size = np.maximum(1, np.abs(self.t))
    tiny = gap <= resolution * np.maximum(size[:-1], size[1:])
    # A kink inside a probe is met at the probe's very end.
    bad = np.zeros(len(self.t), bool)
    bad[:-1] = meets & ~tiny & (np.abs(at - self.w[:-1]) < _SAME * self.w[:-1])
    bad[1:] |= meets & ~tiny & (np.abs(at - gap) < _SAME * self.w[1:])
    bad &= self.w > 0.01 * resolution * size
    split = ~straight & ~meets & ~tiny
    if self.confirm or self.y.shape[1] == 1:
      split |= self._unconfirmed(meets & ~tiny, at)
    if not bad.any() and not split.any():
      return False
    places = np.flatnonzero(split).tolist()
    if len(self.t) >= self.next_look and len(places) > _MANY * len(self.t):
      self._look_for_curves(places)
    t = [self._between(i, gap[i], at[i]) for i in places]
    near = [min(x - self.t[i], self.t[i + 1] - x)
            for x, i in zip(t, places, strict=True)]
    aside = np.where(np.arange(len(self.t)) < len(self.t) - 1, 1.2, -1.2)
    again, width = (self.t + aside * self.w)[bad], self.w[bad] / 2
    for name in ("t", "w", "y", "s", "e"):
      setattr(self, name, getattr(self, name)[~bad])
    self._insert(np.concatenate([t, again]),
                 np.concatenate([self.width * np.array(near), width]))
    return True

  def _look_for_curves(self, places: list[int]) -> None:
    """Refuses a function that bends smoothly in gaps that should be split.

    In small ones and larger ones: the largest hold many kinks or many curves,
    the smallest are lost in rounding.
    """
    self.next_look = 2 * len(self.t)
    order = np.argsort(np.diff(self.t)[places], kind="stable")
    chosen = np.array(places)[order[[
        int(share * len(order)) for share in _LOOKS]]]
    if any(smooth.curves_within(
        self.ask, float(self.t[i]), float(self.t[i + 1]),
        float(max(self.e[i], self.e[i + 1])), _LEVELS)
           for i in chosen.tolist()):
      raise smooth.Smooth(smooth.message("on a line"))

  def _unconfirmed(self, meets: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Looks left and right of where tangents meet: is that the kink?"""
    new = np.array([i for i in np.flatnonzero(meets).tolist()
                    if self._interval(i) not in self.checked], np.int64)
    if len(new):
      gap = self.t[new + 1] - self.t[new]
      where = self.t[new] + at[new]
      steep = 2 * self.e / self.w
      allowed = self.loose * (
          self.e[new] + self.e[new + 1] + steep[new] * at[new]
          + steep[new + 1] * (gap - at[new]))
      bend = np.abs(self.s[new + 1] - self.s[new]).max(axis=1)
      # So far from the kink that the other tangent would be told apart.
      step = np.maximum(self.near * gap, 5 * allowed / bend)
      room = 0.5 * np.minimum(at[new] - 0.9 * self.w[new], gap - at[new])
      blind, step = step > room, np.minimum(step, np.maximum(room, 0))
      outputs = self.ask(np.concatenate([where - step, where + step]))
      for side, i in ((0, new), (1, new + 1)):
        points = where + (2 * side - 1) * step
        far = points - self.t[i]
        predicted = self.y[i] + self.s[i] * far[:, None]
        measured = outputs[side * len(new):(side + 1) * len(new)]
        fits = ~blind & (np.abs(predicted - measured).max(axis=1) <= allowed)
        for j, ok in zip(new.tolist(), fits, strict=True):
          key = self._interval(j)
          self.checked[key] = self.checked.get(key, True) and bool(ok)
    wrong = np.zeros(len(meets), bool)
    for i in np.flatnonzero(meets).tolist():
      wrong[i] = not self.checked[self._interval(i)]
    return wrong

  def _interval(self, i: int) -> tuple[float, float]:
    return float(self.t[i]), float(self.t[i + 1])

  def _between(self, i: int, gap: float, at: float) -> float:
    left, right = self.t[i], self.t[i + 1]
    if 0.05 * gap < at < 0.95 * gap and self.rng.random() < 0.8:
      # Not there itself: of one output, that can be on both tangents.
      return left + at + self.rng.uniform(-0.1, 0.1) * min(at, gap - at)
    if left * right > 0 and max(left / right, right / left) > 4:
      return np.sign(left) * np.sqrt(left * right)
    return left + gap * self.rng.uniform(0.3, 0.7)

  def _result(self, resolution: float) -> Kinks:
    gap, straight, meets, at = self._compare()
    del gap, at
    ends = np.flatnonzero(~straight)
    pieces = np.split(np.arange(len(self.t)), ends + 1)
    values, slopes = zip(*map(self._line, pieces), strict=True)
    values, slopes = np.array(values), np.array(slopes)
    jumps, offs = np.diff(slopes, axis=0), np.diff(values, axis=0)
    size = np.maximum((jumps * jumps).sum(1), 1e-300)
    return Kinks(-(offs * jumps).sum(1) / size, jumps, values, slopes,
                 ~meets[ends])

  def _line(self, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line through the rows of some probes: value at 0 and slope."""
    t = np.concatenate([self.t[probes], self.t[probes] + self.w[probes]])
    y = np.concatenate([self.y[probes], self.y[probes]
                        + self.s[probes] * self.w[probes][:, None]])
    e = np.tile(self.e[probes], 2)
    weight = 1 / e**2
    middle = (weight @ t) / weight.sum()
    mean = (weight @ y) / weight.sum()
    slope = ((weight * (t - middle)) @ (y - mean)) / (
        weight @ (t - middle)**2)
    return mean - slope * middle, slope
