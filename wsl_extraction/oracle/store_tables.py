"""The tables of a response store, their formats, and SQLite's complaints.

header     name, value: of what oracle and data set the responses are
charges    a batch each: its rows, their keys joined, whether an answer to one
           of them is missing, and how many of them were charged before
responses  key, classes, values, checksum
"""

from __future__ import annotations

import pathlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.reveals import Reveal

_LOOKUP = 500  # keys in one SELECT; SQLite allows 999 in all of its builds
_FORMAT = 2
# Of format 1, whose charges had no keys.
_NEW_COLUMNS = ("keys BLOB", "open INTEGER NOT NULL DEFAULT 0",
                "resent INTEGER NOT NULL DEFAULT 0")

Header = Mapping[str, Any]
Buffer = bytes | memoryview


def header(reveal: Reveal, outputs: int, dtype: str,
           identity: Mapping[str, Any]) -> Header:
  """The facts on which responses depend."""
  return {"format": _FORMAT, "dtype": dtype, "reveal": str(reveal),
          "outputs": outputs,
          **{name: value if value is None or isinstance(
              value, (int, float, str)) else str(value)
             for name, value in identity.items()}}


def names(database: sqlite3.Connection) -> set[str]:
  """The names of all tables."""
  return {name for name, in database.execute(
      "SELECT name FROM sqlite_master WHERE type = 'table'")}


def create(database: sqlite3.Connection, layout: str, facts: Header) -> None:
  """Makes the tables of a new file; `layout` is that of the responses."""
  columns = "batch INTEGER PRIMARY KEY, rows INTEGER NOT NULL"
  for statement in (
      "CREATE TABLE header (name TEXT PRIMARY KEY, value)",
      f"CREATE TABLE charges ({', '.join((columns, *_NEW_COLUMNS))})",
      "CREATE TABLE responses (key BLOB PRIMARY KEY NOT NULL, classes BLOB NOT "
      f"NULL, vals BLOB NOT NULL, crc INTEGER NOT NULL) {layout}"):
    database.execute(statement)
  database.executemany("INSERT INTO header VALUES (?, ?)", facts.items())


def compare(path: pathlib.Path, database: sqlite3.Connection,
            facts: Header) -> None:
  """Refuses responses of another oracle or data set.

  Raises:
    InputError: The header of the file has another value somewhere.
    sqlite3.DatabaseError: It is damaged.
  """
  held = _read_header(database)
  if "format" not in held:
    raise sqlite3.DatabaseError("its header has no format")
  for name in {**facts, **held}:
    if held.get(name) != facts.get(name):
      raise InputError(
          f"{path} was labelled with {name} {held.get(name)!r}, this "
          f"run has {name} {facts.get(name)!r}; choose another path")


def checksum(classes: Buffer, values: Buffer) -> int:
  """The checksum of a response."""
  return zlib.crc32(values, zlib.crc32(classes))


def check_row(classes: Any, values: Any, check: Any) -> None:
  """Raises sqlite3.DatabaseError where a response fails its checksum."""
  # The type of a damaged value may be another one.
  if not isinstance(classes, bytes) or not isinstance(
      values, bytes) or checksum(classes, values) != check:
    raise sqlite3.DatabaseError("a row fails its checksum")


def check_charges(database: sqlite3.Connection, completely: bool) -> None:
  """Refuses charges that cannot be, which a wrong sum would follow from.

  Args:
    database: Of format 1, whose charges have no keys, nothing is checked.
    completely: Reads all keys too, to find answered rows whose responses are
      not there any more.

  Raises:
    sqlite3.DatabaseError: The table, or the key of a response, is damaged.
  """
  columns = {name for name, in database.execute(
      "SELECT name FROM pragma_table_info('charges')")}
  if "keys" not in columns:
    return
  size = database.execute(
      "SELECT COALESCE((SELECT length(key) FROM responses LIMIT 1), "
      "(SELECT MAX(length(keys) / rows) FROM charges))").fetchone()[0]
  wrong = database.execute(
      "SELECT COUNT(*) FROM charges WHERE typeof(rows) != 'integer' OR rows < 1"
      " OR typeof(resent) != 'integer' OR resent NOT BETWEEN 0 AND rows OR "
      "open NOT IN (0, 1) OR (keys IS NOT NULL AND (typeof(keys) != 'blob' OR "
      "length(keys) != rows * ?))", (size,)).fetchone()[0]
  if wrong:
    raise sqlite3.DatabaseError(f"{wrong} charges are damaged")
  if not completely or not size:
    return
  answered = {key for key, in database.execute("SELECT key FROM responses")}
  for joined, in database.execute(
      "SELECT keys FROM charges WHERE NOT open AND keys IS NOT NULL"):
    for start in range(0, len(joined), size):
      if joined[start:start + size] not in answered:
        raise sqlite3.DatabaseError("the response to a charged row is missing")


def responses(database: sqlite3.Connection, columns: str,
              keys: list[bytes]) -> Iterator[Any]:
  """The columns of those responses to `keys` that there are."""
  for start in range(0, len(keys), _LOOKUP):
    some = keys[start:start + _LOOKUP]
    marks = ",".join("?" * len(some))
    yield from database.execute(
        f"SELECT {columns} FROM responses WHERE key IN ({marks})", some)


def upgrade(database: sqlite3.Connection, facts: Header) -> None:
  """Brings a file of format 1 into the present one; its charges stay."""
  held = dict(database.execute("SELECT name, value FROM header"))
  if held.get("format") != 1:
    return
  for column in _NEW_COLUMNS:
    database.execute(f"ALTER TABLE charges ADD COLUMN {column}")
  database.execute("DELETE FROM header")
  database.executemany("INSERT INTO header VALUES (?, ?)", facts.items())


def explanation(path: pathlib.Path, error: sqlite3.Error) -> InputError:
  """A line for the user in place of SQLite's report."""
  text = " ".join(str(error).split())
  if "locked" in text:
    remedy = "another process is writing it: wait until it has ended"
  elif "full" in text:
    remedy = "free some space, then run the same command again"
  elif isinstance(error, sqlite3.OperationalError) and (
      "no such" not in text):
    remedy = "choose a path that can be read and written"
  else:
    remedy = ("the file is damaged: restore a copy, or begin a new one to pay "
              "for its responses again")
  return InputError(f"response store {path}: {text}; {remedy}")


def _read_header(database: sqlite3.Connection) -> dict[str, Any]:
  held = dict(database.execute("SELECT name, value FROM header"))
  if held.get("format") != 1:
    return held
  access, k, outputs, decimals = (
      held.pop(name, None)
      for name in ("access", "k", "num_classes", "decimals"))
  return {**held, "format": _FORMAT, "outputs": outputs,
          "reveal": f"top_k:{k}" if access == "top_k" else access,
          "defences": "" if decimals is None else (
              f"Rounded(decimals={decimals})")}
