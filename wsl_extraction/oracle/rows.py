"""Rows of queries: plain arrays, files that stand for arrays, identities."""

from __future__ import annotations

import abc
import hashlib
import math
from typing import Any

import numpy as np

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

  def fetched(self) -> LazyRows:
    """The same rows for another host: read, and still to be decoded."""
    return self

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


def plain_array(rows: Any) -> np.ndarray:
  """A copy of rows as an array, of no subclass.

  Raises:
    InputError: They are no array.
  """
  try:
    # A copy: what is paid for must not change afterwards.
    return np.array(rows, subok=False)
  except (TypeError, ValueError) as error:
    raise InputError("a query is no array of numbers; give real numbers "
                     "[n, ...]") from error


def canonical_dtype(rows: np.ndarray) -> np.ndarray:
  """The array as uint8, float32 or float64, of equal numbers.

  Raises:
    InputError: It does not hold real numbers, or too large whole ones.
  """
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
