"""CSV files as columns of numbers and texts, with the line of every row."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import zlib
from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

# What stands for a value that is missing.
MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None",
           "<NA>", "#N/A")
_SEPARATORS = (",", ";", "\t", "|")
COPIES = 20  # bytes of memory to a byte of the file, about


@dataclasses.dataclass(frozen=True)
class RawTable:
  """A table as its file has it.

  Attributes:
    where: The file, as messages name it.
    columns: By name, n values each: float64 with NaN, or texts with None, where
      one is missing.
    place: Says where a row of the table is in the file.
  """

  where: str
  columns: dict[str, np.ndarray]
  place: Callable[[int], str]


def read(path: str, texts: Collection[str] | None) -> RawTable:
  """Reads a CSV file in UTF-8, with names of columns in its first line.

  The separator is the one of comma, semicolon, tab and bar that the first line
  has most of. A column is one of numbers if most of its values are.

  Args:
    path: The file; may be compressed by gzip.
    texts: Names of columns that are read as texts; None for all.

  Raises:
    InputError: The file cannot be read, is empty or damaged, has two columns of
      one name, a line of too many or too few values, or a text or an infinity
      in a column of numbers; the line and the column are named.
  """
  where = decode.printable(path)
  header, records, lines = _records(_text(path, where), where)
  frame = pd.DataFrame(records, columns=header, dtype=object)
  columns = {}
  for name in header:
    values = frame[name].to_numpy()
    columns[name] = values = _without_missing(values)
    if texts is not None and name not in texts:
      columns[name] = _numbers(
          values, lambda row, name=name:
          f"{where}, line {lines[row]}, column {name!r}")
  return RawTable(where, columns, lambda row: f"line {lines[row]}")


def _text(path: str, where: str) -> str:
  file = files.expanded(path)
  try:
    decode.check_memory(file.stat().st_size * COPIES, where)
    content = file.read_bytes()
    if path.lower().endswith(".gz"):
      content = gzip.decompress(content)
      decode.check_memory(len(content) * COPIES, where)
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise InputError(f"{where} is damaged or not compressed by gzip ("
                     f"{decode.reason(error)}); write it again") from error
  except OSError as error:
    raise InputError(f"cannot read {where}: {decode.reason(error)}; check its "
                     "name and permissions") from error
  return files.utf8(content, where)


def _records(text: str, where: str
             ) -> tuple[list[str], list[list[str]], list[int]]:
  """The names of the columns, the rows, and the lines on which they begin."""
  first = text.partition("\n")[0]
  separator = max(_SEPARATORS, key=first.count)
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator,
                      skipinitialspace=True, strict=True)
  records: list[list[str]] = []
  lines: list[int] = []
  header: list[str] = []
  line = 1
  try:
    for record in reader:
      values = [value.strip() for value in record]
      if not any(values):
        pass  # an empty line, or separators alone
      elif not header:
        header = _checked_header(values, f"{where}, line {line}")
      elif len(values) != len(header):
        raise InputError(
            f"{where}, line {line}: {len(values)} values for {len(header)} "
            "columns; mend the line, or put a value that holds the separator "
            "between quotation marks")
      else:
        records.append(values)
        lines.append(line)
      line = reader.line_num + 1
  except csv.Error as error:
    raise InputError(f"{where}, line {line}: {decode.reason(error)}; mend the "
                     "quotation marks") from error
  if not header:
    raise InputError(f"{where} is empty; give a table with the names of its "
                     "columns in the first line")
  if not records:
    raise InputError(f"{where} has names of columns and no rows; give rows")
  return header, records, lines


def _checked_header(names: list[str], where: str) -> list[str]:
  for place, name in enumerate(names):
    if not name:
      raise InputError(f"{where}: column {place + 1} has no name; name it (of "
                       "an index that pandas wrote, to_csv(index=False))")
    if name in names[:place]:
      raise InputError(f"{where}: columns {names.index(name) + 1} and "
                       f"{place + 1} are both named {name!r}; rename one")
  return names


def _without_missing(values: np.ndarray) -> np.ndarray:
  values = values.copy()
  values[pd.Series(values).isin(MISSING).to_numpy()] = None
  return values


def _numbers(values: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
  """The numbers of a column if most are numbers, else its texts."""
  present = np.flatnonzero(pd.notna(values))
  numbers = np.full(len(values), np.nan)
  numbers[present] = pd.to_numeric(pd.Series(values[present], dtype=object),
                                   errors="coerce")
  texts = present[np.isnan(numbers[present])]
  if len(present) and len(texts) * 2 > len(present):
    return values
  for row in texts[:1]:
    raise InputError(
        f"{where(row)}: '{decode.printable(values[row])}' is no number, as "
        f"{len(present) - len(texts)} others of the column are; mend it, leave "
        "it empty if it is missing, or name the column in Columns.categorical")
  for row in present[np.isinf(numbers[present])][:1]:
    raise InputError(f"{where(row)}: {values[row]} is not finite; leave it "
                     "empty if it is missing")
  return numbers
