"""The largest difference of two networks as a mixed-integer linear program.

The solver's bound (HiGHS, by scipy) is floating point and proves nothing. It is
here for comparison: tests and benchmarks hold `decide` against it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize

from wsl_extraction.equivalence.bounds import Layers, Pair
from wsl_extraction.equivalence.domains import Corners, Domain


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


@dataclasses.dataclass(frozen=True)
class Claim:
  """The solver's status and bound.

  Attributes:
    inputs: The best input that it found, [d], or None.
    bound: What it believes no value to be above; infinite if it does not know.
    is_optimal: Whether it believes to be done.
  """

  inputs: np.ndarray | None
  bound: float
  is_optimal: bool


def naive(ranges: Layers) -> Layers:
  """One big M for all units, the largest that any of them asks for."""
  largest = max(np.abs(np.hstack(side)).max()
                for side in (ranges.low, ranges.high))
  return Layers(tuple(np.full_like(low, -largest) for low in ranges.low),
                tuple(np.full_like(low, largest) for low in ranges.low))


def maximise(pair: Pair, rows: Rows, ranges: Layers, domain: Domain,
             goal: np.ndarray, constant: float, seconds: float,
             gap: float = 0.0) -> Claim:
  """Maximises goal . h + constant over the domain.

  A unit h = max(0, z) with z between l < 0 < u has a binary b that tells
  whether it is on: h >= z, h <= z - l (1 - b), h <= u b. Its l and u are the
  big M, so they should be as small as can be proved.

  Args:
    pair: The networks.
    rows: Of the pair.
    ranges: Contain all units' inputs, [m] a layer.
    domain: A box, or the corners of the unit cube.
    goal: Coefficients [m] of the last layer's units.
    constant: Is added.
    seconds: When to stop.
    gap: Stops when its bounds are this close, relative to the lower one.
  """
  inputs, units = len(pair.weights[0]), sum(pair.sizes)
  least, most = np.hstack(ranges.low), np.hstack(ranges.high)
  free = (least < 0) & (most > 0)
  count = int(free.sum())
  own = np.hstack([np.zeros((units, inputs)), np.eye(units)])
  difference = rows.rows - own
  binary = np.eye(count)
  none = np.zeros((units, count))
  is_on = least >= 0
  matrix = np.vstack([
      np.hstack([difference[free], 0 * binary]),
      np.hstack([-difference[free], -np.diag(least[free])]),
      np.hstack([own[free], -np.diag(most[free])]),
      np.hstack([difference[is_on], none[is_on]])])
  # h - z + (-l) b <= -l + bias; z = rows v + bias.
  upper = np.hstack([-rows.bias[free], rows.bias[free] - least[free],
                     np.zeros(count), -rows.bias[is_on]])
  lower = np.where(np.arange(len(upper)) < 3 * count, -np.inf, upper)
  cost = np.zeros(inputs + units + count)
  cost[inputs + units - len(goal):inputs + units] = -goal
  is_whole = np.hstack([
      np.full(inputs, isinstance(domain, Corners)), np.zeros(units),
      np.ones(count)])
  result = optimize.milp(
      cost, integrality=is_whole,
      bounds=optimize.Bounds(
          np.hstack([domain.low, np.zeros(units + count)]),
          np.hstack([domain.high, np.where(most <= 0, 0, np.maximum(most, 0)),
                     np.ones(count)])),
      constraints=optimize.LinearConstraint(matrix, lower, upper),
      options={"time_limit": max(seconds, 0.01), "mip_rel_gap": gap})
  return _claim(result, domain, constant)


def _claim(result: optimize.OptimizeResult, domain: Domain,
           constant: float) -> Claim:
  inputs = None
  if result.x is not None:
    inputs = np.clip(result.x[:domain.dimension], domain.low, domain.high)
    if isinstance(domain, Corners):
      inputs = np.round(inputs)
  bound = getattr(result, "mip_dual_bound", None)
  return Claim(inputs, np.inf if bound is None else constant - bound,
               result.status == 0)
