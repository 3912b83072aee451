"""Input spaces: validation, sampling and identity of the rows of a query."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError

# Whole numbers beyond this are rounded by float64.
_LARGEST_WHOLE = 2**53


class LazyRows(abc.ABC):
  """Rows that are made only when they are looked at, such as image files.

  They stand for an array [n, ...] that `numpy.asarray` makes.

  Attributes:
    shape: Of that array.
    dtype: Of that array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype

  @property
  @abc.abstractmethod
  def keys(self) -> list[bytes]:
    """The identities of the rows, n of them."""

  @abc.abstractmethod
  def anonymous(self) -> LazyRows:
    """The same rows without classes, names, or a way to any other rows."""

  @abc.abstractmethod
  def __len__(self) -> int:
    """n."""

  @abc.abstractmethod
  def __getitem__(self, rows: Any) -> Any:
    """Some of the rows, by a slice or an array of positions."""

  @abc.abstractmethod
  def __array__(self, dtype: Any = None, copy: bool | None = None
                ) -> np.ndarray:
    """The array, made now."""


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
  def value_range(self) -> tuple[float, float]:
    """The least and the largest value of all features; (-1, 1) without one."""
    low, high = float(np.min(self.low)), float(np.max(self.high))
    return (low, high) if math.isfinite(low) and math.isfinite(high) and (
        low < high) else (-1.0, 1.0)

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
      rows = _plain_array(rows)
    shape = tuple(map(int, rows.shape))
    if not shape or shape[1:] != self.shape:
      raise InputError(
          f"a query has shape {shape}; the oracle takes "
          f"(n, {', '.join(map(str, self.shape))})")
    if isinstance(rows, LazyRows):
      return rows
    rows = _canonical_dtype(rows)
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
  def shape(self) -> tuple[int, int, int]:  # type: ignore[override]
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
  """

  size: int
  low: Any = -math.inf
  high: Any = math.inf
  bounded: bool = True

  def __post_init__(self):
    _set(self, "size", checks.whole("Vectors.size", self.size, 1))
    for name in ("low", "high"):
      _set(self, name, self._limit(name, getattr(self, name)))
    if not (np.asarray(self.low) < np.asarray(self.high)).all():
      raise InputError(f"Vectors.low is {self.low} and Vectors.high "
                       f"{self.high}; give the lower end first")
    _set(self, "bounded", checks.flag("Vectors.bounded", self.bounded))

  def _limit(self, name: str, value: Any) -> float | tuple[float, ...]:
    try:
      array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
      array = np.empty((0, 0))
    if array.shape not in ((), (self.size,)) or np.isnan(array).any():
      checks.refuse(f"Vectors.{name}", value, "a number, or one for each of "
                    f"{self.size} features")
    return tuple(array.tolist()) if array.ndim else float(array)

  @property
  def shape(self) -> tuple[int]:  # type: ignore[override]
    """(size,)."""
    return (self.size,)


@dataclasses.dataclass(frozen=True)
class Continuous:
  """A column of real numbers from `low` to `high`."""

  name: str
  low: float = -math.inf
  high: float = math.inf


@dataclasses.dataclass(frozen=True)
class Categorical:
  """A column of categories, which rows hold by their place in `values`."""

  name: str
  values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Table(Space):
  """Rows of a table, as real numbers [d].

  Attributes:
    columns: `Continuous` or `Categorical`, d of them.
    missing: Whether an entry may be missing, which is NaN.
    bounded: See `Space`; categories are checked in any case.
  """

  columns: tuple[Continuous | Categorical, ...]
  missing: bool = False
  bounded: bool = True

  def __post_init__(self):
    columns = self.columns
    if not isinstance(columns, Sequence) or not columns or not all(
        isinstance(one, (Continuous, Categorical)) for one in columns):
      checks.refuse("Table.columns", columns, "a list of Continuous and "
                    "Categorical columns, at least one")
    _set(self, "columns", tuple(columns))
    for name in ("missing", "bounded"):
      _set(self, name, checks.flag(f"Table.{name}", getattr(self, name)))

  @property
  def shape(self) -> tuple[int]:  # type: ignore[override]
    """(d,)."""
    return (len(self.columns),)

  @property
  def low(self) -> np.ndarray:  # type: ignore[override]
    """The least value of each column, [d]; 0 of categories."""
    return np.array([0.0 if isinstance(one, Categorical) else one.low
                     for one in self.columns])

  @property
  def high(self) -> np.ndarray:  # type: ignore[override]
    """The largest value of each column, [d]; the last category's place."""
    return np.array([
        len(one.values) - 1.0 if isinstance(one, Categorical) else one.high
        for one in self.columns])

  def _check_numbers(self, rows: np.ndarray) -> None:
    present = ~np.isnan(rows) if self.missing and rows.dtype.kind == "f" else (
        np.ones(rows.shape, bool))
    super()._check_numbers(np.where(present, rows, 0))
    for place, column in enumerate(self.columns):
      if not isinstance(column, Categorical):
        continue
      codes = rows[present[:, place], place]
      if ((codes != np.floor(codes)) | (codes < 0)
          | (codes >= len(column.values))).any():
        raise InputError(
            f"column {column.name!r} of a query holds other numbers than the "
            f"places 0 to {len(column.values) - 1} of its categories")

  def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
    rows = super().sample(n, rng)
    for place, column in enumerate(self.columns):
      if isinstance(column, Categorical):
        rows[:, place] = rng.integers(0, len(column.values), n)
    return rows


