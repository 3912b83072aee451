"""Rows of a data set as a model wants them: range, order, shape, type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.oracle.spaces import Space

DTYPES = (None, "uint8", "float16", "float32", "float64")

Answer = Callable[[np.ndarray], Any]


def check_range(where: str, value: Any) -> None:
  """Makes sure that a setting is None or the ends of a range.

  Raises:
    InputError: It is neither.
  """
  good = value is None or (
      isinstance(value, (tuple, list)) and len(value) == 2
      and all(map(checks.is_number, value)) and value[0] < value[1])
  if not good:
    checks.refuse(where, value, "the least and the largest value, such as "
                  "(0, 1)", True)


def rescaled(answer: Answer, space: Space,
             value_range: tuple[float, float] | None) -> Answer:
  """A function of rows in the range of the space, from one of another range.

  Raises:
    InputError: The space has no range to convert from.
  """
  if value_range is not None and not space.has_range:
    checks.refuse("value_range", value_range, "None, as the features of these "
                  "rows have no common range to convert from")
  low, high = space.value_range
  new_low, new_high = value_range or (low, high)
  if (low, high) == (new_low, new_high):
    return answer
  scale = (new_high - new_low) / (high - low)
  return lambda rows: answer(
      new_low + (rows.astype(np.float32) - low) * scale)


def prepared(answer: Answer, space: Space, *,
             value_range: tuple[float, float] | None = None,
             channels_first: bool = False, dtype: str | None = None) -> Answer:
  """A function of rows of the space, from one that wants them otherwise.

  Args:
    answer: Gets what the options say.
    space: The inputs.
    value_range: What black and white are; None leaves them.
    channels_first: Whether images [n, h, w, d] become [n, d, h, w].
    dtype: Of the array; whole numbers are rounded to.

  Raises:
    InputError: The rows are no images, and have no channels.
  """
  if channels_first and len(space.shape) != 3:
    checks.refuse("channels_first", channels_first, "False, as the rows have "
                  f"shape {space.shape} and no channels")

  def typed(rows: np.ndarray) -> Any:
    if channels_first:
      # Contiguous: what wraps arrays of its own often wants that.
      rows = np.ascontiguousarray(np.moveaxis(rows, -1, 1))
    if dtype is not None and rows.dtype != dtype:
      rows = (np.rint(rows) if dtype == "uint8" else rows).astype(dtype)
    return answer(rows)

  return rescaled(typed, space, value_range)


def arranged(answer: Answer, shape: Any,
             row_shape: tuple[int, ...]) -> Answer | None:
  """A function of rows [n, *row_shape], from one that wants another layout.

  Args:
    answer: Wants rows [n, *shape[1:]], of the same numbers as flat rows, images
      with channels first, or grey images without a channel.
    shape: (None, ...), as Keras gives it; None stands for any size.
    row_shape: Of the rows that there are; images have channels last.

  Returns:
    None where the numbers of a row do not fit.
  """
  if not isinstance(shape, tuple):
    return None
  wanted = shape[1:]
  if agree(wanted, row_shape):
    return answer
  if len(row_shape) == 3 and agree(
      wanted, (row_shape[-1], *row_shape[:-1])):
    return lambda rows: answer(np.ascontiguousarray(np.moveaxis(rows, -1, 1)))
  if None not in wanted and math.prod(wanted) == math.prod(row_shape) and (
      1 in (len(wanted), len(row_shape)) or agree((*wanted, 1), row_shape)):
    return lambda rows: answer(rows.reshape(len(rows), *wanted))
  return None


def agree(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
  """True for equal shapes; None stands for any size."""
  return len(shape) == len(other) and all(
      a is None or b is None or a == b
      for a, b in zip(shape, other, strict=True))


def in_parts(answer: Callable[[np.ndarray], np.ndarray],
             batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
  """The same function, which gets at most `batch_size` rows at once."""
  return lambda rows: np.concatenate(
      [answer(rows[start:start + batch_size])
       for start in range(0, max(len(rows), 1), batch_size)])
