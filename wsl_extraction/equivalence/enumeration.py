"""All corners of the unit cube, 2^d of them, in blocks; proofs by counting.

Blocks share their first inputs. A block that bounds close is not looked into;
of the others every corner is evaluated, and the most that rounding can have
done is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsl_extraction.equivalence.backward import backward, plain_multipliers
from wsl_extraction.equivalence.bounds import (
    TINY,
    Pair,
    above,
    gamma,
    intervals,
)

# Inputs that vary within a block, and blocks that are bounded together, as far
# as one step stays below so many products: a quarter of a second.
_FREE = 14
_BATCH = 1024
_PRODUCTS = 1 << 28


class Enumeration:
  """The largest |f - g| over {0, 1}^d.

  Attributes:
    upper: No |f - g| is above it.
    value: The largest that float64 met.
    inputs: Where, [d], or None.
    corners: How many were looked at, in closed blocks too.
  """

  def __init__(self, pair: Pair):
    self._pair = pair
    self._error = rounding(pair, np.zeros(len(pair.weights[0])),
                           np.ones(len(pair.weights[0])))
    size = np.abs(pair.weights[0]).sum(axis=1)
    self._order = np.argsort(-size, kind="stable")
    products = sum(matrix.size for matrix in (*pair.weights, pair.readout))
    room = max(_PRODUCTS // products, 1).bit_length() - 1
    self._free = min(len(size), _FREE, room)
    # Each block is bounded for all outputs, signs and choices of multipliers.
    self._batch = min(_BATCH, max(1, (1 << room) // (
        8 * pair.readout.shape[1])))
    self._blocks = 1 << (len(size) - self._free)
    self._table = _bits(np.arange(1 << self._free), self._free)
    # What the free inputs give to the first layer, the same in all blocks.
    self._free_sums = self._table @ pair.weights[0][self._order[-self._free:]]
    self.value, self.inputs, self.corners = -np.inf, None, 0
    self.upper = np.inf

  def run(self, target: Callable[[float], float], is_late: Callable[[], bool],
          stop: float = np.inf) -> None:
    """Goes through all blocks, or stops; see `branch_and_bound.Tree.run`."""
    closed = -np.inf
    fixed = len(self._order) - self._free
    for start in range(0, self._blocks, self._batch):
      if is_late():
        return
      numbers = np.arange(start, min(start + self._batch, self._blocks))
      prefixes = _bits(numbers, fixed)
      bounds = self._block_bounds(prefixes)
      for prefix, bound in zip(prefixes, bounds, strict=True):
        if bound > target(self.value):
          if is_late():
            return
          bound = min(bound, self._look_into(prefix))
        closed = max(closed, bound)
        self.corners += 1 << self._free
        if self.value > stop:
          return
    self.upper = closed

  def _block_bounds(self, prefixes: np.ndarray) -> np.ndarray:
    """No |f - g| in these blocks is above it, [n]."""
    pair, fixed = self._pair, self._order[:prefixes.shape[1]]
    if not len(fixed):
      return np.full(len(prefixes), np.inf)
    low = np.zeros((len(prefixes), len(self._order)))
    high = np.ones_like(low)
    low[:, fixed] = high[:, fixed] = prefixes
    ranges = intervals(pair, low, high)
    largest = np.full(len(prefixes), -np.inf)
    for output in range(pair.readout.shape[1]):
      for sign in (1.0, -1.0):
        bound = np.min([backward(
            pair, sign * pair.readout[None, :, output],
            sign * pair.offset[output] + pair.offset_error[output], ranges,
            [None] * len(pair.weights), low, high, multipliers).bound
            for multipliers in plain_multipliers(ranges)], axis=0)
        largest = np.maximum(largest, bound)
    return largest

  def _look_into(self, prefix: np.ndarray) -> float:
    """Evaluates a block; gives a bound on what is in it."""
    pair, fixed = self._pair, self._order[:len(prefix)]
    values = np.maximum(
        self._free_sums + (prefix @ pair.weights[0][fixed] + pair.biases[0]), 0)
    for matrix, bias in zip(pair.weights[1:], pair.biases[1:], strict=True):
      values = np.maximum(values @ matrix + bias, 0)
    values = np.abs(values @ pair.readout + pair.offset)
    row, _ = np.unravel_index(np.argmax(values), values.shape)
    if np.isfinite(values.max()) and values.max() > self.value:
      self.value, self.inputs = float(values.max()), np.empty(len(self._order))
      self.inputs[self._order] = np.hstack([prefix, self._table[row]])
    most = values.max(axis=0) + self._error
    return float(above(most * (1 + 2.0**-50)).max())


def rounding(pair: Pair, low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """Bounds on the rounding error of `pair.difference` in a box, [c]."""
  size, error = np.maximum(np.abs(low), np.abs(high)), np.zeros(len(low))
  for matrix, bias in (*zip(pair.weights, pair.biases, strict=True),
                       (pair.readout, pair.offset)):
    absolute = np.abs(matrix)
    # Sizes bound what float64 has, errors included.
    error = error @ absolute + gamma(len(matrix)) * (
        (size + error) @ absolute + np.abs(bias)) + TINY
    size = (size @ absolute + np.abs(bias) + error) * (1 + 2.0**-40)
  return above((error + pair.offset_error) * (1 + 2.0**-40))


def _bits(numbers: np.ndarray, count: int) -> np.ndarray:
  """The binary digits of numbers [n], lowest first: float64 [n, count]."""
  return (numbers[:, None] >> np.arange(count) & 1).astype(np.float64)
