"""Reveals beside the chain: gradients, leaves, nodes, traces, two at once."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Layout, Meter, Reveal
from wsl_extraction.oracle.spaces import Space, Vectors
from wsl_extraction.oracle.tables import Continuous, Table


@dataclasses.dataclass(frozen=True)
class Gradients(Reveal):
  """The derivatives of all outputs by the input, [c, d].

  Attributes:
    of: Of which outputs, "logits" or "scores".
  """

  of: str = "logits"
  meter: ClassVar = Meter.GRADIENT_ROWS

  def __post_init__(self):
    checks.one_of("Gradients.of", self.of, ("logits", "scores"))

  @property
  def reads(self) -> tuple[Quantity, ...]:
    """The one quantity that it is."""
    return (Quantity.LOGIT_GRADIENTS if self.of == "logits"
            else Quantity.SCORE_GRADIENTS,)

  def covers(self, other: Reveal) -> bool:
    return other == self

  def layout(self, outputs: int) -> Layout:
    return {"gradients": (None, (outputs, -1))}

  def cut(self, quantity, values):
    return {"gradients": values}

  def __str__(self) -> str:
    return f"gradients:{self.of}"


@dataclasses.dataclass(frozen=True)
class Leaf(Reveal):
  """The identity of the leaf of a decision tree that a row falls into."""

  reads: ClassVar = (Quantity.LEAVES,)

  def covers(self, other: Reveal) -> bool:
    return type(other) is Leaf

  def layout(self, outputs: int) -> Layout:
    return {"leaves": ("int64", ())}

  def cut(self, quantity, values):
    return {"leaves": values.astype(np.int64)}


@dataclasses.dataclass(frozen=True)
class Partial(Leaf):
  """The identity of the node that a row reaches, whose features may be absent.

  An absent feature is NaN. The row stops at the first node that compares one
  (Tramer et al. 2016, section 5.2); a whole row reaches a leaf.
  """

  reads: ClassVar = (Quantity.NODES,)

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, Leaf)  # `Partial` is one

  def inputs(self, space: Space) -> Space:
    """The space with absent features.

    Raises:
      InputError: NaN has another meaning there, or it has no features.
    """
    if isinstance(space, Table) and not space.missing:
      return dataclasses.replace(space, missing=True)
    if not isinstance(space, Vectors):
      raise InputError("rows with absent features are vectors, or rows of a "
                       "table without missing values; choose the reveal 'leaf'")
    names = space.names or tuple(map(str, range(space.size)))
    low, high = (np.broadcast_to(np.asarray(end, np.float64), space.shape)
                 for end in (space.low, space.high))
    return Table(tuple(map(Continuous, names, low.tolist(), high.tolist())),
                 missing=True, bounded=space.bounded)


@dataclasses.dataclass(frozen=True)
class PowerTrace(Reveal):
  """A physical measurement over the time of the computation."""

  reads: ClassVar = (Quantity.TRACES,)
  meter: ClassVar = Meter.TRACES

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, PowerTrace)

  def layout(self, outputs: int) -> Layout:
    return {"traces": ("float32", (-1,))}

  def cut(self, quantity, values):
    return {"traces": values.astype(np.float32)}


@dataclasses.dataclass(frozen=True)
class Both(Reveal):
  """Two reveals of one row; each is charged on its own meter."""

  first: Reveal
  second: Reveal

  def __post_init__(self):
    for name in ("first", "second"):
      checks.instance(f"Both.{name}", getattr(self, name), Reveal,
                      "a reveal, such as Logits()")

  @property
  def parts(self) -> tuple[Reveal, ...]:
    return (*self.first.parts, *self.second.parts)

  @property
  def reads(self) -> tuple[Quantity, ...]:
    """Those of both."""
    return (*self.first.reads, *self.second.reads)

  @property
  def scale(self) -> Quantity | None:
    """That of the one that has values."""
    return self.first.scale or self.second.scale

  def covers(self, other: Reveal) -> bool:
    return all(self.first.covers(part) or self.second.covers(part)
               for part in other.parts)

  def layout(self, outputs: int) -> Layout:
    return {**self.first.layout(outputs), **self.second.layout(outputs)}

  def cut(self, quantity, values):
    raise TypeError("each part of two reveals is cut by itself")

  def inputs(self, space: Space) -> Space:
    return self.second.inputs(self.first.inputs(space))

  def check(self, outputs, quantities):
    self.first.check(outputs, quantities)
    self.second.check(outputs, quantities)

  def __str__(self) -> str:
    return f"{self.first} + {self.second}"
