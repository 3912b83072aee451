r"""Bounds on a difference of two ReLU networks that hold whatever is rounded.

A sum of n products that float64 computes in any order, with or without fused
operations, lies within n u / (1 - n u) times the sum of the absolute products
of its exact value, u = 2^-53 (Higham 2002, section 3.1). Here every such error
is taken as (n + 4) 2^-52, twice as much, which also covers that the absolute
sum is itself rounded; 1e-290 more covers what underflows. What these functions
call a bound is then one for the exact function of the float64 weights.

References:
  Higham. Accuracy and Stability of Numerical Algorithms. SIAM 2002.
  Neumaier, Shcherbina. Safe Bounds in Linear and Mixed-Integer Linear
    Programming. Mathematical Programming 99, 2004 (any multipliers, however
    inexact, give a bound once their residual is paid for).
  Wang et al. Beta-CROWN: Efficient Bound Propagation with Per-neuron Split
    Constraints. NeurIPS 2021, section 3 (the same dual, in a backward pass).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from wsl_extraction.networks.relu_network import ReluNetwork

TINY = 1e-290


def gamma(terms: int) -> float:
  """The relative error of a sum of so many products, doubled."""
  return (terms + 4) * 2.0**-52


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
  """Two networks side by side: one hidden stack, the difference on top.

  Attributes:
    weights: [inputs, m] for each hidden layer; f's units first, then g's.
    biases: [m] each.
    readout: f - g is h @ readout + offset at the last hidden h: [m, c].
    offset: [c].
    offset_error: [c]: how far `offset` is from its exact value.
  """

  weights: tuple[np.ndarray, ...]
  biases: tuple[np.ndarray, ...]
  readout: np.ndarray
  offset: np.ndarray
  offset_error: np.ndarray

  @classmethod
  def of(cls, f: ReluNetwork, g: ReluNetwork) -> Pair:
    """Joins two networks of equal input and output sizes."""
    f, g = f.affine_ended(), g.affine_ended()
    depth = max(len(f.hidden), len(g.hidden), 1)
    f, g = f.deepened(depth), g.deepened(depth)
    weights = [np.hstack([f.weights[0], g.weights[0]])]
    for a, b in zip(f.weights[1:-1], g.weights[1:-1], strict=True):
      weights.append(np.block([
          [a, np.zeros((a.shape[0], b.shape[1]))],
          [np.zeros((b.shape[0], a.shape[1])), b]]))
    offset = f.biases[-1] - g.biases[-1]
    part = offset - f.biases[-1]
    # What the subtraction lost, by Knuth's two-sum; mostly nothing.
    lost = (f.biases[-1] - (offset - part)) - (g.biases[-1] + part)
    return cls(
        tuple(weights),
        tuple(np.hstack(both) for both in zip(
            f.biases[:-1], g.biases[:-1], strict=True)),
        np.vstack([f.weights[-1], -g.weights[-1]]), offset,
        np.abs(lost))

  @property
  def sizes(self) -> list[int]:
    """The number of units of each layer, both networks' together."""
    return [len(bias) for bias in self.biases]

  def difference(self, inputs: np.ndarray) -> np.ndarray:
    """f - g at inputs [n, d], as float64 computes it: [n, c]."""
    values = inputs
    for matrix, bias in zip(self.weights, self.biases, strict=True):
      values = np.maximum(values @ matrix + bias, 0)
    return values @ self.readout + self.offset


@dataclasses.dataclass(frozen=True)
class Layers:
  """For each layer, arrays [m] or [n, m] of all units."""

  low: tuple[np.ndarray, ...]
  high: tuple[np.ndarray, ...]


def affine_range(
    low: np.ndarray, high: np.ndarray, matrix: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Contains x @ matrix + bias for all x between low and high, [n, m]."""
  positive, negative = np.maximum(matrix, 0), np.minimum(matrix, 0)
  size = np.maximum(np.abs(low), np.abs(high))
  error = gamma(2 * len(matrix)) * (
      size @ np.abs(matrix) + np.abs(bias)) + TINY
  return (low @ positive + high @ negative + bias - error,
          high @ positive + low @ negative + bias + error)


def intervals(pair: Pair, low: np.ndarray, high: np.ndarray,
              known: Layers | None = None) -> Layers:
  """Ranges of all preactivations on boxes [n, d], by interval arithmetic.

  Args:
    pair: The networks.
    low: Corners of the boxes, [n, d] or [d].
    high: Likewise.
    known: Ranges that hold too.
  """
  lows, highs = [], []
  for layer, (matrix, bias) in enumerate(
      zip(pair.weights, pair.biases, strict=True)):
    least, most = affine_range(low, high, matrix, bias)
    if known is not None:
      least = np.maximum(least, known.low[layer])
      most = np.minimum(most, known.high[layer])
    lows.append(least)
    highs.append(most)
    low, high = np.maximum(least, 0), np.maximum(most, 0)
  return Layers(tuple(lows), tuple(highs))


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
  is paid for with the largest possible h.

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
    residual = (np.abs(slope) @ np.abs(matrix).T) * size
    error = error + gamma(matrix.shape[1]) * residual.sum(axis=-1)
    terms += 2 * sum(matrix.shape)
  ends = np.maximum(goal * low, goal * high)
  total = total + ends.sum(axis=-1)
  slack = slack + np.abs(ends).sum(axis=-1)
  return Pass(total + gamma(terms) * (slack + error) + error + TINY,
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
  above = undecided & (goal >= 0)
  slope = np.where(is_on, goal + np.maximum(split, 0), 0.0)
  slope = np.where(is_off, -np.maximum(-split, 0), slope)
  slope = np.where(above, chord, slope)
  slope = np.where(undecided & (goal < 0),
                   goal * multipliers.slope[layer], slope)
  shift = np.where(
      above, np.maximum(-slope * least, (goal - slope) * most), 0)
  score = np.where(undecided, np.abs(goal) * (-least * most / width), 0)
  return slope, shift.sum(axis=-1), score


def tightened(pair: Pair, low: np.ndarray, high: np.ndarray) -> Layers:
  """Ranges on one box [d]: intervals, then a backward pass for each unit."""
  ranges = intervals(pair, low, high)
  for layer in range(1, len(pair.weights)):
    matrix, bias = pair.weights[layer], pair.biases[layer]
    lows, highs = list(ranges.low), list(ranges.high)
    for multipliers in plain_multipliers(ranges):
      most = backward(pair, matrix.T, bias, ranges, [None] * layer, low, high,
                      multipliers).bound
      least = -backward(pair, -matrix.T, -bias, ranges, [None] * layer, low,
                        high, multipliers).bound
      lows[layer] = np.maximum(lows[layer], least)
      highs[layer] = np.minimum(highs[layer], most)
    ranges = intervals(pair, low, high, Layers(
        (*lows[:layer + 1], *(np.full_like(b, -np.inf)
                              for b in pair.biases[layer + 1:])),
        (*highs[:layer + 1], *(np.full_like(b, np.inf)
                               for b in pair.biases[layer + 1:]))))
  return ranges
