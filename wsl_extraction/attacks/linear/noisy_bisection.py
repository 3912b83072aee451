"""Bisection of an angle by comparisons, some of which may be wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_CELLS = 64  # of the prior
_UNIFORM = 0.3  # share of the prior that is spread evenly
HALF = np.pi / 2


def bisect(is_above: Callable[[float], bool], width: float) -> float:
  """The angle in -pi/2..pi/2, by comparisons that are right.

  Args:
    is_above: True if the angle exceeds a number.
    width: Of the interval that is left, at most.
  """
  low, high = -HALF, HALF
  while high - low > width:
    middle = (low + high) / 2
    if is_above(middle):
      low = middle
    else:
      high = middle
  return (low + high) / 2


def bayesian(is_above: Callable[[float], bool], width: float, doubt: float,
             noise: float, dimension: int) -> float:
  """The angle in -pi/2..pi/2, by comparisons that are wrong now and then.

  Asks about the median of the posterior density, which is constant between the
  medians so far. Its variance is no reason to end: what little mass lies
  outside of the narrow peak lies far away.

  Args:
    is_above: True if the angle exceeds a number; wrong with probability
      `noise`, each time anew.
    width: Of the interval that is left, at most; its middle is returned.
    doubt: The posterior probability that the angle lies outside of it, half on
      either side.
    noise: Below 1/2.
    dimension: That of the vector so far; for a random vector the angle of the
      next coordinate has density cos^(dimension - 1).

  References:
    Burnashev, Zigangirov. An Interval Estimation Problem for Controlled
      Observations. 1974.
  """
  edges = np.linspace(-HALF, HALF, _CELLS + 1)
  middles = (edges[1:] + edges[:-1]) / 2
  mass = np.cos(middles)**max(dimension - 1, 0)
  mass = (1 - _UNIFORM) * mass / mass.sum() + _UNIFORM / _CELLS
  while True:
    sums = np.cumsum(mass)
    low, high = np.interp([doubt / 2, 1 - doubt / 2],
                          np.append(0.0, sums), edges)
    if high - low <= width:
      return float((low + high) / 2)
    cell = int(np.searchsorted(sums, 0.5))
    before = sums[cell] - mass[cell]
    share = (0.5 - before) / mass[cell]
    median = edges[cell] + share * (edges[cell + 1] - edges[cell])
    edges = np.insert(edges, cell + 1, median)
    mass = np.insert(mass, cell + 1, (1 - share) * mass[cell])
    mass[cell] *= share
    above = is_above(float(median))
    mass[:cell + 1] *= noise if above else 1 - noise
    mass[cell + 1:] *= 1 - noise if above else noise
    mass /= mass.sum()
