"""Inputs and outputs of a served model, as its metadata tells them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.spaces import Space

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
  """One input and one output of a model.

  Attributes:
    input: The input's name; empty where none is told.
    dtype: Of its numbers; None for that of the rows.
    shape: Of one row, None for sides of any length; None where none is told.
    batch: The most rows of one request; None for any number.
    output: The output's name; None for the only one.
    output_dtype: Of its numbers, where the answers do not tell.
    classes: The last side of the output; None where none is told.
    identity: What the service says of the model, to tell models apart.
    name: Of the signature, where a model has several.
  """

  input: str = ""
  dtype: np.dtype | None = None
  shape: Shape | None = None
  batch: int | None = None
  output: str | None = None
  output_dtype: np.dtype | None = None
  classes: int | None = None
  identity: str = ""
  name: str | None = None

  def encode(self, rows: np.ndarray) -> np.ndarray:
    """Rows in the dtype of the input.

    Raises:
      InputError: The input takes whole numbers, and some are none.
    """
    if self.dtype is None or rows.dtype == self.dtype:
      return rows
    if self.dtype.kind in "uib":
      low, high = (0, 1) if self.dtype.kind == "b" else (
          np.iinfo(self.dtype).min, np.iinfo(self.dtype).max)
      if not ((rows == np.round(rows)) & (rows >= low) & (rows <= high)).all():
        raise InputError(
            f"the service takes whole numbers from {low} to {high} "
            f"({self.dtype}), and a query holds others; give Served.value_range"
            " the range that the model was trained on, or ask about such rows")
    return rows.astype(self.dtype)


def split_batch(sides: Any) -> tuple[int | None, Shape | None]:
  """The most rows, and the shape of one, of a shape with a batch axis.

  Args:
    sides: Numbers, below 0 for any length.
  """
  shape = tuple(None if int(side) < 0 else int(side) for side in sides)
  return (shape[0], shape[1:]) if len(shape) > 1 else (None, None)


def choose(kind: str, names: list[str], name: str | None) -> str | None:
  """The named one of a model's inputs or outputs, or its only one.

  Args:
    kind: "input" or "output".
    names: What the model has; empty where it does not tell.
    name: What the user wants; None for the only one.

  Raises:
    InputError: There is none of that name, or there are several.
  """
  if not names or name in names:
    return name
  listed = ", ".join(names)
  if name is not None:
    raise InputError(f"Served.{kind} is {name!r}, and the model has {listed}; "
                     "give one of them")
  if len(names) > 1:
    raise InputError(f"the model has several {kind}s ({listed}); give "
                     f"Served.{kind}")
  return names[0]


def fit(shape: Shape | None, space: Space, channels_first: bool | None
        ) -> Callable[[np.ndarray], np.ndarray]:
  """The function that lays rows of a space out as a model takes them.

  Rows of images become flat, lose an axis of one channel, or get their channels
  first, where the model's shape says so.

  Args:
    shape: Of one row of the model.
    space: Of the rows [n, *space.shape].
    channels_first: Whether the model takes images as [d, h, w]; None tells by
      the shape.

  Raises:
    InputError: The shapes do not agree.
  """
  own = space.shape
  moved = (own[-1], *own[:-1])
  if channels_first and len(own) == 3 and _agree(shape, moved):
    return lambda rows: np.ascontiguousarray(np.moveaxis(rows, -1, 1))
  if _agree(shape, own) and not channels_first:
    return lambda rows: rows
  if channels_first is None and len(own) == 3 and _agree(shape, moved):
    return lambda rows: np.ascontiguousarray(np.moveaxis(rows, -1, 1))
  for flat in ((space.features,), own[:-1] if own[-1] == 1 else own):
    if shape is not None and _agree(shape, flat) and not channels_first:
      return lambda rows: rows.reshape(len(rows), *flat)
  told = tuple(-1 if side is None else side for side in shape or ())
  raise InputError(f"the service takes rows of shape {told}, the data has "
                   f"{own}; use the data that the model was made for")


def _agree(shape: Shape | None, own: tuple[int, ...]) -> bool:
  return shape is None or (len(shape) == len(own) and all(
      a is None or a == b for a, b in zip(shape, own, strict=True)))


def malformed(protocol: str, reason: str) -> VictimFailed:
  """The error of an answer that a protocol does not allow.

  Args:
    protocol: Its name.
    reason: What is wrong with the answer; names no value of it.
  """
  return VictimFailed(
      f"the service's answer is none of the protocol {protocol} ({reason}); "
      "see that Served.url and Served.protocol are right, and run the same "
      "command again to go on")
