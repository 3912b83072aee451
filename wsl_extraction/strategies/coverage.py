"""Asking about what together covers the pool."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction import checks
from wsl_extraction.strategies.strategy import Strategy, unasked

# Centres that the rows of the pool are compared with at once.
_GROUP = 64


@dataclasses.dataclass(frozen=True)
class ClassBalanced(Strategy):
  """Classes as even as possible, by what the surrogate takes examples for.

  Each choice is of a class that has the fewest so far, counting those asked
  about already, and random within the class. A class that runs out leaves its
  share to the others. Where probabilities are equal, the first class counts.
  """

  def choose(self, probabilities, features, n, rng, asked):
    del features
    order = unasked(len(probabilities), asked, rng)
    classes = probabilities.argmax(axis=1)
    held = np.bincount(classes[asked], minlength=probabilities.shape[1])
    # What its class will hold before an example of it is chosen: the next to
    # choose is always one of the least.
    before = held[classes[order]] + _earlier_equals(classes[order])
    # Ties are between classes, and fall to each of them equally often.
    return order[np.lexsort((rng.permutation(len(order)), before))[:n]]


def _earlier_equals(values: np.ndarray) -> np.ndarray:
  """The number of equal values before each of `values` [l]: [l]."""
  by_value = np.argsort(values, kind="stable")
  sorted_values = values[by_value]
  counts = np.empty(len(values), np.int64)
  counts[by_value] = np.arange(len(values)) - np.searchsorted(
      sorted_values, sorted_values)
  return counts


@dataclasses.dataclass(frozen=True)
class KCenter(Strategy):
  """Always what is farthest from all that was asked about, by its features.

  The greedy answer to the k-center problem: the largest Euclidean distance
  from an example to the nearest one asked about is at most twice the least
  that is possible. It takes m (a + n) distances and memory for some [m], not
  for features or distances in float64. Before there is a surrogate, all
  distances are 0 and the choice is random.

  Attributes:
    block: Numbers in an intermediate array, at most about.
    space: Where distances are measured: "features", or "probabilities", as
      ActiveThief does.

  References:
    Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance".
    Sener and Savarese 2018, "Active Learning for Convolutional Neural
      Networks: A Core-Set Approach", Algorithm 1.
    Pal et al. 2020, "ActiveThief", for its use in extraction, there on
      probabilities instead of features.
  """

  block: int = 1 << 18
  space: str = "features"

  def __post_init__(self):
    object.__setattr__(
        self, "block", checks.whole("KCenter.block", self.block, 1))
    checks.one_of("KCenter.space", self.space, ("features", "probabilities"))

  def choose(self, probabilities, features, n, rng, asked):
    if self.space == "probabilities":
      features = probabilities
    order = unasked(len(probabilities), asked, rng)
    rank = np.zeros(len(probabilities), np.int64)
    rank[order] = np.arange(len(order))
    cover = _Cover(features, self.block)
    cover.add(asked)
    chosen = np.empty(n, np.int64)
    for i in range(n):
      farthest = cover.nearest.max()
      if farthest == 0:  # All that is left coincides with a centre.
        chosen[i:] = order[cover.nearest[order] == 0][:n - i]
        break
      ties = np.flatnonzero(cover.nearest == farthest)
      chosen[i] = ties[rank[ties].argmin()]
      cover.add(chosen[i:i + 1])
    return chosen


class _Cover:
  """Squared distances from rows to the nearest of a growing set of centres.

  They are what differences in float64 give, but those are taken only where the
  distance can be less than the least so far, which is rare after some centres.
  That is known from products in the rows' own precision, one pass over them,
  with a bound on their rounding errors: with middle u, a = x - u and b = c - u,
  |x - c|^2 = |a|^2 + |b|^2 + 2 u.b - 2 x.b,  where x.b is wrong by
  f eps / 2 |x| |b| at most, whatever the order of summation; the rounding of
  b to the rows' precision makes the whole wrong by eps |a| |b|, and the rest
  is in float64.

  Attributes:
    nearest: float64 [m]; infinite without centres, -infinite for centres.

  References:
    Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1.
  """

  def __init__(self, features: np.ndarray, block: int):
    kind = np.result_type(features, np.float32)
    self._rows = np.ascontiguousarray(features, kind)
    self._block = block
    m, f = self._rows.shape
    self.nearest = np.full(m, np.inf)
    self._middle = self._rows.mean(axis=0, dtype=np.float64).astype(kind)
    self._lengths, self._squares = np.empty(m), np.empty(m)
    step = self._per_block(f)
    for start in range(0, m, step):
      part = self._rows[start:start + step].astype(np.float64)
      self._lengths[start:start + step] = np.sqrt(_squared_lengths(part))
      self._squares[start:start + step] = _squared_lengths(part - self._middle)
    # 1.01 and 8: what is of higher order, and other operations than products.
    eps, double_eps = (
        float(np.finfo(one).eps) for one in (kind, np.float64))
    self._of_products = 1.01 * (f + 8) * eps
    self._of_the_rest = 1.01 * (eps + 2 * (f + 8) * double_eps)
    # Products below or sums above these are nothing to go by.
    self._tiny = 2 * f * float(np.finfo(kind).tiny)
    self._huge = float(np.finfo(kind).max) / 8

  def add(self, centres: np.ndarray) -> None:
    """Makes the rows at positions `centres` [k] centres."""
    for first in range(0, len(centres), _GROUP):
      group = centres[first:first + _GROUP]
      step = self._per_block(len(group))
      for start in range(0, len(self._rows), step):
        self._approach(group, slice(start, start + step))
    self.nearest[centres] = -np.inf

  def _approach(self, centres: np.ndarray, rows: slice) -> None:
    estimates, errors = self._estimates(centres, rows)
    limit = self.nearest[rows]
    if len(centres) > 1:
      limit = np.minimum(limit, (estimates + errors).min(axis=0))
    maybe = np.flatnonzero(estimates - errors <= limit)
    of, row = np.divmod(maybe, estimates.shape[1])
    self._settle(centres[of], row + rows.start)

  def _estimates(self, centres: np.ndarray,
                 rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and the most that they can be wrong by: [k, r]."""
    shifted = self._rows[centres] - self._middle
    squares = self._squares[centres]
    lengths = np.sqrt(squares)
    middle = self._middle.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
      # For one centre memory is the limit, and the threads of BLAS would wait
      # for each other at every choice, for long where cores are shared.
      products = (shifted @ self._rows[rows].T if len(centres) > 1 else
                  np.einsum("f,rf->r", shifted[0], self._rows[rows])[None])
    estimates = self._squares[rows] - 2 * products
    estimates += (squares + 2 * (shifted @ middle))[:, None]
    errors = np.multiply.outer(self._of_products * lengths, self._lengths[rows])
    errors += self._of_the_rest * self._squares[rows]
    errors += (self._tiny + self._of_the_rest * (
        squares + lengths * np.sqrt(middle @ middle)))[:, None]
    overflow = lengths * self._lengths.max() > self._huge
    estimates[overflow], errors[overflow] = 0, np.inf
    return estimates, errors

  def _settle(self, centres: np.ndarray, rows: np.ndarray) -> None:
    """Takes the distances of pairs [p] of a centre and a row into account."""
    step = self._per_block(self._rows.shape[1])
    for start in range(0, len(rows), step):
      ends = rows[start:start + step]
      differences = self._rows[ends].astype(np.float64)
      differences -= self._rows[centres[start:start + step]]
      np.minimum.at(self.nearest, ends, _squared_lengths(differences))

  def _per_block(self, numbers: int) -> int:
    return max(1, self._block // max(1, numbers))


def _squared_lengths(rows: np.ndarray) -> np.ndarray:
  return np.einsum("ij,ij->i", rows, rows)
