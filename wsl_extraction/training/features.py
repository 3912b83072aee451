"""Features that a network learns from: standardised, categories one-hot.

The victim gets rows as they are; a student has these layers in front of its
network, so that its surrogate takes the same rows.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.oracle.tables import Categorical, Table

# Rows of which statistics are taken, and numbers in all of them.
_MOST, _MOST_NUMBERS = 100_000, 20_000_000
# Rounding of single precision that a standardised feature may have, and that
# of double precision, of which a feature that is constant shows no more.
_FINE, _CONSTANT = 0.01, 1e-12
_LARGEST = 1e30  # whose differences are squared in training


def features(space: Space, rows: np.ndarray | LazyRows | None
             ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
  """The inputs of a network, and the features made of them.

  A feature becomes its distance from the mean, in standard deviations; one
  that is constant becomes 0. A category of a table becomes one number for each
  value, 1 for its own. A missing number becomes 0, the mean, with another
  feature that is 1 where it is missing; of a missing category all numbers are
  0.

  Args:
    space: The inputs.
    rows: Rows [n, *shape] of which statistics are taken, 100,000 of them or
      20 million numbers at most; None leaves numbers as they are.

  Returns:
    The inputs [n, *shape], and of a table [n, f], else [n, *shape] too.

  Raises:
    InputError: A feature is too large, or varies too little about its mean,
      for single precision.
  """
  inputs = keras.Input(space.shape)
  if not isinstance(space, Table):
    return inputs, _standardised(inputs, *_statistics(space, rows))
  is_category = np.array([isinstance(one, Categorical)
                          for one in space.columns])
  numbers, categories = (np.flatnonzero(places)
                         for places in (~is_category, is_category))
  parts = []
  if len(numbers):
    centre, scale = _statistics(space, rows)
    values = _standardised(ops.take(inputs, numbers, axis=1),
                           centre[numbers], scale[numbers])
    absent = ops.isnan(values)
    parts.append(ops.where(absent, ops.zeros_like(values), values))
    if space.missing:
      parts.append(ops.cast(absent, "float32"))
  if len(categories):
    parts.append(_one_hot(inputs, space, categories))
  return inputs, ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def _standardised(values: Any, centre: np.ndarray, scale: np.ndarray) -> Any:
  """(values - centre) / scale, in single precision under every policy."""
  # In two steps: the difference of numbers that are close is exact.
  values = keras.layers.Rescaling(
      1.0, (-centre).tolist(), dtype="float32")(values)
  return keras.layers.Rescaling((1 / scale).tolist(), dtype="float32")(values)


def _one_hot(inputs: Any, space: Table, places: np.ndarray) -> Any:
  """Numbers [n, m] of all values of the columns at `places`."""
  sizes = [len(column.values) for column in space.columns
           if isinstance(column, Categorical)]
  codes = np.concatenate([np.arange(size) for size in sizes])
  # A missing value equals none.
  return ops.cast(ops.equal(
      ops.take(inputs, np.repeat(places, sizes), axis=1),
      codes.astype(np.float32)), "float32")


def _statistics(space: Space, rows: np.ndarray | LazyRows | None
                ) -> tuple[np.ndarray, np.ndarray]:
  """Means and standard deviations float64 [*shape] of what is not missing."""
  if rows is None or not len(rows):
    return np.zeros(space.shape), np.ones(space.shape)
  most = min(len(rows), _MOST, max(_MOST_NUMBERS // space.features, 1))
  chosen = np.linspace(0, len(rows) - 1, most).astype(int)
  values = np.asarray(rows[chosen], np.float64)
  present = ~np.isnan(values)
  values = np.where(present, values, 0)
  largest = np.abs(values).max(axis=0)
  _refuse(space, largest > _LARGEST, "holds numbers beyond 1e30, which "
          "students cannot compute with; scale it")
  count = np.maximum(present.sum(axis=0), 1)
  centre = values.sum(axis=0) / count
  scale = np.sqrt((np.where(present, values - centre, 0) ** 2).sum(axis=0)
                  / count)
  scale[scale <= largest * _CONSTANT] = 0
  rounding = largest * np.finfo(np.float32).eps
  _refuse(space, (scale > 0) & (scale * _FINE < rounding), "varies so little "
          "about its mean that single precision, in which students compute, "
          "blurs it; subtract the mean, or leave it out")
  return centre, np.where(scale > 0, scale, 1)


def _refuse(space: Space, bad: np.ndarray, text: str) -> None:
  categorical = [isinstance(one, Categorical)
                 for one in getattr(space, "columns", ())]
  bad = bad & ~np.array(categorical) if categorical else bad
  for place in np.flatnonzero(bad)[:1]:
    name = (getattr(space, "names", None) or {place: ""})[place]
    name = f"column {name!r}" if name else f"feature {place}"
    raise InputError(f"{name} of the pool {text}")
