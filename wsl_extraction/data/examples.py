"""Data sets: rows, labels, the space of rows and the names of classes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np

from wsl_extraction.oracle.rows import LazyRows, row_keys
from wsl_extraction.oracle.spaces import Images, Space
from wsl_extraction.oracle.tables import Table


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """Rows, in memory or in files, with their classes where known.

  Attributes:
    rows: Images [n, h, w, d], uint8 in 0..255 or float32 in 0..1, or vectors
      [n, d]; or `LazyRows`, which stand for such an array.
    labels: Class numbers int32 [n], or None.
  """

  rows: np.ndarray | LazyRows
  labels: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.rows)

  @property
  def known_labels(self) -> np.ndarray:
    """The class numbers of labelled examples, as a `Dataset` has them."""
    assert self.labels is not None, "these examples have no labels"
    return self.labels

  def take(self, indices: np.ndarray) -> Examples:
    """The examples at `indices`, an int array [m]."""
    labels = None if self.labels is None else self.labels[indices]
    return Examples(self.rows[indices], labels)

  def unlabeled(self) -> Examples:
    """The same rows, and nothing that tells their classes or other rows."""
    rows = self.rows
    if isinstance(rows, LazyRows):
      return Examples(rows.anonymous())
    # A view has a `base`, which holds the rows around it too.
    return Examples(rows if rows.base is None else rows.copy())

  @functools.cached_property
  def keys(self) -> list[bytes]:
    """The identities of the rows; see `Space.keys`."""
    if isinstance(self.rows, LazyRows):
      return list(self.rows.keys)
    return row_keys(self.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """A labelled data set.

  Attributes:
    name: How it was asked for.
    train: The examples to be split.
    test: The held-out examples, or None where there are none.
    class_names: The c names of the classes, in the order of the labels.
    space: The inputs: the shape and the range of the rows.
    pool: The data set of the adversary's pool, where it is another.
  """

  name: str
  train: Examples
  test: Examples | None
  class_names: tuple[str, ...]
  space: Space
  pool: Dataset | None = None

  @property
  def num_classes(self) -> int:
    """The number of classes, c."""
    return len(self.class_names)

  @functools.cached_property
  def fingerprint(self) -> str:
    """32 hex digits that differ when class names, rows or labels do.

    Those of the pool's data set included.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(self.class_names).encode(errors="surrogateescape"))
    if isinstance(self.space, Table):
      digest.update(repr(self.space.columns).encode(errors="surrogateescape"))
    for part in (self.train, self.test):
      arrays = (None, None) if part is None else (part.rows, part.labels)
      for array in arrays:
        if isinstance(array, LazyRows):
          array = np.frombuffer(b"".join(array.keys), np.uint8)
        known = np.empty(0) if array is None else np.ascontiguousarray(array)
        digest.update(f"{known.dtype.str}{known.shape}".encode())
        digest.update(known.data)
    if self.pool is not None:
      digest.update(self.pool.fingerprint.encode())
    return digest.hexdigest()


def image_dataset(name: str, train: Examples, test: Examples | None,
                  class_names: tuple[str, ...],
                  value_range: tuple[float, float] = (0.0, 255.0)) -> Dataset:
  """A data set of images, whose black and white are `value_range`."""
  height, width, channels = map(int, train.rows.shape[1:])
  low, high = map(float, value_range)
  space = Images(height, width, channels, low, high)
  return Dataset(name, train, test, class_names, space)
