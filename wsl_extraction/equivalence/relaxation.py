"""The linear relaxation of a region, solved by HiGHS for points of its dual.

Nothing that the solver says is believed: its multipliers go into
`backward.backward`, which makes a bound of any, and its input is evaluated.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize

from wsl_extraction.equivalence.backward import Multipliers, backward
from wsl_extraction.equivalence.bounds import Layers, Pair

# What leaving a region costs, relative to the goal's coefficients. Finite, so
# that the relaxation of an empty region has a solution, and with it duals.
_ELASTIC = 1e3
_LEAST_GOAL = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """All units' inputs as functions of inputs and units: z = rows v + bias.

  Variables are the d inputs, then the units layer by layer.

  Attributes:
    rows: [m, d + m], m units in all.
    bias: [m].
    starts: Where each layer's units begin among the m.
  """

  rows: np.ndarray
  bias: np.ndarray
  starts: tuple[int, ...]

  @classmethod
  def of(cls, pair: Pair) -> Rows:
    """The rows of all layers."""
    inputs, units = len(pair.weights[0]), sum(pair.sizes)
    rows = np.zeros((units, inputs + units))
    starts = (0, *np.cumsum(pair.sizes).tolist())
    for layer, matrix in enumerate(pair.weights):
      source = 0 if layer == 0 else inputs + starts[layer - 1]
      rows[starts[layer]:starts[layer + 1],
           source:source + len(matrix)] = matrix.T
    return cls(rows, np.hstack(pair.biases), starts)

  def split(self, flat: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cuts an array [m] into its layers."""
    ends = self.starts[1:]
    return tuple(flat[start:end] for start, end in zip(
        self.starts[:-1], ends, strict=True) if start < len(flat))


@dataclasses.dataclass(frozen=True)
class Solved:
  """The solver's answer.

  Attributes:
    inputs: Where the relaxation is largest, [d].
    multipliers: Its duals.
  """

  inputs: np.ndarray
  multipliers: Multipliers


def solve(rows: Rows, goal: np.ndarray, ranges: Layers, phase: np.ndarray,
          low: np.ndarray, high: np.ndarray) -> Solved | None:
  """Maximises goal . h over the triangle relaxation of a region.

  Args:
    rows: Of the pair.
    goal: Coefficients [m] of the units of the first layers, all of those that
      take part.
    ranges: Contain these units' inputs, [m] a layer.
    phase: int8 [m]: 1 fixed to on, -1 to off, 0 neither.
    low: [d].
    high: [d].

  Returns:
    None where the solver fails.
  """
  units, inputs = len(goal), len(low)
  least = np.hstack(ranges.low)[:units]
  most = np.hstack(ranges.high)[:units]
  is_on = np.where(phase == 0, least >= 0, phase > 0)
  is_off = np.where(phase == 0, (most <= 0) & ~is_on, phase < 0)
  free = ~(is_on | is_off)
  own = np.hstack([np.zeros((units, inputs)), np.eye(units)])
  z, bias = rows.rows[:units, :inputs + units], rows.bias[:units]
  chord = (most / np.where(free, most - least, 1))[free]
  fixed = np.flatnonzero(phase)
  sign = np.sign(phase[fixed]).astype(float)
  excess = np.zeros((2 * free.sum() + len(fixed), len(fixed)))
  excess[2 * free.sum():] = -np.eye(len(fixed))
  upper = np.vstack([
      z[free] - own[free], own[free] - chord[:, None] * z[free],
      -sign[:, None] * z[fixed]])
  limits = np.hstack([
      -bias[free], chord * (bias[free] - least[free]), sign * bias[fixed]])
  equal = (own - z)[is_on]
  # Outside of an elastic region a unit that is on has a negative h. Ranges of
  # h that follow from others stay away: their duals would be lost.
  ceiling = np.where(is_off, 0, np.inf)
  floor = np.where(is_on, -np.inf, 0)
  cost = np.hstack([
      np.zeros(inputs), -goal,
      np.full(len(fixed), _ELASTIC * max(np.abs(goal).max(), _LEAST_GOAL))])
  if not all(np.isfinite(array).all() for array in (
      upper, limits, equal, bias, cost)):
    return None
  result = optimize.linprog(
      cost, np.hstack([upper, excess]), limits,
      np.hstack([equal, np.zeros((len(equal), len(fixed)))]), bias[is_on],
      np.column_stack([
          np.hstack([low, floor, np.zeros(len(fixed))]),
          np.hstack([high, ceiling, np.full(len(fixed), np.inf)])]),
      method="highs")
  if result.status != 0:
    return None
  return Solved(
      np.clip(result.x[:inputs], low, high),
      _multipliers(rows, result, free, fixed, sign, inputs))


def _multipliers(rows: Rows, result: optimize.OptimizeResult,
                 free: np.ndarray, fixed: np.ndarray, sign: np.ndarray,
                 inputs: int) -> Multipliers:
  duals = np.maximum(-result.ineqlin.marginals, 0)
  count = int(free.sum())
  by_input, by_split = duals[:count], duals[2 * count:]
  at_zero = np.maximum(
      result.lower.marginals[inputs:inputs + len(free)][free], 0)
  slope, split = np.zeros(len(free)), np.zeros(len(free))
  both = by_input + at_zero
  slope[free] = np.divide(by_input, both, out=np.zeros(count), where=both > 0)
  split[fixed] = sign * by_split
  return Multipliers(rows.split(np.clip(slope, 0, 1)), rows.split(split))


def propagated(pair: Pair, rows: Rows, ranges: Layers, low: np.ndarray,
               high: np.ndarray, is_late: Callable[[], bool]) -> Layers:
  """Tightens ranges on one box by two linear programs for each unit.

  Units whose sign is known stay as they are.

  Args:
    pair: The networks.
    rows: Of the pair.
    ranges: To begin with, [m] a layer.
    low: [d].
    high: [d].
    is_late: Called without arguments, whether to stop.
  """
  lows, highs = ([side.copy() for side in sides]
                 for sides in (ranges.low, ranges.high))
  for layer in range(1, len(pair.weights)):
    known = Layers(tuple(lows[:layer]), tuple(highs[:layer]))
    before = sum(pair.sizes[:layer])
    for unit in np.flatnonzero((lows[layer] < 0) & (highs[layer] > 0)):
      for sign, sides in ((1.0, highs), (-1.0, lows)):
        if is_late():
          return Layers(tuple(lows), tuple(highs))
        goal = sign * pair.weights[layer][:, unit]
        flat = np.hstack([np.zeros(before - len(goal)), goal])
        solved = solve(rows, flat, known, np.zeros(before, np.int8), low, high)
        if solved is None:
          continue
        bound = backward(
            pair, goal[None], sign * pair.biases[layer][unit], known,
            [None] * layer, low, high, solved.multipliers).bound[0]
        if sign > 0:
          sides[layer][unit] = min(sides[layer][unit], bound)
        else:
          sides[layer][unit] = max(sides[layer][unit], -bound)
  return Layers(tuple(lows), tuple(highs))


def as_layers(phase: np.ndarray, starts: Sequence[int]) -> list[np.ndarray]:
  """Cuts phases [n, m] into layers [n, m_l]."""
  return [phase[:, a:b] for a, b in itertools.pairwise(starts)]
