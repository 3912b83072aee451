"""Linear bounds of outputs by a backward pass."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.equivalence.bounds import (
  TINY,
  Layers,
  Pair,
  above,
  gamma,
  intervals,
  underflow,
)

# Units that are bounded in one pass.
_TOGETHER = 256


@dataclasses.dataclass(frozen=True)
class Multipliers:
  """A point of the dual, for all units of the layers below some level.

  Attributes:
    slope: [m] a layer, in [0, 1]: an undecided unit is at least slope * input.
    split: [m] a layer: what a unit that was fixed gives for its input's sign;
      positive counts where it is fixed to on, negative where to off.
  """

  slope: tuple[np.ndarray, ...]
  split: tuple[np.ndarray, ...]


def plain_multipliers(ranges: Layers) -> list[Multipliers]:
  """Multipliers to begin with: none for splits, three choices of slopes."""
  flat = [np.zeros(low.shape[-1]) for low in ranges.low]
  adaptive = [np.where(high > -low, 1.0, 0.0).reshape(-1, low.shape[-1])[0]
              for low, high in zip(ranges.low, ranges.high, strict=True)]
  return [Multipliers(tuple(slope), tuple(flat))
          for slope in (adaptive, flat, [one + 1 for one in flat])]


@dataclasses.dataclass(frozen=True)
class Pass:
  """The result of a backward pass for n regions.

  Attributes:
    bound: No value in the region is above it, [n].
    scores: How much an undecided unit may add to it, [n, m] a layer.
    inputs: The final coefficients of the inputs, [n, d].
  """

  bound: np.ndarray
  scores: list[np.ndarray]
  inputs: np.ndarray


def backward(pair: Pair, goal: np.ndarray, constant: float | np.ndarray,
             ranges: Layers, phases: Sequence[np.ndarray | None],
             low: np.ndarray, high: np.ndarray,
             multipliers: Multipliers) -> Pass:
  """Bounds goal . h + constant from above on n regions, by weak duality.

  From the top layer down, each unit's output h is replaced by a line above or
  below it, whichever its coefficient v asks for, a z + t with a a float:

    on            a = v + max(split, 0) >= v, t = 0, since h = z >= 0
    off           a = -max(-split, 0) <= 0, t = 0, since h = 0 and z <= 0
    undecided     v >= 0: a = v u / (u - l), t = max(-a l, (v - a) u)
                  v < 0:  a = v slope, t = 0, since v <= a <= 0

  which holds for the floats a as they are. The rounding of t and of the sums
  is paid for with the largest possible h. A coefficient that is NaN stays so
  up to the bound, which is infinite then.

  Args:
    pair: The networks.
    goal: Coefficients of the outputs of layer k - 1, [n, m] or [1, m]; the
      k layers below are all passed.
    constant: [n] or a number.
    ranges: Contain the units' inputs in the regions, [m] or [n, m] a layer.
    phases: For each layer int8 [n, m]: 1 fixed to on, -1 to off, 0 neither;
      or None. A region is the part of the box where units are so.
    low: Corners of the boxes, [d] or [n, d].
    high: Likewise.
    multipliers: Any.
  """
  total, slack = np.asarray(constant, np.float64), np.abs(constant)
  error = np.zeros(1)
  terms, scores = 8, []
  for layer in reversed(range(len(phases))):
    least, most = ranges.low[layer], ranges.high[layer]
    slope, shift, score = _lines(
        goal, least, most, phases[layer], multipliers, layer)
    scores.append(score)
    bias, matrix = pair.biases[layer], pair.weights[layer]
    total = total + shift + slope @ bias
    slack = slack + shift + np.abs(slope) @ np.abs(bias)
    goal = slope @ matrix.T
    if layer:
      size = np.maximum(ranges.high[layer - 1], 0)
    else:
      size = np.maximum(np.abs(low), np.abs(high))
    lost = gamma(matrix.shape[1]) * (np.abs(slope) @ np.abs(matrix).T)
    error = error + (
        (lost + underflow(matrix.shape[1])) * size).sum(axis=-1)
    terms += 2 * sum(matrix.shape)
  ends = np.maximum(goal * low, goal * high)
  total = total + ends.sum(axis=-1)
  slack = slack + np.abs(ends).sum(axis=-1)
  return Pass(above(total + gamma(terms) * (slack + error) + error + TINY),
              scores[::-1], goal)


def _lines(goal: np.ndarray, least: np.ndarray, most: np.ndarray,
           phase: np.ndarray | None, multipliers: Multipliers, layer: int
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Slopes [n, m], the sum of shifts [n], and scores [n, m]."""
  split = multipliers.split[layer]
  is_on, is_off = least >= 0, most <= 0
  if phase is not None:
    is_on = np.where(phase == 0, is_on, phase > 0)
    is_off = np.where(phase == 0, is_off & ~is_on, phase < 0)
  is_off = is_off & ~is_on
  undecided = ~(is_on | is_off)
  width = np.where(undecided, most - least, 1)
  chord = goal * (np.where(undecided, most, 0) / width)
  rises = undecided & (goal >= 0)
  slope = np.where(rises, chord, goal * multipliers.slope[layer])
  slope = np.where(is_on, goal + np.maximum(split, 0), slope)
  slope = np.where(is_off, -np.maximum(-split, 0), slope)
  shift = np.where(
      rises, np.maximum(-slope * least, (goal - slope) * most), 0)
  score = np.where(undecided, np.abs(goal) * (-least * most / width), 0)
  return slope, shift.sum(axis=-1), score


def tightened(pair: Pair, low: np.ndarray, high: np.ndarray,
              is_late: Callable[[], bool] = lambda: False) -> Layers:
  """Ranges on one box [d]: intervals, then a backward pass for each unit.

  Args:
    pair: The networks.
    low: A corner of the box, [d].
    high: The other one.
    is_late: Called between passes, whether to leave the rest as it is.
  """
  ranges = intervals(pair, low, high)
  for layer in range(1, len(pair.weights)):
    matrix, bias = pair.weights[layer], pair.biases[layer]
    lows, highs = list(ranges.low), list(ranges.high)
    lows[layer], highs[layer] = lows[layer].copy(), highs[layer].copy()
    for multipliers, start in itertools.product(
        plain_multipliers(ranges), range(0, len(bias), _TOGETHER)):
      if is_late():
        break
      some = slice(start, start + _TOGETHER)
      most = backward(pair, matrix.T[some], bias[some], ranges, [None] * layer,
                      low, high, multipliers).bound
      least = -backward(pair, -matrix.T[some], -bias[some], ranges,
                        [None] * layer, low, high, multipliers).bound
      lows[layer][some] = np.maximum(lows[layer][some], least)
      highs[layer][some] = np.minimum(highs[layer][some], most)
    ranges = intervals(pair, low, high, Layers(
        (*lows[:layer + 1], *(np.full_like(b, -np.inf)
                              for b in pair.biases[layer + 1:])),
        (*highs[:layer + 1], *(np.full_like(b, np.inf)
                               for b in pair.biases[layer + 1:]))))
  return ranges
