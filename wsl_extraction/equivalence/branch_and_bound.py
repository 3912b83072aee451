"""Branch and bound that proves: the largest value of one output difference.

A region is the part of a box where some units are fixed to be on or off. The
simplex method proposes multipliers for it, of which `Program.bounded` makes a
bound that holds whatever was rounded; so only that function, the rows of the
program and the bookkeeping of this file have to be trusted. A unit is fixed for
good where the same multipliers show that its other side cannot matter.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable

import numpy as np

from wsl_extraction.equivalence.bounds import TINY
from wsl_extraction.equivalence.encoding import Encoding
from wsl_extraction.equivalence.program import Goal, as_sums
from wsl_extraction.equivalence.regions import LEAST_GAIN, Gains, Region
from wsl_extraction.equivalence.simplex import Simplex, Solved

# Binaries that are tried at a region, of which so many in a row win nothing.
_TRIED, _IDLE = 8, 4


class Tree:
  """The search for the largest value of a goal.

  Attributes:
    closed: No value in a region that is done is above it.
    regions: How many were looked at.
  """

  def __init__(self, encoding: Encoding, simplex: Simplex, goal: Goal,
               offer: Callable[[np.ndarray], float]):
    """Begins with one region, the whole box.

    Args:
      encoding: The networks.
      simplex: Of its program; may be shared among trees.
      goal: To be maximised.
      offer: Evaluates an input [d]; gives the best value met so far.
    """
    self._encoding, self._program = encoding, encoding.program
    self._simplex, self._goal, self._offer = simplex, goal, offer
    count = len(encoding.binaries)
    self._order = itertools.count()
    self._open: list[tuple[float, int, Region]] = []
    self._next: Region | None = Region(
        np.zeros(count, np.int8), np.ones(count, np.int8), np.inf)
    self.closed, self.regions = -np.inf, 0
    self._gains = Gains(count)
    self._limit, self._value = np.inf, -np.inf
    self._target: Callable[[float], float] = lambda value: value
    self._seconds_left: Callable[[], float] = lambda: 0.0

  @property
  def is_done(self) -> bool:
    """True if no region is open."""
    return self._next is None and not self._open

  @property
  def upper(self) -> float:
    """No value is above it."""
    bounds = [self.closed]
    if self._next is not None:
      bounds.append(self._next.bound)
    if self._open:
      bounds.append(-self._open[0][0])
    return max(bounds)

  def run(self, target: Callable[[float], float], value: float,
          seconds_left: Callable[[], float], stop: float = np.inf) -> float:
    """Goes on until all regions are closed, or it is time to stop.

    Args:
      target: Maps the best value met to the bound at which a region closes.
      value: The best met so far.
      seconds_left: Called before each program; stops at 0.
      stop: Stops when a value above it was met.

    Returns:
      The best value met.
    """
    self._simplex.aim(self._goal.costs)
    self._target, self._seconds_left = target, seconds_left
    self._met(value)
    while (not self.is_done and self._value <= stop and seconds_left() > 0):
      region = self._take()
      if region.bound <= self._limit:
        self._close(region.bound)
      else:
        self.regions += 1
        self._look_into(region)
    return self._value

  def _met(self, value: float) -> None:
    self._value, self._limit = value, self._target(value)

  def _close(self, bound: float) -> None:
    self.closed = max(self.closed, bound)

  def _take(self) -> Region:
    """The region that came last, or else the one with the largest bound."""
    region, self._next = self._next, None
    return heapq.heappop(self._open)[2] if region is None else region

  def _put(self, region: Region) -> None:
    heapq.heappush(self._open, (-region.bound, next(self._order), region))

  def _look_into(self, region: Region) -> None:
    """Closes a region, or splits it."""
    solved, bound, residual = self._bounded(region)
    region = dataclasses.replace(region, bound=min(bound, region.bound))
    if solved is None and self._seconds_left() <= 0:
      self._next = region  # for another time
      return
    # Where nothing is left to split, this is its bound, up to rounding.
    if region.bound <= self._limit or not len(region.free):
      self._close(region.bound)
      return
    region = self._fixed(region, bound, residual)
    if not len(region.free):
      self._next = region
      return
    if solved is None or solved.values is None:
      self._split(region, int(region.free[0]), (region.bound, region.bound))
    else:
      self._branch(region, self._violations(solved.values))

  def _bounded(self, region: Region
               ) -> tuple[Solved | None, float, np.ndarray]:
    """The solver's answer, its bound, and c - y A of the binaries."""
    solved = self._solve(region, self._cutoff())
    bound, residual = self._bound(solved, region)
    if bound > self._limit and solved is not None and (
        solved.values is None and not solved.is_ray):
      # It stopped at the cutoff, and the bound fell short of it.
      solved = self._solve(region, -np.inf)
      bound, residual = self._bound(solved, region)
    return solved, bound, residual

  def _cutoff(self) -> float:
    cutoff = self._goal.scaled(self._limit)
    return cutoff - 1e-9 * (1 + abs(cutoff)) if np.isfinite(cutoff) else -np.inf

  def _solve(self, region: Region, cutoff: float) -> Solved | None:
    self._simplex.confine(self._encoding.binaries, region.low, region.high)
    left = self._seconds_left()
    solved = self._simplex.solve(left, cutoff) if left > 0 else None
    if solved is not None and solved.values is not None:
      places = self._encoding.inputs
      self._met(self._offer(
          solved.values[places] * self._program.scales[places]))
    return solved

  def _bound(self, solved: Solved | None, region: Region
             ) -> tuple[float, np.ndarray]:
    costs, binaries = self._goal.costs, self._encoding.binaries
    low, high = self._program.low.copy(), self._program.high.copy()
    low[binaries], high[binaries] = region.low, region.high
    if solved is None:
      return np.inf, np.zeros(len(binaries))
    duals = solved.duals
    if solved.is_ray:
      duals = duals * self._ray_length(duals, low, high)
    residual, value = self._program.residual(costs, duals)
    bound = self._program.bounded(residual, value, low, high, self._goal)
    return bound, residual[binaries]

  def _ray_length(self, ray: np.ndarray, low: np.ndarray,
                  high: np.ndarray) -> float:
    """The multiple of a ray that closes an empty region.

    y A v is bounded by a negative number on an empty region where 0 is wanted,
    so that a multiple large enough outweighs any goal.
    """
    gain = as_sums(*self._program.residual(np.zeros(len(low)), ray), low, high)
    start = as_sums(*self._program.residual(
        self._goal.costs, np.zeros(len(ray))), low, high)
    wanted = self._goal.scaled(self._limit)
    if not gain < 0 or not np.isfinite(wanted):
      return 0.0
    return 1.01 * max(start - wanted + 1, 1.0) / -gain

  def _fixed(self, region: Region, bound: float,
             residual: np.ndarray) -> Region:
    """Fixes binaries whose other side the same multipliers close.

    On one side of a unit b adds |residual| less to the bound than on the other.
    """
    if not np.isfinite(bound):
      return region
    loss = np.abs(residual) / self._goal.scale
    others = bound - loss + 2.0**-50 * (abs(bound) + loss) + TINY
    closes = (region.low < region.high) & (others <= self._limit)
    if not closes.any():
      return region
    self._close(float(others[closes].max()))
    return dataclasses.replace(
        region, low=np.where(closes & (residual > 0), 1, region.low).astype(
            np.int8),
        high=np.where(closes & (residual <= 0), 0, region.high).astype(np.int8))

  def _violations(self, values: np.ndarray) -> np.ndarray:
    """How far each unit's output is from max(0, z) in a solution, [k]."""
    places, program = self._encoding, self._program
    sums = program.matrix @ values
    above_input = sums[places.floors] - program.lower[places.floors]
    ceiling = program.matrix[places.ceilings, places.binaries]
    above_zero = sums[places.ceilings] - ceiling * values[places.binaries]
    return np.maximum(np.minimum(above_input, above_zero), 0)

  def _branch(self, region: Region, violations: np.ndarray) -> None:
    """Splits a region where that wins most, as far as was tried."""
    free = region.free
    wrong = free[violations[free] > 1e-9]
    units = wrong if len(wrong) else free
    scores = self._gains.scores(units, violations)
    order = np.argsort(-scores, kind="stable")[:_TRIED]
    bounds: tuple[float, float] | None = None
    best, chosen, idle = -1.0, int(units[order[0]]), 0
    for place in order:
      unit = int(units[place])
      if self._gains.is_reliable(unit):
        score, trial = float(scores[place]), None
      else:
        trial = self._trial(region, unit, violations[unit])
        if min(trial) <= self._limit:
          self._split(region, unit, trial)
          return
        score = float(np.prod([
            max(region.bound - bound, LEAST_GAIN) for bound in trial]))
      if score > best:
        best, chosen, bounds, idle = score, unit, trial, 0
      else:
        idle += 1
      if idle > _IDLE or self._seconds_left() <= 0:
        break
    self._split(region, chosen, bounds or (region.bound, region.bound))

  def _trial(self, region: Region, unit: int, violation: float
             ) -> tuple[float, float]:
    """Bounds of both sides of a unit; remembers what they win."""
    off, on = (min(region.bound, self._bounded(region.child(
        unit, side, np.inf))[1]) for side in (0, 1))
    self._gains.note(unit, [region.bound - max(bound, self._limit)
                            for bound in (off, on)], violation)
    return off, on

  def _split(self, region: Region, unit: int, bounds: tuple[float, float]
             ) -> None:
    """Goes on with the side of the larger bound, and keeps the other."""
    children = []
    for side, bound in enumerate(bounds):
      if bound <= self._limit:
        self._close(bound)
      else:
        children.append(region.child(unit, side, bound))
    children.sort(key=lambda child: child.bound)
    if children:
      self._next = children.pop()
    for child in children:
      self._put(child)
