"""Reveals: the part of a victim's answer that an adversary sees.

They are partially ordered: one covers another if the other's response can be
computed from its own. `Label`, `LabelScore`, `TopK`, `Scores` and `Logits` are
a chain (Jagielski et al. 2020, section 3.4.3); gradients, leaves and traces
stand beside it.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import re
from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.spaces import Space

# Name -> (dtype, shape of a row). A dtype of None is the victim's own, as is
# a side of -1.
Layout = Mapping[str, tuple[str | None, tuple[int, ...]]]


class Meter(enum.Enum):
  """The unit in which a query is charged."""

  ROWS = "rows"
  GRADIENT_ROWS = "gradient rows"
  TRACES = "traces"


class Reveal(abc.ABC):
  """The part of a victim's answer that an oracle shows.

  Attributes:
    reads: The quantities from which it can be made, the best first.
    meter: On which a row is charged.
    scale: Whether its values are probabilities or logits; None without values.
  """

  reads: ClassVar[tuple[Quantity, ...]]
  meter: ClassVar[Meter] = Meter.ROWS
  scale: ClassVar[Quantity | None] = None

  @property
  def parts(self) -> tuple[Reveal, ...]:
    """Its parts, each made from one quantity."""
    return (self,)

  @property
  def meters(self) -> tuple[Meter, ...]:
    """The meters of all parts, each once."""
    return tuple(dict.fromkeys(part.meter for part in self.parts))

  @abc.abstractmethod
  def covers(self, other: Reveal) -> bool:
    """True if another's response can be computed from this one's."""

  @abc.abstractmethod
  def layout(self, outputs: int) -> Layout:
    """The arrays of a response to a victim of `outputs` classes."""

  @abc.abstractmethod
  def cut(self, quantity: Quantity, values: np.ndarray) -> Mapping[
      str, np.ndarray]:
    """The revealed arrays of a victim's values, which are rounded already.

    Args:
      quantity: What the values are, one of `reads`; probabilities where the
        reveal has such values and the victim gives logits.
      values: [n, c], or what else the quantity consists of.
    """

  def check(self, outputs: int, quantities: Collection[Quantity]) -> None:
    """Makes sure that a victim can give it.

    Args:
      outputs: The number of classes, c.
      quantities: What the victim computes.

    Raises:
      InputError: It cannot.
    """
    del outputs
    if not set(self.reads) & set(quantities):
      raise InputError(
          f"the reveal '{self}' needs a victim that gives "
          f"{' or '.join(one.value for one in self.reads)}; this one gives "
          f"{checks.listed(one.value for one in quantities)}: choose another")

  def inputs(self, space: Space) -> Space:
    """The rows that it answers, of a victim of that space."""
    return space

  def __str__(self) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


@dataclasses.dataclass(frozen=True)
class Label(Reveal):
  """The most likely class; the lower one of equals."""

  reads: ClassVar = (Quantity.LOGITS, Quantity.PROBABILITIES,
                     Quantity.TOP_SCORES, Quantity.LABELS)

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, Label)

  def layout(self, outputs: int) -> Layout:
    return {"classes": ("int32", (1,))}

  def cut(self, quantity, values):
    if quantity is Quantity.LABELS:
      return {"classes": values.astype(np.int32)}
    return {"classes": np.argmax(values, axis=1).astype(np.int32)[:, None]}


class _Named(Reveal):
  """The k most likely classes and their probabilities."""

  reads: ClassVar = (Quantity.PROBABILITIES, Quantity.LOGITS,
                     Quantity.TOP_SCORES)
  scale: ClassVar = Quantity.PROBABILITIES
  k: int

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, Label) or (
        isinstance(other, _Named) and other.k <= self.k)

  def layout(self, outputs: int) -> Layout:
    return {"classes": ("int32", (self.k,)), "values": (None, (self.k,))}

  def cut(self, quantity, values):
    classes = _largest(values, self.k)
    return {"classes": classes,
            "values": np.take_along_axis(values, classes, axis=1)}


@dataclasses.dataclass(frozen=True)
class LabelScore(_Named):
  """The most likely class and its probability."""

  k: ClassVar = 1


@dataclasses.dataclass(frozen=True)
class TopK(_Named):
  """The k most likely classes and their probabilities, in that order."""

  k: int

  def __post_init__(self):
    object.__setattr__(self, "k", checks.whole("TopK.k", self.k, 1))

  def check(self, outputs, quantities):
    super().check(outputs, quantities)
    if self.k > outputs:
      raise InputError(f"TopK.k is {self.k}; give a whole number from 1 to "
                       f"{outputs}, the number of classes")

  def __str__(self) -> str:
    return f"top_k:{self.k}"


@dataclasses.dataclass(frozen=True)
class Scores(Reveal):
  """The probabilities of all classes."""

  reads: ClassVar = (Quantity.PROBABILITIES, Quantity.LOGITS)
  scale: ClassVar = Quantity.PROBABILITIES

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, (Label, _Named, Scores))

  def layout(self, outputs: int) -> Layout:
    return {"values": (None, (outputs,))}

  def cut(self, quantity, values):
    return {"values": values}


@dataclasses.dataclass(frozen=True)
class Logits(Reveal):
  """The logits of all classes."""

  reads: ClassVar = (Quantity.LOGITS,)
  scale: ClassVar = Quantity.LOGITS

  def covers(self, other: Reveal) -> bool:
    return isinstance(other, (Label, _Named, Scores, Logits))

  def layout(self, outputs: int) -> Layout:
    return {"values": (None, (outputs,))}

  def cut(self, quantity, values):
    return {"values": values}

  def check(self, outputs, quantities):
    if Quantity.LOGITS not in quantities:
      raise InputError("the reveal 'logits' needs a victim that gives logits; "
                       "this one gives probabilities: choose the reveal "
                       "'scores'")


def _largest(values: np.ndarray, count: int) -> np.ndarray:
  """Classes int32 [n, count] by value; of equal ones the lower comes first."""
  if count == 1:
    return np.argmax(values, axis=1).astype(np.int32)[:, None]
  return np.argsort(-values, axis=1, kind="stable")[:, :count].astype(np.int32)
