"""Bounds on the largest difference of two networks, and their refinement.

An object of `Comparison` holds the best input met, whose difference is exact,
and for each output a bound that is proved; its methods improve both.
"""

from __future__ import annotations

import dataclasses
import fractions
import math
import time
from collections.abc import Callable

import numpy as np

from wsl_extraction import checks
from wsl_extraction.equivalence import (
    backward,
    bounds,
    hill_climbing,
    matching,
    milp,
    relaxation,
    simplify,
)
from wsl_extraction.equivalence.branch_and_bound import Tree
from wsl_extraction.equivalence.domains import Box, Corners, Domain
from wsl_extraction.equivalence.enumeration import Enumeration
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

# Regions that a tree looks at before the solver is asked for inputs.
_FIRST_REGIONS = 20_000
_REPORT_EVERY = 1.0

Report = Callable[[float, float], None]


class Clock:
  """Seconds since it was made, and the limit; reports about once a second."""

  def __init__(self, limit: float, report: Report | None = None):
    limit = checks.number("time_limit", limit, above=0)
    self._start, self._limit = time.monotonic(), limit
    self._report, self._said = report, 0.0

  @property
  def seconds(self) -> float:
    return time.monotonic() - self._start

  @property
  def left(self) -> float:
    return self._limit - self.seconds

  def say(self, lower: float, upper: float) -> None:
    """Reports, if it is time."""
    if self._report and self.seconds - self._said >= _REPORT_EVERY:
      self._said = self.seconds
      self._report(lower, upper)


