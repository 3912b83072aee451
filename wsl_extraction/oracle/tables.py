"""Spaces of tables: continuous and categorical columns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Space


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
    object.__setattr__(self, "columns", tuple(columns))
    for name in ("missing", "bounded"):
      object.__setattr__(self, name, checks.flag(
          f"Table.{name}", getattr(self, name)))

  @property
  def shape(self) -> tuple[int]:
    """(d,)."""
    return (len(self.columns),)

  @property
  def names(self) -> tuple[str, ...]:
    """The names of the columns, d of them."""
    return tuple(one.name for one in self.columns)

  @property
  def low(self) -> np.ndarray:
    """The least value of each column, [d]; 0 of categories."""
    return np.array([0.0 if isinstance(one, Categorical) else one.low
                     for one in self.columns])

  @property
  def high(self) -> np.ndarray:
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
