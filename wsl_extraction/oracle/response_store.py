"""The oracle's answers on disk: paid for once, never lost, never paid twice."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.claims import Claims
from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_codec import (
  ResponseCodec,
  table_layout,
)
from wsl_extraction.oracle.reveals import Access
from wsl_extraction.runtime.files import unwritable

_FORMAT = 1
_LOOKUP = 500  # keys in one SELECT; SQLite allows 999 in all of its builds
_CHECKED_BYTES = 256 << 20
_CACHE_KIB = 64 << 10  # holds the index of 1.3 million keys
_PATIENCE = 60.0  # seconds to wait for another process's transaction


class ResponseStore:
  """Responses keyed by example, in one SQLite file.

  The responses to a batch and its charge are written in one transaction, so
  that a process killed at any moment loses at most the batch in flight, and
  charges nothing for it. What was answered once is answered from disk and not
  charged again. Each row carries a checksum.

  Several processes may use one file at once, on one machine or, where the
  file system's locks reach that far, on several. The victim is asked outside
  of transactions, so a slow one does not hold up the other processes. A batch
  is claimed before it is asked (see `claims`): who wants an example that
  another process is asking about waits for its answer, so that none is paid
  twice. The claims of a killed process end with it. Threads share a store, and
  take turns in asking; should two stores of one process ask about an example,
  which claims do not part, then the first response stays and both are charged.

  A store belongs to one oracle and one data set, which `identity` describes;
  opened under another it is refused.
  """

  def __init__(self, path: str | os.PathLike, identity: Mapping[str, Any],
               dtype: str = "float32"):
    """Opens the store at `path`, or makes it.

    Args:
      path: The file.
      identity: What the responses depend on: "access", "k" and "num_classes"
        at least, and whatever else tells oracles and data sets apart.
      dtype: The type in which values are kept: "log16", "float16", "float32",
        "float64"; see `response_codec.ResponseCodec`.

    Raises:
      InputError: The file is damaged, is something else, is being written by
        another process, cannot be written, or was made under another identity.
    """
    self.path = pathlib.Path(path)
    self._encoding = ResponseCodec(
      Access.parse(identity["access"]),
      identity["k"],
      int(identity["num_classes"]),
      dtype,
    )
    self._using, self._asking = threading.RLock(), threading.Lock()
    self._claims = Claims(self.path.with_name(f"{self.path.name}-claims"))
    self._header = {"format": _FORMAT, "dtype": dtype,
                    **{name: _plain(value) for name, value in identity.items()}}
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise unwritable(self.path, error) from error
    with self._explained():
      self._database = sqlite3.connect(
          self.path, timeout=_PATIENCE, isolation_level=None,
          check_same_thread=False)
      try:
        self._open()
      except BaseException:
        self._database.close()
        raise

  def close(self) -> None:
    self._claims.close()
    self._database.close()

  def remove_unused(self) -> None:
    """Removes the file if nothing was paid for it and no one else is asking."""
    if not self.spent and self._claims.alone():
      self.path.unlink(missing_ok=True)

  def __enter__(self) -> ResponseStore:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def __len__(self) -> int:
    """How many examples have a response."""
    with self._explained():
      return self._database.execute(
          "SELECT COUNT(*) FROM responses").fetchone()[0]

  @property
  def spent(self) -> int:
    """The rows charged for all responses in this store."""
    with self._explained():
      return self._database.execute(
          "SELECT COALESCE(SUM(rows), 0) FROM charges").fetchone()[0]

  def unchanged(self) -> contextlib.AbstractContextManager[None]:
    """Inside, others write nothing: what is read there belongs together."""
    return self._transaction("DEFERRED")

  def missing(self, keys: Sequence[bytes]) -> np.ndarray:
    """Positions [m] of the keys without a response, each key's first."""
    first = {}
    for position, key in enumerate(keys):
      first.setdefault(key, position)
    with self._explained():
      for chunk in _chunks(list(first)):
        for key, in self._select("key", chunk):
          del first[key]
    return np.fromiter(first.values(), np.int64, len(first))

  def read(self, keys: Sequence[bytes]) -> Response:
    """The stored responses to `keys`, in their order.

    Raises:
      InputError: One of them has no response, or a row is damaged.
    """
    with self._explained():
      rows: dict[bytes, tuple[bytes, bytes]] = {}
      for chunk in _chunks(list(dict.fromkeys(keys))):
        for key, classes, values, check in self._select(
            "key, classes, vals, crc", chunk):
          if zlib.crc32(values, zlib.crc32(classes)) != check:
            raise sqlite3.DatabaseError("a row fails its checksum")
          rows[key] = classes, values
    absent = sum(key not in rows for key in keys)
    if absent:
      raise InputError(f"{self.path} holds no response to {absent} of "
                       f"{len(keys)} examples; label them first")
    return self._encoding.decode([rows[key] for key in keys])

  def answer(self, oracle: Oracle, keys: Sequence[bytes],
             inputs: np.ndarray) -> Response:
    """Answers from disk what is there; asks the oracle once for the rest.

    Args:
      oracle: Charged for the examples that have no response yet.
      keys: n identities of the rows of `inputs`.
      inputs: [n, *input_shape]; read only where a response is missing.

    Returns:
      n responses, as they are on disk.
    """
    missing = self.missing(keys)
    if not len(missing):
      return self.read(keys)
    with self._asking, self._claims.held([keys[row] for row in missing]):
      # Looked up again: they may have been answered before the claim.
      rows = self.missing(keys)
      if not len(rows):
        return self.read(keys)
      spent = oracle.ledger.spent
      response = oracle.query(inputs[rows])
      encoded = self._encoding.encode(response)
      new = self._insert(
          [keys[row] for row in rows], encoded, oracle.ledger.spent - spent)
    # Most often nothing was known before: reading back would cost a fifth.
    return (self._encoding.decode(encoded) if new == len(keys)
            else self.read(keys))

  def _open(self) -> None:
    tables = {name for name, in self._database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
      self._create()
    elif not {"header", "responses", "charges"} <= tables:
      raise InputError(f"{self.path} is an SQLite file but no label store; "
                       "choose another path")
    self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    self._compare_headers()
    # Reads the whole file. Damage in a larger one is met, and named, where it
    # is read: each row has its checksum.
    if self.path.stat().st_size <= _CHECKED_BYTES:
      fault = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
      if fault != "ok":
        raise sqlite3.DatabaseError(fault)

  def _create(self) -> None:
    page, layout = table_layout(self._encoding.row_bytes)
    # Of a new file; an old one keeps its own.
    self._database.execute(f"PRAGMA page_size = {page}")
    with self._transaction():
      for statement in (
          "CREATE TABLE IF NOT EXISTS header (name TEXT PRIMARY KEY, value)",
          "CREATE TABLE IF NOT EXISTS charges "
          "(batch INTEGER PRIMARY KEY, rows INTEGER NOT NULL)",
          "CREATE TABLE IF NOT EXISTS responses (key BLOB PRIMARY KEY NOT NULL,"
          " classes BLOB NOT NULL, vals BLOB NOT NULL, crc INTEGER NOT NULL) "
          + layout):
        self._database.execute(statement)
      self._database.executemany(
          "INSERT OR IGNORE INTO header VALUES (?, ?)", self._header.items())

  def _compare_headers(self) -> None:
    found = dict(self._database.execute("SELECT name, value FROM header"))
    for name in self._header | found:
      if found.get(name) != self._header.get(name):
        raise InputError(
            f"{self.path} was labelled with {name} {found.get(name)!r}, this "
            f"run has {name} {self._header.get(name)!r}; choose another path")

  def _select(self, columns: str, keys: Sequence[bytes]) -> sqlite3.Cursor:
    marks = ",".join("?" * len(keys))
    return self._database.execute(
        f"SELECT {columns} FROM responses WHERE key IN ({marks})", keys)

  def _insert(self, keys: Sequence[bytes],
              encoded: Sequence[tuple[bytes, bytes]], charge: int) -> int:
    """Writes responses and charge; tells how many responses were new."""
    with self._transaction():
      new = self._database.executemany(
          "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)",
          ((key, a, b, zlib.crc32(b, zlib.crc32(a)))
           for key, (a, b) in zip(keys, encoded, strict=True))).rowcount
      self._database.execute("INSERT INTO charges (rows) VALUES (?)", (charge,))
    return new

  @contextlib.contextmanager
  def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
    with self._explained():
      self._database.execute(f"BEGIN {kind}")
      try:
        yield
        self._database.execute("COMMIT")
      except BaseException:
        # A full disk makes SQLite roll back by itself.
        if self._database.in_transaction:
          self._database.execute("ROLLBACK")
        raise

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    """Keeps threads apart; turns SQLite's reports into a line for the user."""
    try:
      with self._using:
        yield
    except sqlite3.Error as error:
      raise _explanation(self.path, error) from error


def recorded(oracle: Oracle, store: ResponseStore,
             key: Callable[[np.ndarray], Sequence[bytes]]) -> Oracle:
  """The same oracle, which pays once for an example and remembers the answer.

  Args:
    oracle: Is asked, and charged, for what the store does not hold.
    store: Holds the answers.
    key: Gives the n identities of inputs [n, ...].
  """
  return oracle.relayed(
      lambda inputs: store.answer(oracle, key(inputs), inputs), remembers=True)


def resumed_ledger(budget: int | None, store: ResponseStore) -> Ledger:
  """A ledger that goes on from what the store's responses have cost.

  Raises:
    BudgetExceeded: They have cost more than `budget`.
  """
  return Ledger(budget, store.spent)


def _chunks(keys: list[bytes]) -> Iterator[list[bytes]]:
  for start in range(0, len(keys), _LOOKUP):
    yield keys[start:start + _LOOKUP]


def _explanation(path: pathlib.Path, error: sqlite3.Error) -> InputError:
  text = " ".join(str(error).split())
  if "locked" in text:
    remedy = "another process is writing it: wait until it has ended"
  elif "full" in text:
    remedy = "free some space, then run the same command again"
  elif isinstance(error, sqlite3.OperationalError):
    remedy = "choose a path that can be read and written"
  else:
    remedy = ("the file is damaged: restore a copy, or begin a new one to pay "
              "for its responses again")
  return InputError(f"label store {path}: {text}; {remedy}")


def _plain(value: Any) -> Any:
  if isinstance(value, Access):
    return value.name.lower()
  storable = value is None or isinstance(value, (int, float, str))
  return value if storable else str(value)
