"""Parquet files as columns of numbers and texts."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow

from wsl_extraction.data.csv_table import COPIES, RawTable
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files


def read(path: str, ignored: Collection[str] | None) -> RawTable:
  """Reads a Parquet file, whose columns have types.

  Numbers, and True and False as 1 and 0, are numbers; texts are texts. Nulls
  are missing.

  Args:
    path: The file.
    ignored: Names of columns that may hold anything; None for all.

  Raises:
    InputError: The file cannot be read, is empty or damaged, or a column holds
      something else; the column is named, and the row, from 0.
  """
  where = decode.printable(path)
  return raw_table(_frame(files.expanded(path), where), where, ignored)


def raw_table(frame: pd.DataFrame, where: str,
              ignored: Collection[str] | None = ()) -> RawTable:
  """The columns of a DataFrame as numbers and texts.

  Args:
    frame: It.
    where: What messages call it.
    ignored: See `read`.

  Raises:
    InputError: It is empty, or a column holds something else.
  """
  names = [str(name) for name in frame.columns]
  for place, name in enumerate(names):
    if name in names[:place]:
      raise InputError(f"{where}: two columns are named {name!r}; rename one")
  if not len(frame):
    raise InputError(f"{where} has no rows; give rows")
  columns = {}
  for place, name in enumerate(names):
    series = frame.iloc[:, place]
    columns[name] = (series.to_numpy(object)
                     if ignored is None or name in ignored else
                     _values(series, f"{where}, column {name!r}"))
  return RawTable(where, columns, lambda row: f"row {row}")


def _frame(path: pathlib.Path, where: str) -> pd.DataFrame:
  try:
    decode.check_memory(path.stat().st_size * COPIES, where)
    return pd.read_parquet(path, engine="pyarrow")
  except InputError:
    raise
  except pyarrow.ArrowException as error:
    raise InputError(f"{where} is damaged or no Parquet file ("
                     f"{decode.reason(error)}); write it again with "
                     "DataFrame.to_parquet") from error
  except OSError as error:
    raise InputError(f"cannot read {where}: {decode.reason(error)}; check its "
                     "name and permissions") from error


def _values(series: pd.Series, where: str) -> np.ndarray:
  kind: Any = series.dtype
  if isinstance(kind, pd.CategoricalDtype):
    return _values(pd.Series(np.asarray(series)), where)
  if pd.api.types.is_bool_dtype(kind) or (
      pd.api.types.is_numeric_dtype(kind)
      and not pd.api.types.is_complex_dtype(kind)):
    numbers = series.to_numpy(np.float64, na_value=np.nan)
    for row in np.flatnonzero(np.isinf(numbers))[:1]:
      raise InputError(f"{where}, row {row}: {numbers[row]} is not finite; "
                       "write null if it is missing")
    return numbers
  values = series.to_numpy(object, copy=True)
  values[series.isna().to_numpy()] = None
  strange = next((value for value in values
                  if value is not None and not isinstance(value, str)), None)
  if strange is not None:
    raise InputError(f"{where} holds {type(strange).__name__}, such as "
                     f"{decode.printable(strange)[:40]}; give numbers or "
                     "texts, or leave it out (of a file, by Columns.ignored)")
  return values
