"""Arrays and names of data sets as the parts that an extraction needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import datasets, off_domain
from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.data.off_domain import OffDomain
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Images, Space, Vectors
from wsl_extraction.oracle.tables import Continuous, Table


def parts_of(pool: Any, test: Any = None, value_range: Any = None,
             num_classes: int | None = None) -> Parts:
  """The pool and the test set, with the space of their rows.

  Args:
    pool: Images [n, h, w, d], vectors [n, d], a DataFrame of features, the name
      of a data set, a `Dataset`, or the `Parts` of one, test set included; or
      an `OffDomain`, brought into the space of the test rows.
    test: A pair (rows, labels), rows alone, or None; of a data set None takes
      its own.
    value_range: The least and the largest value of the inputs, where the pool
      is an array; None tells by the pool.
    num_classes: c, if it is known.

  Raises:
    InputError: One of them cannot be used.
  """
  checks.whole("num_classes", num_classes, 1, optional=True)
  names = None if num_classes is None else tuple(map(str, range(num_classes)))
  if isinstance(pool, OffDomain):
    return _off_domain(pool, test, value_range, names)
  is_array = not (isinstance(pool, (Parts, str, Dataset)) or _is_frame(pool))
  if value_range is not None and not is_array:
    raise InputError("value_range is for arrays; data sets and DataFrames have "
                     "a range of their own: leave it out")
  if isinstance(pool, Parts):
    if test is not None:
      raise InputError("pool has the parts of a data set, with its test set; "
                       "leave test out")
    return pool
  if _is_frame(pool):
    space, rows, test = _frames(pool, test)
    examples, held_out = Examples(rows), None
  elif isinstance(pool, (str, Dataset)):
    dataset = datasets.load(pool) if isinstance(pool, str) else pool
    examples, space, names = dataset.train, dataset.space, dataset.class_names
    held_out = dataset.test
  else:
    rows = _array("pool", pool)
    examples, held_out = Examples(rows), None
    space = _space(rows, value_range)
  if test is not None:
    held_out = _test(test, space)
  if isinstance(space, Vectors) and not isinstance(pool, (str, Dataset)):
    space = _with_missing(space, examples, held_out)
  empty = np.zeros((0, *space.shape), np.uint8)
  return Parts(Examples(empty), examples.unlabeled(),
               held_out or Examples(empty), 0, space, names)


def _off_domain(pool: OffDomain, test: Any, value_range: Any,
                names: tuple[str, ...] | None) -> Parts:
  if test is None:
    raise InputError("pool=OffDomain(...) is brought into the space of the test"
                     " rows; give test=(rows, labels), or rows alone")
  if pool.in_domain:
    raise InputError(f"OffDomain.in_domain is {pool.in_domain}, and there is no"
                     " data set of the victim's; leave it 0")
  space = _space(_array("test", _pair(test)[0]), value_range)
  held_out = _test(test, space)
  others = off_domain.foreign(pool.load(space), [held_out])
  empty = Examples(np.zeros((0, *space.shape), np.uint8))
  parts = Parts(empty, empty, held_out, 0, space, names)
  return off_domain.replace_pool(parts, others.train, others.class_names)


def _is_frame(rows: Any) -> bool:
  """True for a DataFrame; does not import pandas."""
  return type(rows).__name__ == "DataFrame" and hasattr(rows, "iloc")


def _frames(pool: Any, test: Any) -> tuple[Space, np.ndarray, Any]:
  """The space and rows of a DataFrame, and a test set of the same kind."""
  import pandas as pd

  from wsl_extraction.data import table_files

  rows, labels = _pair(test)
  if rows is None:
    return *table_files.from_frame(pool, "pool"), None
  if not _is_frame(rows) or list(rows.columns) != list(pool.columns):
    raise InputError("pool is a DataFrame, and the test rows have not its "
                     f"columns; give a DataFrame of {list(pool.columns)[:20]}")
  both = pd.concat([pool, rows], ignore_index=True).astype(
      {name: "category" for name, kind in pool.dtypes.items()
       if isinstance(kind, pd.CategoricalDtype)})
  space, encoded = table_files.from_frame(both, "pool and test")
  encoded, held_out = encoded[:len(pool)], encoded[len(pool):]
  return space, encoded, held_out if labels is None else (held_out, labels)


def _pair(test: Any) -> tuple[Any, Any]:
  if isinstance(test, (tuple, list)) and len(test) == 2:
    rows, labels = test
    return rows, labels
  return test, None


def _array(where: str, rows: Any) -> np.ndarray:
  try:
    rows = np.asarray(rows)
  except (TypeError, ValueError):
    rows = np.empty(0)
  if rows.ndim not in (2, 4) or rows.dtype.kind not in "uif" or not len(rows):
    raise InputError(
        f"{where} has shape {rows.shape} and dtype {rows.dtype}; give images "
        "[n, h, w, d] or vectors [n, d] of real numbers, a DataFrame, or the "
        "name of a data set")
  return rows


def _space(rows: np.ndarray, value_range: Any) -> Space:
  if rows.ndim == 4:
    height, width, channels = map(int, rows.shape[1:])
    return Images(height, width, channels, *_range(rows, value_range))
  if value_range is None:
    return Vectors(int(rows.shape[1]))
  return Vectors(int(rows.shape[1]), *_checked_range(value_range))


def _with_missing(space: Vectors, pool: Examples, test: Examples | None
                  ) -> Space:
  """A space that allows NaN where pool or test rows hold any.

  Raises:
    InputError: They hold infinity.
  """
  missing = False
  for where, part in (("pool", pool), ("test", test)):
    rows = np.asarray([] if part is None else part.rows)
    if rows.dtype.kind != "f" or not rows.size:
      continue
    for row, feature in np.argwhere(np.isinf(rows))[:1]:
      raise InputError(f"{where} holds {rows[row, feature]} in row {row}, "
                       f"feature {feature}; give finite numbers, or NaN where "
                       "one is missing")
    missing |= bool(np.isnan(rows).any())
  if not missing:
    return space
  return Table((Continuous("", float(space.low), float(space.high)),)
               * space.size, missing=True)


def _range(images: np.ndarray, value_range: Any) -> tuple[float, float]:
  """The range of images: as given, or the usual one that holds their values."""
  if value_range is not None:
    return _checked_range(value_range)
  if images.dtype == np.uint8:
    return 0.0, 255.0
  low, high = float(images.min()), float(images.max())
  for usual in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
    if usual[0] <= low and high <= usual[1]:
      return usual
  raise InputError(f"the pool's values range from {low:g} to {high:g}; give "
                   "value_range, what black and white are")


def _checked_range(value_range: Any) -> tuple[float, float]:
  good = isinstance(value_range, (tuple, list)) and len(value_range) == 2 and (
      all(map(checks.is_number, value_range)))
  if not good or value_range[0] >= value_range[1]:
    checks.refuse("value_range", value_range, "the least and the largest "
                  "value, such as (0, 1)", True)
  return float(value_range[0]), float(value_range[1])


def _test(test: Any, space: Space) -> Examples:
  rows, labels = _pair(test)
  rows = _array("test", rows)
  if rows.shape[1:] != space.shape:
    raise InputError(f"the test rows have shape {rows.shape[1:]}, the pool's "
                     f"{space.shape}; give rows of one kind")
  if labels is not None:
    labels = np.asarray(labels)
    if labels.shape != (len(rows),):
      raise InputError(f"test has {len(rows)} rows and labels of shape "
                       f"{labels.shape}; give one label for each row")
  return Examples(rows, labels)
