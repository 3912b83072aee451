"""Bounds on the largest difference of two networks, and their refinement.

An object of `Comparison` holds the best input met, whose difference is exact,
and for each output a bound that is proved; its methods improve both.
"""

from __future__ import annotations

import dataclasses
import fractions
from collections.abc import Callable, Mapping

import numpy as np

from wsl_extraction.equivalence import (
    backward,
    bounds,
    hill_climbing,
    matching,
    simplify,
)
from wsl_extraction.equivalence.branch_and_bound import Tree
from wsl_extraction.equivalence.clock import Clock, as_exact, as_float
from wsl_extraction.equivalence.domains import Box, Corners, Domain
from wsl_extraction.equivalence.encoding import Encoder, is_too_large
from wsl_extraction.equivalence.enumeration import Enumeration
from wsl_extraction.equivalence.simplex import Simplex
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

# The share of the time that is left for trees when ranges are tightened.
_REST = 0.5
# Of the largest output, what two roundings of it may differ by.
_RESOLUTION = 2.0**-46


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
    # Half of the time at most goes into this.
    start = self.clock.left / 2
    pair = simplify.simplified(bounds.Pair.of(self.f, self.g))
    box = (self.domain.low, self.domain.high,
           lambda: self.clock.left <= start)
    ranges = backward.tightened(pair, *box)
    self.pair = simplify.without_idle(pair, ranges)
    self._ranges = ranges if self.pair.sizes == pair.sizes else (
        backward.tightened(self.pair, *box))
    # Exact where nothing is left, and 0 for copies.
    size, error = np.abs(self.pair.offset), self.pair.offset_error
    self.upper = np.where(
        self.pair.readout.any(axis=0) | ~np.isfinite(size + error), np.inf,
        np.nextafter(size, np.where(error > 0, np.inf, size)))
    for multipliers in backward.plain_multipliers(self._ranges):
      if self.clock.left <= 0:
        break
      self.upper = np.minimum(self.upper, self._passed(multipliers))
    matched = None if self.clock.left <= 0 else matching.matched_bound(
        self.f, self.g, self.domain)
    if matched is not None:
      self.upper = np.minimum(self.upper, matched)
    self.regions, self._float_value = 0, -np.inf

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

  def climb(self, seed: int, samples: int = 10_000, rounds: int = 25) -> None:
    """Looks for inputs by sampling and `hill_climbing.climbed`."""
    rng = np.random.default_rng(seed)
    for inputs in hill_climbing.climbed(
        self.pair, self.domain, rng, samples, rounds,
        lambda: self.clock.left <= 0):
      self._offered(inputs)
      if self.clock.left <= 0:
        break
    if self.inputs is None:  # NaN wherever it looked
      self.offer(np.clip(0.0, self.domain.low, self.domain.high))

  def prove(self, target: Callable[[float], float], stop: float) -> None:
    """Improves bounds until all are at most target(value), or time is up.

    Args:
      target: Maps the best value met to the bound that is good enough.
      stop: Stops when an exact |f - g| is above it.
    """
    # Closer than float64 tells the outputs apart, no bound is worth the time.
    def limit(value: float) -> float:
      return max(target(value), self._resolution())

    if isinstance(self.domain, Corners):
      self._enumerate(limit, stop)
      return
    started = self.clock.left
    if started <= 0 or is_too_large(self.pair):
      return
    encoding = Encoder(
        self.pair, self._ranges, self.domain.low, self.domain.high,
        lambda: self.clock.left - started * _REST).encoding()
    if encoding is None:
      return
    simplex = Simplex(encoding.program)
    trees = {(output, sign): Tree(encoding, simplex, goal, self._offered)
             for output in np.argsort(-self.upper, kind="stable").tolist()
             for sign in (1.0, -1.0)
             if (goal := encoding.goal(output, sign)) is not None}
    # Each gets its share of the time, then the unfinished ones what is left.
    for _ in range(2):
      open_ones = [place for place, tree in trees.items()
                   if self.upper[place[0]] > limit(self.value)
                   and not tree.is_done]
      for number, place in enumerate(open_ones):
        if self.clock.left <= 0 or self.lower > stop:
          break
        self._grow(trees[place], limit, stop, self.clock.seconds + (
            self.clock.left / (len(open_ones) - number)))
        self._note(trees, place[0])

  def _resolution(self) -> float:
    """What float64 cannot tell apart in the outputs of f and g."""
    size = np.maximum(self._ranges.high[-1], 0) @ np.abs(self.pair.readout)
    size = (size + np.abs(self.pair.offset)).max()
    return float(size) * _RESOLUTION if np.isfinite(size) else 0.0

  def _note(self, trees: Mapping[tuple[int, float], Tree],
            output: int) -> None:
    sides = [trees.get((output, sign)) for sign in (1.0, -1.0)]
    if None not in sides:
      self.upper[output] = min(self.upper[output], max(
          tree.upper for tree in sides if tree is not None))

  def _offered(self, inputs: np.ndarray) -> float:
    """Takes note of an input [d] that float64 finds better than the best."""
    inputs = np.clip(inputs, self.domain.low, self.domain.high)
    value = np.abs(self.pair.difference(inputs[None])).max()
    if value > self._float_value or not np.isfinite(value):
      self._float_value = float(value) if np.isfinite(value) else np.inf
      self.offer(inputs)
    return self.value

  def _grow(self, tree: Tree, target: Callable[[float], float],
            stop: float, until: float) -> None:
    def seconds_left() -> float:
      self.clock.say(self.value, float(self.upper.max()))
      return min(self.clock.left, until - self.clock.seconds)

    before = tree.regions
    tree.run(target, self.value, seconds_left, stop)
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
