"""Branch and bound that proves: the largest value of one output difference.

Regions are parts of a box where some units are fixed to be on or off. A region
is closed by a bound of `backward`, which holds whatever was rounded, so that
only that function and the bookkeeping of this file have to be trusted.
Multipliers that close one region mostly close others: each that a linear
program gives is tried on thousands of regions at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from wsl_extraction.equivalence import relaxation
from wsl_extraction.equivalence.backward import (
    Multipliers,
    backward,
    plain_multipliers,
)
from wsl_extraction.equivalence.bounds import Layers, Pair

# Regions that are looked at together: a share of the open ones.
_LEAST, _MOST, _SHARE = 32, 2048, 4
# Points of the dual that are kept, those that closed most first, and how many
# of them are tried even if they closed nothing of late.
_POOL = 32
_TRIED = 6
_PROGRAMS = 16
# Beyond so many open regions the deepest come first, to save memory.
_MANY = 1 << 18


@dataclasses.dataclass(eq=False)
class Tree:
  """The search for the largest of goal . h + constant over a box.

  Attributes:
    upper: No value is above it.
    inputs: The best input met, [d], or None.
    value: What float64 computes there.
    regions: How many were looked at.
  """

  pair: Pair
  rows: relaxation.Rows
  ranges: Layers
  low: np.ndarray
  high: np.ndarray
  goal: np.ndarray
  constant: float
  value: float = -np.inf
  inputs: np.ndarray | None = None
  regions: int = 0

  def __post_init__(self):
    units = sum(self.pair.sizes)
    self._phases = np.zeros((1, units), np.int8)
    self._bounds = np.full(1, np.inf)
    self._closed = -np.inf
    self._pool: list[tuple[float, Multipliers]] = [
        (0.0, one) for one in plain_multipliers(self.ranges)]

  @property
  def upper(self) -> float:
    return max(self._closed, self._bounds.max(initial=-np.inf))

  @property
  def is_done(self) -> bool:
    """True if no region is open."""
    return not len(self._phases)

  def run(self, target: Callable[[float], float], is_late: Callable[[], bool],
          stop: float = np.inf) -> None:
    """Goes on until all regions are closed, or it is time to stop.

    Args:
      target: Maps the best value met to the bound at which a region closes.
      is_late: Whether to stop now.
      stop: Stops when a value above it was met.
    """
    while not self.is_done and self.value <= stop and not is_late():
      phases, bounds = self._take()
      self.regions += len(phases)
      passed = self._bound(phases, bounds, target(self.value))
      self._branch(*passed)

  def _take(self) -> tuple[np.ndarray, np.ndarray]:
    """Removes the open regions that come next."""
    order = self._bounds if len(self._bounds) > _MANY else -self._bounds
    count = min(len(order), max(_LEAST, min(_MOST, len(order) // _SHARE)))
    next_ones = np.argpartition(order, count - 1)[:count]
    taken = self._phases[next_ones], self._bounds[next_ones]
    self._phases = np.delete(self._phases, next_ones, axis=0)
    self._bounds = np.delete(self._bounds, next_ones)
    return taken

  def _bound(self, phases: np.ndarray, bounds: np.ndarray, target: float
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closes what can be; gives phases, bounds and scores of what stays."""
    scores = np.zeros(phases.shape)
    for place, (merit, multipliers) in enumerate(self._pool):
      if place >= _TRIED and merit < 1:
        break
      phases, bounds, scores, closed = self._apply(
          multipliers, phases, bounds, scores, target)
      self._pool[place] = (0.9 * merit + closed, multipliers)
    idle = 0
    for _ in range(_PROGRAMS):
      if not len(phases) or idle > 1:
        break
      solved = self._solve(phases[np.argmax(bounds)])
      if solved is None:
        break
      before = len(phases)
      phases, bounds, scores, closed = self._apply(
          solved, phases, bounds, scores, target)
      self._pool.append((closed, solved))
      idle = 0 if closed > 0.05 * before else idle + 1
    self._pool.sort(key=lambda entry: -entry[0])
    # The plain ones may be needed again; they are cheap to find anew.
    self._pool = self._pool[:_POOL]
    return phases, bounds, scores

  def _apply(
      self, multipliers: Multipliers, phases: np.ndarray, bounds: np.ndarray,
      scores: np.ndarray, target: float
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """One point of the dual on all regions; the number that it closed last."""
    if not len(phases):
      return phases, bounds, scores, 0
    passed = backward(
        self.pair, self.goal[None], self.constant, self.ranges,
        relaxation.as_layers(phases, self.rows.starts), self.low, self.high,
        multipliers)
    better = passed.bound < bounds
    bounds = np.where(better, passed.bound, bounds)
    scores = np.where(better[:, None], np.hstack(passed.scores), scores)
    is_open = bounds > target
    self._close(bounds[~is_open])
    return (phases[is_open], bounds[is_open], scores[is_open],
            int((~is_open).sum()))

  def _close(self, bounds: np.ndarray) -> None:
    self._closed = max(self._closed, bounds.max(initial=-np.inf))

  def _solve(self, phase: np.ndarray) -> Multipliers | None:
    goal = np.zeros(len(phase))
    goal[-len(self.goal):] = self.goal
    solved = relaxation.solve(
        self.rows, goal, self.ranges, phase, self.low, self.high)
    if solved is None:
      return None
    self.offer(solved.inputs)
    return solved.multipliers

  def offer(self, inputs: np.ndarray) -> None:
    """Takes note of an input [d], if it is the best."""
    hidden = inputs
    for matrix, bias in zip(self.pair.weights, self.pair.biases, strict=True):
      hidden = np.maximum(hidden @ matrix + bias, 0)
    value = float(hidden @ self.goal + self.constant)
    if value > self.value:
      self.value, self.inputs = value, inputs

  def _branch(self, phases: np.ndarray, bounds: np.ndarray,
              scores: np.ndarray) -> None:
    """Splits each region at the unit that matters most."""
    if not len(phases):
      return
    free = (phases == 0) & (np.hstack(self.ranges.low) < 0) & (
        np.hstack(self.ranges.high) > 0)
    # Where nothing is left to split, the relaxation is no relaxation: its own
    # duals give the bound, up to rounding.
    is_leaf = ~free.any(axis=1)
    for phase, bound in zip(phases[is_leaf], bounds[is_leaf], strict=True):
      solved = self._solve(phase)
      one = phase[None], np.array([bound]), scores[:1]
      if solved is not None:
        one = self._apply(solved, *one, -np.inf)
      self._close(one[1])
    phases, bounds, scores, free = (
        array[~is_leaf] for array in (phases, bounds, scores, free))
    unit = np.argmax(np.where(free, scores, -1), axis=1)
    for phase in (1, -1):
      child = phases.copy()
      child[np.arange(len(child)), unit] = phase
      self._phases = np.vstack([self._phases, child])
      self._bounds = np.hstack([self._bounds, bounds])