@dataclasses.dataclass(eq=False)
class Comparison:
  """Two networks on a domain.

  Attributes:
    f: A network.
    g: Another of the same input and output sizes.
    domain: Where they are compared.
    clock: Tells when to stop.
    lower: The exact |f - g| at `inputs`.
    inputs: The best input met, [d]; None before the first.
    upper: For each output, no |f - g| on the domain is above it, [c].
  """

  f: ReluNetwork
  g: ReluNetwork
  domain: Domain
  clock: Clock
  lower: fractions.Fraction = fractions.Fraction(-1)
  inputs: np.ndarray | None = None

  def __post_init__(self):
    check(self.f, self.g, self.domain)
    pair = simplify.simplified(bounds.Pair.of(self.f, self.g))
    box = self.domain.low, self.domain.high
    self.pair = simplify.without_idle(pair, backward.tightened(pair, *box))
    self._ranges = backward.tightened(self.pair, *box)
    # Exact where nothing is left, and 0 for copies.
    size, error = np.abs(self.pair.offset), self.pair.offset_error
    self.upper = np.where(
        self.pair.readout.any(axis=0) | ~np.isfinite(size + error), np.inf,
        np.nextafter(size, np.where(error > 0, np.inf, size)))
    for multipliers in backward.plain_multipliers(self._ranges):
      self.upper = np.minimum(self.upper, self._passed(multipliers))
    matched = matching.matched_bound(self.f, self.g, self.domain)
    if matched is not None:
      self.upper = np.minimum(self.upper, matched)
    self.regions = 0

  def _passed(self, multipliers: backward.Multipliers) -> np.ndarray:
    sides = [backward.backward(
        self.pair, sign * self.pair.readout.T,
        sign * self.pair.offset + self.pair.offset_error, self._ranges,
        [None] * len(self.pair.weights), self.domain.low, self.domain.high,
        multipliers).bound for sign in (1.0, -1.0)]
    return bounds.above(np.maximum(*sides))

  @property
  def best_inputs(self) -> np.ndarray:
    """The best input met, [d]; there is one after `glance`."""
    assert self.inputs is not None, "no input was evaluated"
    return self.inputs

  @property
  def value(self) -> float:
    """The best exact |f - g| met, as a float: infinite beyond float64."""
    return as_float(self.lower)

  def check(self) -> None:
    """Raises ArithmeticError where a bound is below an exact difference.

    No input does that unless this package is wrong: rather no answer then.
    """
    if not self.lower <= as_exact(float(self.upper.max())):
      raise ArithmeticError(
          f"a bound of {self.upper.max()!r} is contradicted by a difference of "
          f"{self.value!r}; please report these networks")

  def offer(self, inputs: np.ndarray) -> None:
    """Evaluates an input [d] exactly, and keeps it if it is the best."""
    if not self.domain.holds(inputs):
      return
    row = np.asarray(inputs, np.float64)[None]
    exact = max(abs(a - b) for a, b in zip(
        self.f.exact(row)[0], self.g.exact(row)[0], strict=True))
    if exact > self.lower:
      self.lower, self.inputs = exact, row[0]

  def glance(self, seed: int) -> None:
    """Looks for inputs for a few milliseconds."""
    self.climb(seed, samples=2_000, rounds=5)

  def climb(self, seed: int, samples: int = 20_000, rounds: int = 60) -> None:
    """Looks for inputs by sampling and `hill_climbing.climbed`."""
    rng = np.random.default_rng(seed)
    if self.inputs is None:
      self.offer(np.clip(0.0, self.domain.low, self.domain.high))
    for inputs in hill_climbing.climbed(
        self.pair, self.domain, rng, samples, rounds):
      self.offer(inputs)
      if self.clock.left <= 0:
        return

  def prove(self, target: Callable[[float], float], stop: float) -> None:
    """Improves bounds until all are at most target(value), or time is up.

    Args:
      target: Maps the best value met to the bound that is good enough.
      stop: Stops when an exact |f - g| is above it.
    """
    if isinstance(self.domain, Corners):
      self._enumerate(target, stop)
      return
    rows = relaxation.Rows.of(self.pair)
    self._ranges = relaxation.propagated(
        self.pair, rows, self._ranges, self.domain.low,
        self.domain.high, lambda: self.clock.left <= 0)
    trees = {(output, sign): self._tree(rows, output, sign)
             for output in np.argsort(-self.upper) for sign in (1.0, -1.0)}
    # Each gets its share of the time, then the unfinished ones what is left.
    for turn in range(2):
      open_ones = [tree for (output, _), tree in trees.items()
                   if self.upper[output] > target(self.value)
                   and not tree.is_done]
      for place, tree in enumerate(open_ones):
        if self.clock.left <= 0 or self.lower > stop:
          break
        until = self.clock.seconds + self.clock.left / (len(open_ones) - place)
        self._grow(tree, target, stop, until, is_first=turn == 0)
      for output in range(len(self.upper)):
        self.upper[output] = min(self.upper[output], max(
            trees[output, sign].upper for sign in (1.0, -1.0)))

  def _tree(self, rows: relaxation.Rows, output: int, sign: float) -> Tree:
    tree = Tree(
        self.pair, rows, self._ranges, self.domain.low,
        self.domain.high, sign * self.pair.readout[:, output],
        float(sign * self.pair.offset[output]
              + self.pair.offset_error[output]))
    tree.value = self.value
    return tree

  def _grow(self, tree: Tree, target: Callable[[float], float],
            stop: float, until: float, is_first: bool) -> None:
    """A short search, then the solver's inputs, then the rest of the time."""
    if is_first:
      self._run(tree, target, stop, lambda: (
          tree.regions > _FIRST_REGIONS or self.clock.seconds > until))
      left = until - self.clock.seconds
      if not tree.is_done and left > 0 and self.lower <= stop:
        claim = milp.maximise(
            self.pair, tree.rows, self._ranges, self.domain, tree.goal,
            tree.constant, left / 3)
        if claim.inputs is not None:
          tree.offer(claim.inputs)
          self.offer(claim.inputs)
    self._run(tree, target, stop, lambda: self.clock.seconds > until)

  def _run(self, tree: Tree, target: Callable[[float], float], stop: float,
           is_enough: Callable[[], bool]) -> None:
    def is_late() -> bool:
      self.clock.say(self.value, float(self.upper.max()))
      return self.clock.left <= 0 or is_enough()

    before = tree.regions
    # What another tree met closes regions of this one too.
    tree.value = max(tree.value, self.value)
    threshold = max(stop, tree.value)
    while not tree.is_done and not is_late() and self.lower <= stop:
      tree.run(target, is_late, threshold)
      if tree.inputs is not None:
        self.offer(tree.inputs)
      # Above `stop` in float64 need not be above it exactly.
      threshold = max(stop, tree.value)
    self.regions += tree.regions - before

  def _enumerate(self, target: Callable[[float], float], stop: float) -> None:
    blocks = Enumeration(self.pair)
    blocks.value = max(blocks.value, self.value)

    def is_late() -> bool:
      self.clock.say(blocks.value, float(self.upper.max()))
      return self.clock.left <= 0

    blocks.run(target, is_late, stop)
    if blocks.inputs is not None:
      self.offer(blocks.inputs)
    self.upper = np.minimum(self.upper, blocks.upper)
    self.regions += blocks.corners


def as_float(number: fractions.Fraction) -> float:
  """The nearest float64; infinite beyond the largest."""
  try:
    return float(number)
  except OverflowError:
    return math.copysign(math.inf, number)


def as_exact(number: float) -> fractions.Fraction | float:
  """A float as the fraction that it is; infinity stays."""
  return fractions.Fraction(number) if math.isfinite(number) else number


def check(f: ReluNetwork, g: ReluNetwork, domain: Domain) -> None:
  """Raises InputError where the networks cannot be compared."""
  for network in (f, g):
    if not isinstance(network, ReluNetwork):
      raise InputError(f"{network!r} is no ReluNetwork; make one, by "
                       "dense.network_of(model) of a Keras model say")
  if not isinstance(domain, (Box, Corners)):
    raise InputError(f"the domain is {domain!r}; give a Box or Corners")
  for what, sizes in (("inputs", (f.dimension, g.dimension)),
                      ("outputs", (f.outputs, g.outputs))):
    if sizes[0] != sizes[1]:
      raise InputError(f"the networks have {sizes[0]} and {sizes[1]} {what}; "
                       "compare networks of the same sizes")
  if domain.dimension != f.dimension:
    raise InputError(f"the domain has {domain.dimension} inputs, the networks "
                     f"have {f.dimension}; give a domain of that size")
