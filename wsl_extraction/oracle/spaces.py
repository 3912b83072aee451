"""Input spaces: validation, sampling and identity of the rows of a query."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from typing import Any, Self

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import (
    LazyRows,
    canonical_dtype,
    plain_array,
    row_keys,
)


class Space(abc.ABC):
  """The inputs that a victim takes.

  Attributes:
    shape: Of one row, without the batch axis.
    low: The least value of a feature: a number, or one for each feature.
    high: The largest value.
    bounded: Whether rows outside of that range are refused. Where they are not,
      the range still tells how inputs are scaled.
  """

  shape: tuple[int, ...]
  low: Any
  high: Any
  bounded: bool

  @property
  def features(self) -> int:
    """The number of features, d."""
    return math.prod(self.shape)

  @property
  def has_range(self) -> bool:
    """True if all features have a least and a largest value."""
    low, high = float(np.min(self.low)), float(np.max(self.high))
    return math.isfinite(low) and math.isfinite(high) and low < high

  @property
  def value_range(self) -> tuple[float, float]:
    """The least and the largest value of all features; (-1, 1) without one."""
    return (float(np.min(self.low)), float(np.max(self.high))) if (
        self.has_range) else (-1.0, 1.0)

  def checked(self, rows: Any) -> np.ndarray | LazyRows:
    """Rows as a plain array, once they are seen to lie in the space.

    Args:
      rows: Real numbers [n, *shape]: an array, what NumPy makes one of, or
        `LazyRows`, which stay what they are.

    Returns:
      uint8, float32 or float64 [n, *shape]; never of a subclass of arrays.

    Raises:
      InputError: The shape or the type is another, a number is not finite, or
        lies outside of the range.
    """
    if not isinstance(rows, LazyRows):
      rows = plain_array(rows)
    shape = tuple(map(int, rows.shape))
    if not shape or shape[1:] != self.shape:
      raise InputError(
          f"a query has shape {shape}; the oracle takes "
          f"(n, {', '.join(map(str, self.shape))})")
    if isinstance(rows, LazyRows):
      return rows
    rows = canonical_dtype(rows)
    self._check_numbers(rows)
    if self.bounded and rows.size:
      outside = (rows < self.low) | (rows > self.high)
      if outside.any():
        row = int(np.argmax(outside.reshape(len(rows), -1).any(axis=1)))
        low, high = self.value_range
        raise InputError(f"row {row} of a query holds values outside of "
                         f"{low:g} to {high:g}, the range of the inputs")
    return rows

  def _check_numbers(self, rows: np.ndarray) -> None:
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
      finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
      raise InputError(f"row {int(np.argmin(finite))} of a query holds NaN or "
                       "infinity; remove it")

  def unbounded(self) -> Self:
    """The same space, which refuses no row for being outside of the range."""
    space = copy.copy(self)
    _set(space, "bounded", False)
    return space

  def keys(self, rows: np.ndarray | LazyRows) -> list[bytes]:
    """The identities of checked rows: 16 bytes of BLAKE2b each.

    Rows of equal numbers have equal keys, whatever the dtype; `LazyRows` have
    keys of their own.
    """
    if isinstance(rows, LazyRows):
      return list(rows.keys)
    return row_keys(rows)

  def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random rows float64 [n, *shape].

    A feature of a finite range is uniform in it, any other standard normal.
    """
    low, high = (np.broadcast_to(np.asarray(end, np.float64), self.shape)
                 for end in (self.low, self.high))
    finite = np.isfinite(low) & np.isfinite(high)
    drawn = rng.uniform(np.where(finite, low, 0), np.where(finite, high, 1),
                        (n, *self.shape))
    normal = rng.standard_normal((n, *self.shape))
    return np.clip(np.where(finite, drawn, normal), low, high)


@dataclasses.dataclass(frozen=True)
class Images(Space):
  """Images [height, width, channels] with values from `low` to `high`."""

  height: int
  width: int
  channels: int
  low: float = 0.0
  high: float = 255.0
  bounded: bool = True

  def __post_init__(self):
    for name in ("height", "width", "channels"):
      _set(self, name, checks.whole(f"Images.{name}", getattr(self, name), 1))
    for name in ("low", "high"):
      _set(self, name, checks.number(f"Images.{name}", getattr(self, name)))
    if self.low >= self.high:
      raise InputError(f"Images.low is {self.low:g} and Images.high "
                       f"{self.high:g}; give black first, then white")
    _set(self, "bounded", checks.flag("Images.bounded", self.bounded))

  @property
  def shape(self) -> tuple[int, int, int]:
    """(height, width, channels)."""
    return self.height, self.width, self.channels


@dataclasses.dataclass(frozen=True)
class Vectors(Space):
  """Vectors of real features.

  Attributes:
    size: The number of features, d.
    low: The least value: a number for all features or one for each; may be
      minus infinity.
    high: The largest value, likewise.
    bounded: See `Space`.
    names: Of the features, d of them, where they have any.
  """

  size: int
  low: Any = -math.inf
  high: Any = math.inf
  bounded: bool = True
  names: tuple[str, ...] | None = None

  def __post_init__(self):
    _set(self, "size", checks.whole("Vectors.size", self.size, 1))
    for name in ("low", "high"):
      _set(self, name, self._limit(name, getattr(self, name)))
    if not (np.asarray(self.low) < np.asarray(self.high)).all():
      raise InputError(f"Vectors.low is {self.low} and Vectors.high "
                       f"{self.high}; give the lower end first")
    _set(self, "bounded", checks.flag("Vectors.bounded", self.bounded))
    if self.names is not None and len(self.names) != self.size:
      checks.refuse("Vectors.names", self.names, f"{self.size} names", True)

  def _limit(self, name: str, value: Any) -> float | tuple[float, ...]:
    try:
      array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
      array = np.empty((0, 0))
    if array.shape not in ((), (self.size,)) or np.isnan(array).any():
      checks.refuse(f"Vectors.{name}", value, "a number, or one for each of "
                    f"{self.size} features")
    return tuple(map(float, array)) if array.ndim else float(array)

  @property
  def shape(self) -> tuple[int]:
    """(size,)."""
    return (self.size,)


def _set(space: Space, name: str, value: Any) -> None:
  object.__setattr__(space, name, value)
