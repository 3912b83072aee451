"""Data sets that are tables in CSV and Parquet files."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from wsl_extraction.data import csv_table, parquet_table
from wsl_extraction.data.columns import Columns, is_parquet, listed
from wsl_extraction.data.csv_table import RawTable
from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Space, Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

# A column of more different texts, that are most of its values, is no category.
_FEW = 20
# As numbers are written; "007" is a text.
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def read(path: str, columns: Columns | None) -> Dataset:
  """Reads a table.

  A row is float64 [d], in the order of the columns. Numbers stay as they are.
  A text becomes its place among the column's texts in alphabetical order, from
  0, and a value that is missing becomes NaN. Classes are ordered by number if
  all are whole numbers, else alphabetically.

  Args:
    path: A `.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet` file.
    columns: Which column holds the classes, and what else there is to know.

  Returns:
    Of numbers alone, vectors; with categories or missing values, a `Table`.

  Raises:
    InputError: The file or a column of it cannot be used; the line or row and
      the column are named.
  """
  if columns is None:
    names = listed(list(_raw(path, None, None).columns))
    raise InputError(
        f"{decode.printable(path)} is a table, whose column of classes is not "
        "known; set Experiment.columns to @columns.Columns() and Columns.label "
        f"to one of {names}")
  raw = _raw(path, {columns.label, *columns.categorical, *columns.ignored},
             columns.ignored)
  columns.check(raw.where, list(raw.columns))
  labels, class_names = _classes(raw, columns.label)
  features = [name for name in raw.columns
              if name not in (columns.label, *columns.ignored)]
  space, rows = _rows(raw, features, columns.categorical)
  return Dataset(path, Examples(rows, labels), None, class_names, space)


def from_frame(frame: pd.DataFrame, where: str) -> tuple[Space, np.ndarray]:
  """The rows of a DataFrame of features, and their space; see `read`.

  Args:
    frame: It; columns of pandas' type "category" are categories.
    where: What messages call it.

  Raises:
    InputError: A column of it cannot be used.
  """
  categorical = [str(name) for name, kind in frame.dtypes.items()
                 if isinstance(kind, pd.CategoricalDtype)]
  raw = parquet_table.raw_table(frame, where)
  return _rows(raw, list(raw.columns), categorical)


def _raw(path: str, texts: Collection[str] | None,
         ignored: Collection[str] | None) -> RawTable:
  if is_parquet(path):
    return parquet_table.read(path, ignored)
  return csv_table.read(path, texts)


def _rows(raw: RawTable, names: Collection[str], categorical: Collection[str]
          ) -> tuple[Space, np.ndarray]:
  encoded = [_encoded(raw, name, name in categorical) for name in names]
  rows = np.stack([values for _, values in encoded], axis=1)
  return _space([kind for kind, _ in encoded], rows), rows


def _space(kinds: list[Continuous | Categorical], rows: np.ndarray) -> Space:
  missing = bool(np.isnan(rows).any())
  if missing or any(isinstance(one, Categorical) for one in kinds):
    return Table(tuple(kinds), missing=missing)
  return Vectors(len(kinds), names=tuple(one.name for one in kinds))


def _encoded(raw: RawTable, name: str, is_categorical: bool
             ) -> tuple[Continuous | Categorical, np.ndarray]:
  """A column as float64 [n], and the description of it."""
  values = raw.columns[name]
  present = pd.notna(values)
  if not present.any():
    raise InputError(f"{raw.where}: column {name!r} is empty in all "
                     f"{len(values)} rows; leave it out (of a file, by "
                     "Columns.ignored)")
  if values.dtype.kind == "f" and not is_categorical:
    return Continuous(name), values
  natural = _natural(values[present])
  order = sorted(set(natural))
  if len(order) > max(_FEW, len(natural) // 2) and not is_categorical:
    raise InputError(
        f"{raw.where}: column {name!r} holds {len(order)} different texts in "
        f"{len(natural)} rows, such as '{decode.printable(order[0])[:40]}'; "
        "leave it out (of a file, by Columns.ignored), or say that they are "
        "categories (Columns.categorical; in a DataFrame, "
        "astype('category'))")
  codes = np.full(len(values), np.nan)
  codes[present] = _places(natural, order)
  return Categorical(name, tuple(order)), codes


def _classes(raw: RawTable, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Class numbers int32 [n], and the names of the classes."""
  values = raw.columns[name]
  for row in np.flatnonzero(pd.isna(values))[:1]:
    raise InputError(f"{raw.where}, {raw.place(row)}, column {name!r}: the "
                     "class is missing; give it, or leave the row out")
  natural = _natural(values)
  order = sorted(set(natural))
  many = len(order) > max(_FEW, len(values) // 2)
  part = next((one for one in order if isinstance(one, float)), None)
  if part is not None or (many and not isinstance(order[0], str)):
    raise InputError(
        f"{raw.where}: column {name!r} holds {len(order)} different numbers, "
        f"such as {order[0] if part is None else part}: a quantity, not "
        "classes; give classes, such as ranges of it")
  if many:
    raise InputError(f"{raw.where}: column {name!r} holds {len(order)} "
                     f"different texts in {len(values)} rows; name the column "
                     "of classes in Columns.label")
  if len(order) < 2:
    raise InputError(
        f"{raw.where}: column {name!r} holds a single class, "
        f"'{decode.printable(order[0])}'; give two or more")
  return _places(natural, order).astype(np.int32), tuple(map(str, order))


def _places(values: list[Any], order: list[Any]) -> np.ndarray:
  """The places [n] of values in an order."""
  places = {value: place for place, value in enumerate(order)}
  return np.array([places[value] for value in values])


def _natural(values: np.ndarray) -> list[Any]:
  """Numbers if all values are numbers, whole ones as int; else the texts."""
  numbers: dict[Any, Any] = {}
  for value in set(values.tolist()):
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
      return values.tolist()
    number = float(value)
    numbers[value] = int(number) if number.is_integer() else number
  return [numbers[value] for value in values.tolist()]
