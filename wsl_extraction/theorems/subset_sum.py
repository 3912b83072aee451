r"""Theorem 2: two networks that are equal unless a subset sums to a target.

Given positive whole numbers a_1..a_n and a target T, does a subset sum to T?
With s(x) = a . x the function

  hat(u) = max(0, 1 - |u|) = ReLU(u + 1) - 2 ReLU(u) + ReLU(u - 1)

of u = s(x) - T is 1 where s(x) = T and 0 at all other whole numbers. On
{0, 1}^n, f(x) = hat(s(x) - T), of three hidden units, differs from g = 0
exactly at the subsets that sum to T, and there by 1.

On the cube [0, 1]^n fractional inputs would reach every T. They are punished by
the tents t_i = min(x_i, 1 - x_i) = x_i - 2 ReLU(x_i - 1/2), weighted by a_i:

  f(x) = ReLU(hat(s(x) - T) - sum_i a_i t_i)

Let y be x with every input rounded, a tie either way: |x_i - y_i| = t_i, so
|s(x) - s(y)| <= P = sum_i a_i t_i. Where f(x) > 0, hat(u) > P >= 0 gives
|u| < 1 - P, and |s(y) - T| <= |u| + P < 1: y is a subset that sums to T. So a_i
is the least punishment that rounding any difference of f and g to a solution
asks for; without a solution f = 0 on the whole cube; with one f = 1 there, its
largest value. The units are n for the tents, three for the hat, and one that
passes s(x) >= 0 on: n + 4 of them, and a ReLU at the end.

All partial sums at the corners are multiples of 1/2 of size at most
4 (sum_i a_i + T + 1), so float64 is exact there as long as that is at most
2^52; larger numbers are refused.

References:
  Jagielski et al. 2020, section 3.3, Theorem 2.
  Karp. Reducibility among Combinatorial Problems. 1972 (knapsack).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from wsl_extraction import checks
from wsl_extraction.equivalence.domains import Box, Domain
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork


@dataclasses.dataclass(frozen=True)
class SubsetSum:
  """The question whether some of the values sum to the target.

  Attributes:
    values: Whole numbers, 0 or more.
    target: A whole number, 0 or more.
  """

  values: tuple[int, ...]
  target: int

  def __post_init__(self):
    values = tuple(self.values)
    if not values:
      raise InputError("a subset sum has no values; give one at least")
    object.__setattr__(self, "values", checks.whole_numbers(
        "SubsetSum.values", values))
    object.__setattr__(self, "target", checks.whole(
        "SubsetSum.target", self.target))
    if 4 * (sum(self.values) + self.target + 1) > 2**52:
      raise InputError(
          f"the values sum to {sum(self.values)} and the target is "
          f"{self.target}; float64 is exact only while four times their sum is "
          "below 2^52 (all must fit 2^53 with room for sums): give smaller "
          "numbers")

  def is_solved_by(self, subset: Sequence[int]) -> bool:
    """True if the values at these places sum to the target."""
    return sum(self.values[place] for place in subset) == self.target

  def subset(self, inputs: np.ndarray) -> tuple[int, ...]:
    """The places of the values that an input [n] chooses, by rounding it.

    Of any input where the two networks differ, it solves the puzzle.
    """
    return tuple(np.flatnonzero(np.asarray(inputs) > 0.5).tolist())

  def inputs(self, subset: Sequence[int]) -> np.ndarray:
    """The corner of the cube that stands for a subset, float64 [n]."""
    corner = np.zeros(len(self.values))
    corner[list(subset)] = 1
    return corner


def subset_sum_networks(values: Sequence[int], target: int, domain: Domain
                        ) -> tuple[ReluNetwork, ReluNetwork]:
  """Two networks that differ on the domain exactly if there is a solution.

  The first is 1 at the solutions, the second 0 everywhere.

  Args:
    values: n whole numbers, 0 or more.
    target: A whole number, 0 or more.
    domain: `Corners(n)` or `Box.unit(n)`.

  Raises:
    InputError: There are no values, one is negative, they are too large to be
      exact in float64, or the domain is another.
  """
  puzzle = SubsetSum(tuple(values), target)
  n = len(puzzle.values)
  is_cube = isinstance(domain, Box)
  if domain.dimension != n or (is_cube and (
      domain.low.any() or (domain.high != 1).any())):
    raise InputError(f"{n} values need the domain Corners({n}) or "
                     f"Box.unit({n}); give one of them")
  a, t = np.array(puzzle.values, np.float64), float(puzzle.target)
  hat = np.array([1.0, -2.0, 1.0])
  weights, biases = np.repeat(a[:, None], 3, 1), np.array([1 - t, -t, -1 - t])
  readout = hat[:, None]
  if is_cube:
    weights = np.hstack([weights, a[:, None], np.eye(n)])
    biases = np.hstack([biases, 0, np.full(n, -0.5)])
    readout = np.hstack([hat, -1, 2 * a])[:, None]
  f = ReluNetwork([weights, readout], [biases, np.zeros(1)], is_cube)
  g = ReluNetwork([weights, np.zeros_like(readout)], f.biases, is_cube)
  return f, g


def solvable(values: Sequence[int], target: int) -> bool:
  """Decides by dynamic programming if a subset sums to the target.

  Takes time and memory in proportion to n times the target.

  References:
    Bellman. Notes on the Theory of Dynamic Programming IV: Maximization over
      Discrete Sets. 1956.
  """
  reached = 1
  for value in values:
    reached |= reached << int(value)
    reached &= (2 << int(target)) - 1
  return bool(reached >> int(target) & 1)