def row_keys(rows: np.ndarray) -> list[bytes]:
  """The identities of rows [n, ...]: 16 bytes of BLAKE2b each.

  A row is digested in the smallest of uint8, float32 and float64 that holds all
  of its numbers exactly, so that the key follows from the numbers alone.
  """
  if rows.dtype == np.uint8:
    return _digests(rows)
  size = math.prod(rows.shape[1:])
  flat = rows.reshape(len(rows), size).astype(np.float64) + 0.0  # no -0
  with np.errstate(over="ignore", invalid="ignore"):
    single = flat.astype(np.float32)
    is_byte = ((flat == np.floor(flat)) & (flat >= 0)
               & (flat <= 255)).all(axis=1)
    is_single = ((single == flat) | np.isnan(flat)).all(axis=1) & ~is_byte
  flat[np.isnan(flat)] = np.nan  # of one bit pattern
  single[np.isnan(single)] = np.nan
  keys: list[bytes] = [b""] * len(rows)
  for chosen, array, dtype in (
      (is_byte, flat, np.uint8), (is_single, single, np.float32),
      (~is_byte & ~is_single, flat, np.float64)):
    places = np.flatnonzero(chosen)
    exact = array[places].astype(dtype).reshape(-1, *rows.shape[1:])
    for place, key in zip(places, _digests(exact), strict=True):
      keys[place] = key
  return keys


def _digests(rows: np.ndarray) -> list[bytes]:
  kind = f"{rows.dtype.newbyteorder('<').str}{rows.shape[1:]}".encode()
  start = hashlib.blake2b(kind, digest_size=16)
  digests = []
  for row in np.ascontiguousarray(rows):
    digest = start.copy()
    digest.update(row)
    digests.append(digest.digest())
  return digests


def _plain_array(rows: Any) -> np.ndarray:
  try:
    # A copy: what is paid for must not change afterwards.
    return np.array(rows, subok=False)
  except (TypeError, ValueError) as error:
    raise InputError("a query is no array of numbers; give real numbers "
                     "[n, ...]") from error


def _canonical_dtype(rows: np.ndarray) -> np.ndarray:
  """The array as uint8, float32 or float64, of equal numbers."""
  kind = rows.dtype.kind
  if kind not in "uif":
    raise InputError(f"a query has dtype {rows.dtype}; give real numbers")
  if rows.dtype == np.uint8:
    return rows
  if kind == "f":
    wide = rows.dtype.itemsize > 4
    return rows.astype(np.float64 if wide else np.float32, copy=False)
  if rows.size and (int(rows.min()) < -_LARGEST_WHOLE
                    or int(rows.max()) > _LARGEST_WHOLE):
    raise InputError("a query holds a whole number beyond 2^53; give smaller "
                     "ones")
  if not rows.size or (rows.min() >= 0 and rows.max() <= 255):
    return rows.astype(np.uint8)
  return rows.astype(np.float64)


def _set(space: Space, name: str, value: Any) -> None:
  object.__setattr__(space, name, value)
