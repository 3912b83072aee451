"""The rows of one unit, and of a unit and its twin; see `program`."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from wsl_extraction.equivalence.program import Builder, down, up
from wsl_extraction.equivalence.twins import Layer


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
  """Places and ranges of a layer's variables.

  Attributes:
    places: Of p or e; -1 where it is 0.
    low: [m].
    high: [m].
    on: Places of binaries; -1 where the sign is known.
    is_on: Whether it is on wherever, where the sign is known.
  """

  places: np.ndarray
  low: np.ndarray
  high: np.ndarray
  on: np.ndarray
  is_on: np.ndarray

  @property
  def sizes(self) -> np.ndarray:
    """The largest that the variables can be, [m]."""
    return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclasses.dataclass(frozen=True, eq=False)
class Terms:
  """values . v[places] + bias, to within doubt.

  Attributes:
    places: [k].
    values: [k].
    bias: A number.
    doubt: The most that it is off.
  """

  places: np.ndarray
  values: np.ndarray
  bias: float
  doubt: float


def of_unit(builder: Builder, units: Units, layer: Layer, unit: int, z: Terms,
            least: float, most: float) -> None:
  """Adds the rows that make h = max(0, z), three of them for an unknown sign.

  Args:
    builder: Takes them.
    units: The variables of the layer.
    layer: Its functions.
    unit: One of its units.
    z: The unit's input, of the variables below.
    least: z is at least this.
    most: It is at most this.
  """
  own, values = _output(units, layer, unit)
  places = np.concatenate([own, z.places])
  apart = np.concatenate([values, -z.values])
  on = units.on[unit]
  if on >= 0:
    builder.row(places, apart, lower=down(z.bias - z.doubt))
    builder.row(np.append(places, on), np.append(apart, -least),
                upper=up(up(z.bias + z.doubt) - least))
    builder.row(np.append(own, on), np.append(values, -most), upper=0.0)
    if len(own) > 1:  # of a twin; others have it in their column
      builder.row(own, values, lower=0.0)
  elif units.is_on[unit]:
    builder.row(places, apart, down(z.bias - z.doubt), up(z.bias + z.doubt))
  elif len(own):
    builder.row(own, values, 0.0, 0.0)  # a twin that is off


def of_twin(builder: Builder, units: Units, layer: Layer, unit: int,
            apart: Terms) -> None:
  """Adds the four rows of the difference e of a unit and its twin.

  Args:
    builder: Takes them.
    units: The variables of the layer.
    layer: Its functions.
    unit: One of its units that has a partner.
    apart: D, of the variables below.
  """
  partner, place = layer.partner[unit], units.places[unit]
  low, high = float(units.low[unit]), float(units.high[unit])
  alone = Terms(np.array([place]), np.array([1.0]), 0.0, 0.0)
  both = dataclasses.replace(
      apart, places=np.append(apart.places, place),
      values=np.append(-apart.values, 1.0))
  # e <= high b_q and e - D <= low (b_q - 1); e >= low b_p and
  # e - D >= high (b_p - 1).
  _switched(builder, units, unit, alone, high, "upper")
  _switched(builder, units, unit, both, low, "upper", is_reversed=True)
  _switched(builder, units, partner, alone, low, "lower")
  _switched(builder, units, partner, both, high, "lower", is_reversed=True)


def _output(units: Units, layer: Layer, unit: int
            ) -> tuple[np.ndarray, np.ndarray]:
  """The output h of a unit: places and values."""
  terms = [(units.places[unit], 1.0)]
  partner = layer.partner[unit]
  if partner >= 0:
    terms.append((units.places[partner], layer.ratio[unit]))
  terms = [term for term in terms if term[0] >= 0]
  return (np.array([place for place, _ in terms], int),
          np.array([value for _, value in terms]))


def _switched(builder: Builder, units: Units, unit: int, terms: Terms,
              bound: float, side: Literal["lower", "upper"], *,
              is_reversed: bool = False) -> None:
  """terms <= bound b + bias, or bound (b - 1) + bias, or >= for "lower"."""
  is_upper = side == "upper"
  places, values, on = terms.places, terms.values, units.on[unit]
  shift = -bound if is_reversed else 0.0
  if on >= 0:
    places, values = np.append(places, on), np.append(values, -bound)
  elif units.is_on[unit]:
    shift += bound
  edge = up(terms.bias + terms.doubt) if is_upper else down(
      terms.bias - terms.doubt)
  if shift:
    edge = up(edge + shift) if is_upper else down(edge + shift)
  builder.row(places, values, **{side: edge})
