"""The program of two networks, built layer by layer, ranges tightened by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from wsl_extraction.equivalence import rows
from wsl_extraction.equivalence.bounds import (
  Layers,
  Pair,
  above,
  affine_range,
  below,
)
from wsl_extraction.equivalence.program import Builder, Goal, Program
from wsl_extraction.equivalence.rows import Terms, Units
from wsl_extraction.equivalence.simplex import Simplex
from wsl_extraction.equivalence.twins import Affine, Layer, layers_of

# Coefficients of a program that is kept as a dense matrix.
_LARGEST = 1 << 23


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
  """The whole program of a pair on a box.

  Attributes:
    program: Its rows and box.
    binaries: Places of the variables that tell which units are on, [k].
    floors: For each, the row that says h >= z, [k].
    ceilings: For each, the row that says h <= u b, [k].
    inputs: Places of the inputs, [d].
    outputs: f - g as functions of the last layer's variables.
    layers: For each layer its functions, and its variables.
  """

  program: Program
  binaries: np.ndarray
  floors: np.ndarray
  ceilings: np.ndarray
  inputs: np.ndarray
  outputs: Affine
  layers: tuple[tuple[Layer, Units], ...]

  def goal(self, output: int, sign: float) -> Goal | None:
    """sign (f - g) of an output, to be maximised."""
    units = self.layers[-1][1]
    exists = units.places >= 0
    return self.program.goal(
        units.places[exists], sign * self.outputs.matrix[exists, output],
        float(self.outputs.error(units.sizes)[output]),
        float(sign * self.outputs.bias[output]))


def is_too_large(pair: Pair) -> bool:
  """True for networks of which no program is made: it would be too large."""
  units = sum(pair.sizes)
  # A unit has a variable and three rows at least.
  return 3 * units * (len(pair.weights[0]) + units) > _LARGEST


class Encoder:
  """Builds the program; stops tightening when it is late."""

  def __init__(self, pair: Pair, ranges: Layers, low: np.ndarray,
               high: np.ndarray, seconds_left: Callable[[], float]):
    """Begins with the inputs.

    Args:
      pair: The networks.
      ranges: Contain the inputs of all units, [m] a layer.
      low: A corner of the box, [d].
      high: The other one.
      seconds_left: What tightening may take; none is done at 0.
    """
    self._seconds_left = seconds_left
    self._builder = Builder()
    sizes = [np.maximum(np.abs(low), np.abs(high)),
             *(np.maximum(most, 0) for most in ranges.high[:-1])]
    self._layers, self._outputs = layers_of(pair, sizes)
    self._ranges = ranges
    inputs = self._builder.columns(low, high)
    self._inputs = inputs
    self._binaries: list[int] = []
    self._floors: list[int] = []
    self._done: list[tuple[Layer, Units]] = []
    self._ceilings: list[int] = []
    self._units = Units(inputs, low, high, inputs, inputs)

  def encoding(self) -> Encoding | None:
    """The program; None where it is too large, or beyond float64's range."""
    for place, layer in enumerate(self._layers):
      least, most, apart = self._layer_ranges(place, layer)
      if place and self._seconds_left() > 0:
        tightened = self._tightened(layer, least, most, apart)
        if tightened is None:
          return None
        least, most, apart = tightened
      twin = layer.partner >= 0
      apart = tuple(np.where(twin, side, 0) for side in apart)
      if not all(np.isfinite(side).all() for side in (least, most, *apart)):
        return None
      self._units = self._add(layer, least, most, *apart)
      self._done.append((layer, self._units))
      if self._builder.size > _LARGEST:
        return None
    program = self._builder.program()
    if program is None:
      return None
    binaries, floors, ceilings = (np.array(places, int) for places in (
        self._binaries, self._floors, self._ceilings))
    return Encoding(
        program, binaries, floors, ceilings, self._inputs, self._outputs,
        tuple(self._done))

  def _layer_ranges(self, place: int, layer: Layer):
    """Ranges of z and D from those of the variables below."""
    units = self._units
    sides = []
    for affine in (layer.inputs, layer.apart):
      error = affine.error(units.sizes)
      low, high = affine_range(
          units.low, units.high, affine.matrix, affine.bias)
      sides.append((below(np.nextafter(low - error, -np.inf)),
                    above(np.nextafter(high + error, np.inf))))
    (least, most), apart = sides
    return (np.maximum(least, self._ranges.low[place]),
            np.minimum(most, self._ranges.high[place]), apart)

  def _tightened(self, layer: Layer, least: np.ndarray, most: np.ndarray,
                 apart: tuple[np.ndarray, np.ndarray]):
    """Ranges of z and D by two linear programs each."""
    program = self._builder.program()
    if program is None:
      return None
    simplex, units = Simplex(program), self._units
    exists = units.places >= 0
    least, most = least.copy(), most.copy()
    near, far = apart[0].copy(), apart[1].copy()
    twin = layer.partner >= 0
    for affine, lows, highs, chosen in (
        (layer.inputs, least, most, (least < 0) & (most > 0)),
        (layer.apart, near, far, twin)):
      errors = affine.error(units.sizes)
      for unit in np.flatnonzero(chosen):
        for sign in (1.0, -1.0):
          left = self._seconds_left()
          if left <= 0:
            return least, most, (near, far)
          goal = program.goal(
              units.places[exists], sign * affine.matrix[exists, unit],
              float(errors[unit]), float(sign * affine.bias[unit]))
          if goal is None:
            continue
          simplex.aim(goal.costs)
          solved = simplex.solve(left)
          if solved is None:
            continue
          bound = program.bounded(
              *program.residual(goal.costs, solved.duals), program.low,
              program.high, goal)
          if sign > 0:
            highs[unit] = min(highs[unit], bound)
          else:
            lows[unit] = max(lows[unit], -bound)
    return least, most, (near, far)

  def _add(self, layer: Layer, least: np.ndarray, most: np.ndarray,
           near: np.ndarray, far: np.ndarray) -> Units:
    """Columns and rows of a layer."""
    builder, below_ = self._builder, self._units
    count = len(least)
    doubts, apart_doubts = (
        affine.error(below_.sizes) for affine in (layer.inputs, layer.apart))
    on, is_on = np.full(count, -1), least >= 0
    free = (least < 0) & (most > 0)
    on[free] = builder.columns(
        np.zeros(free.sum()), np.ones(free.sum()))
    self._binaries += on[free].tolist()
    twin = layer.partner >= 0
    low = np.where(twin, np.minimum(near, 0), np.maximum(least, 0))
    high = np.where(twin, np.maximum(far, 0), np.maximum(most, 0))
    places = np.full(count, -1)
    exists = (low != 0) | (high != 0)
    places[exists] = builder.columns(low[exists], high[exists])
    units = Units(places, low, high, on, is_on)
    source = below_.places >= 0
    for unit in range(count):
      if on[unit] >= 0:
        self._floors.append(builder.rows)
        self._ceilings.append(builder.rows + 2)
      rows.of_unit(builder, units, layer, unit, Terms(
          below_.places[source], layer.inputs.matrix[source, unit],
          float(layer.inputs.bias[unit]), float(doubts[unit])),
          float(least[unit]), float(most[unit]))
      if twin[unit] and places[unit] >= 0:
        rows.of_twin(builder, units, layer, unit, Terms(
            below_.places[source], layer.apart.matrix[source, unit],
            float(layer.apart.bias[unit]), float(apart_doubts[unit])))
    return units
