r"""Theorem 1: networks that are zero but at one point, which has to be found.

A feature takes the p values v / (p - 1), as float64 divides. A needle network
is 1 where the first k of d features have the values of its location and 0 at
all other grid points: p^(d-k) points of p^d. Whoever sees outputs only has to
ask about all p^k locations in the worst case, even with logits.

For coordinate i, c = v / (p - 1) rounded to float64, and s the least power of
two with s >= 2 (p - 1), the bump is

  bump_i(x) = ReLU(s x - s c + 1) - 2 ReLU(s x - s c) + ReLU(s x - s c - 1),

a triangle of height 1 with support |x - c| < 1/s, three ReLUs; the output is
ReLU(2 sum_i bump_i - (2 k - 1)).

Why float64 gives exactly 1 at the location. s x is exact, being a product with
a power of two. The bias 1 - s c is exact: where c = 0 it is 1; else
s c >= s / (p - 1) (1 - 2^-53) >= 1, so 1 - s c is a multiple of the last place
of s c and smaller than s c, and has no more digits. Hence the first unit gets
s c + (1 - s c) = 1, the second s c - s c = 0, with a fused product or without,
whatever zeros the other features add. The third gets about -1, and gives 0. So
the bump is 1, and 2 k - (2 k - 1) = 1 is a sum of whole numbers.

Why it gives exactly 0 elsewhere on the grid. Some coordinate is off by
|x - c| >= (1 - 2^-50) / (p - 1), so |s x - s c| >= 2 (1 - 2^-50). To the left,
all three units are off. To the right they get z + 1, z and z - 1, each rounded
by at most 2^-53 * 4 s, so their bump is at most 2^-48 s in size. Other bumps
are at most 1 + 2^-48 s. The output ReLU's sum of 3 k + 1 terms, at most 8 s
each, rounds by at most k^2 2^-46 s, so it gets at most
2 (k - 1) - (2 k - 1) + k 2^-47 s + k^2 2^-46 s < -1 + k^2 2^-45 s, which is
below zero for all p and k that are not refused (k^2 s <= 2^40).

References:
  Jagielski et al. 2020, section 3.3, Theorem 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

# Locations that an adversary keeps in mind, a bit each.
_MOST_LOCATIONS = 1 << 27
# The logit of "no needle", between those that the network gives.
THRESHOLD = 0.5


def feature_values(precision: int) -> np.ndarray:
  """The values of a feature, float64 [p]: v / (p - 1).

  Raises:
    InputError: p is below 2, or so large that needles would not be exact.
  """
  precision = checks.whole("precision", precision, 2, 1 << 20)
  return np.arange(precision) / (precision - 1)


def needle_network(location: Sequence[int], precision: int, dimension: int
                   ) -> ReluNetwork:
  """The network that is 1 at a location and 0 at all others; 3 k hidden units.

  Args:
    location: For each of the first k features, which of its values: k whole
      numbers from 0 to p - 1.
    precision: p, how many values a feature takes.
    dimension: d, how many features there are.

  Returns:
    A network with d inputs, 3 k hidden ReLUs and one ReLU output.

  Raises:
    InputError: k is not from 1 to d, p is below 2, or the location is off the
      grid.
  """
  values = feature_values(precision)
  place = _checked_location(location, precision, dimension)
  scale, k = _scale(precision), len(place)
  weights = np.zeros((dimension, 3 * k))
  weights[np.repeat(np.arange(k), 3), np.arange(3 * k)] = scale
  biases = (np.array([1.0, 0.0, -1.0]) - scale * values[place][:, None]).ravel()
  readout = np.tile([2.0, -4.0, 2.0], k)[:, None]
  return ReluNetwork([weights, readout], [biases, np.array([1.0 - 2 * k])],
                     is_rectified=True)


def classifier(needle: ReluNetwork) -> ReluNetwork:
  """The needle as a classifier: logits (1/2, needle), so class 1 at it."""
  readout = np.hstack([np.zeros_like(needle.weights[-1]), needle.weights[-1]])
  return ReluNetwork(
      [*needle.weights[:-1], readout],
      [*needle.biases[:-1], np.hstack([THRESHOLD, needle.biases[-1]])],
      is_rectified=True)


class Adversary:
  """An oracle's predict function that gives nothing away before it must.

  It answers zero as long as some needle agrees with all answers given, and
  commits to the last one that does. So every deterministic attack has to ask
  p^k - 1 queries, in whatever order, before it knows the network.

  Attributes:
    left: How many locations agree with all answers.
    location: The location that it has committed to; None before.
  """

  def __init__(self, k: int, precision: int, dimension: int):
    """Begins with all p^k locations.

    Raises:
      InputError: As for `needle_network`; or p^k is beyond 2^27.
    """
    self._network = classifier(needle_network([0] * k, precision, dimension))
    self._values, self._scale = feature_values(precision), _scale(precision)
    self._k, self._p, self._d = k, precision, dimension
    if precision**k > _MOST_LOCATIONS:
      raise InputError(f"{precision}^{k} locations are more than an adversary "
                       "keeps in mind, 2^27; lower p or k")
    self._is_possible = np.ones(precision**k, bool)
    self.left, self.location = precision**k, None

  def __call__(self, inputs: np.ndarray) -> np.ndarray:
    """Logits [n, 2] of inputs [n, d], as of `classifier`."""
    inputs = np.asarray(inputs, np.float64)
    if self.location is None:
      self._rule_out(inputs)
    if self.location is None:
      return np.tile([THRESHOLD, 0.0], (len(inputs), 1))
    return self._network(inputs)

  def commit(self) -> tuple[int, ...]:
    """Commits to a location that agrees with all answers; the first of them."""
    if self.location is None:
      code = int(np.argmax(self._is_possible))
      self.location = tuple(
          code // self._p**place % self._p for place in range(self._k))
      self._network = classifier(
          needle_network(self.location, self._p, self._d))
    return self.location

  def _rule_out(self, inputs: np.ndarray) -> None:
    cells = np.clip(np.rint(inputs[:, :self._k] * (self._p - 1)), 0,
                    self._p - 1).astype(np.int64)
    codes = cells @ self._p**np.arange(self._k)
    # Needles are apart, so an input is in the reach of one at most; a little
    # beyond it counts, to be safe from rounding.
    away = self._scale * np.abs(inputs[:, :self._k] - self._values[cells])
    bumps = np.maximum(1 - away, 0)
    reached = 2 * bumps.sum(axis=1) - (2 * self._k - 1) > -1e-3
    _, first = np.unique(codes[reached], return_index=True)
    asked = codes[reached][np.sort(first)]
    asked = asked[self._is_possible[asked]][:self.left - 1]
    self._is_possible[asked] = False
    self.left -= len(asked)
    if self.left == 1:
      self.commit()


def all_locations(k: int, precision: int) -> np.ndarray:
  """Every location, the first feature running fastest: int64 [p^k, k]."""
  codes = np.arange(precision**k)
  return codes[:, None] // precision**np.arange(k) % precision


def at_locations(locations: np.ndarray, precision: int, dimension: int
                 ) -> np.ndarray:
  """Grid points [n, d] at locations [n, k]; the other features are 0."""
  points = np.zeros((len(locations), dimension))
  points[:, :locations.shape[1]] = feature_values(precision)[locations]
  return points


def _scale(precision: int) -> float:
  return float(1 << (2 * precision - 3).bit_length())


def _checked_location(location: Sequence[int], precision: int, dimension: int
                      ) -> np.ndarray:
  place = np.asarray(location)
  k = len(place) if place.ndim == 1 else 0
  if not checks.is_whole(dimension) or not 1 <= k <= dimension:
    raise InputError(f"a needle has {k} coordinates among {dimension!r} "
                     "features; give from 1 to as many as there are")
  if place.dtype.kind not in "ui" or (place < 0).any() or (
      place >= precision).any():
    raise InputError(f"the location {list(location)} is off the grid; give "
                     f"whole numbers from 0 to {precision - 1}")
  if k**2 * _scale(precision) > 2.0**40:
    raise InputError(f"a needle of {k} coordinates with {precision} values "
                     "would not be exact in float64; lower one of them")
  return place
