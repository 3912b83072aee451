"""Responses on disk: paid for once, never lost, never paid twice."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle import store_tables
from wsl_extraction.oracle.ledger import refuse_excess
from wsl_extraction.oracle.open_charges import OpenCharges
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_codec import (
    Packed,
    ResponseCodec,
    table_layout,
)
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.store_file import Mode, StoreFile

_CHECKED_BYTES = 256 << 20
_CACHE_KIB = 64 << 10  # holds the index of 1.3 million keys


class ResponseStore:
  """Responses and charges by the identity of rows, in one SQLite file.

  The charges of a batch are written in a transaction before the victim is
  called, its responses in another one behind it, which may hold the charges of
  the next batch. A process that is killed in between leaves rows that are
  charged and not answered: `charge` books them again only if they were sent to
  a remote victim, whose answer was lost. Each response carries a checksum.

  One process owns a store while it runs; a second one is refused. Threads share
  it. A store belongs to one oracle and one data set, which `identity`
  describes; opened under another it is refused.

  Attributes:
    path: The file.
    codec: The layout of its responses, by which workers encode them.
  """

  def __init__(self, path: str | os.PathLike, reveal: Reveal, outputs: int,
               identity: Mapping[str, Any] | None = None,
               dtype: str = "float32", *, resolution: float = 0.0,
               mode: Mode = Mode.OWNER, patience: float = 0.0):
    """Opens the store at `path`; its owner makes it.

    Args:
      path: The file.
      reveal: What a response holds.
      outputs: The number of classes, c.
      identity: What else tells oracles and data sets apart.
      dtype: The type in which values are kept: "log16", "float16", "float32",
        "float64"; see `ResponseCodec`.
      resolution: Of the responses.
      mode: What this process does with it.
      patience: Seconds to wait for another process that uses it.

    Raises:
      InputError: The file is damaged, is something else, is in use by another
        process, cannot be written, or was made under another identity.
    """
    self.path = pathlib.Path(path)
    self.codec = ResponseCodec(reveal, outputs, dtype, resolution)
    self._header = store_tables.header(reveal, outputs, dtype, identity or {})
    self._charges = OpenCharges()
    self._file = StoreFile(self.path, mode, patience)
    try:
      with self._file.explained():
        self._prepare()
    except BaseException:
      self._file.close()
      raise

  def close(self) -> None:
    self._file.close()

  def remove_unused(self) -> None:
    """Removes the file if nothing was paid for it."""
    if not self.spent:
      self.path.unlink(missing_ok=True)

  def __enter__(self) -> ResponseStore:
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def __len__(self) -> int:
    """The number of rows that have a response."""
    with self._file.explained():
      return self._file.database.execute(
          "SELECT COUNT(*) FROM responses").fetchone()[0]

  @property
  def spent(self) -> int:
    """The rows charged so far, those sent again included."""
    return self._charges.spent

  @property
  def resent(self) -> int:
    """The rows of these that were charged again, as their answers were lost."""
    return self._charges.resent

  def is_charged(self, key: bytes) -> bool:
    """True if a row without a response has been charged."""
    return key in self._charges

  def missing(self, keys: Sequence[bytes]) -> np.ndarray:
    """Positions [m] of the keys without a response, each key's first."""
    first = {}
    for position, key in enumerate(keys):
      first.setdefault(key, position)
    with self._file.explained():
      for key, in store_tables.responses(
          self._file.database, "key", list(first)):
        if first.pop(key, None) is None:
          raise sqlite3.DatabaseError("a row is not in its place")
    return np.fromiter(first.values(), np.int64, len(first))

  def read(self, keys: Sequence[bytes]) -> Response:
    """The stored responses to `keys`, in their order.

    Raises:
      InputError: One of them has no response, or a row is damaged.
    """
    with self._file.explained():
      rows: dict[bytes, tuple[bytes, bytes]] = {}
      for key, classes, values, check in store_tables.responses(
          self._file.database, "key, classes, vals, crc",
          list(dict.fromkeys(keys))):
        store_tables.check_row(classes, values, check)
        rows[key] = classes, values
    absent = sum(key not in rows for key in keys)
    if absent:
      raise InputError(f"{self.path} holds no response to {absent} of "
                       f"{len(keys)} examples; label them first")
    return self.codec.decode([rows[key] for key in keys])

  def price(self, keys: Sequence[bytes], resends: bool = False) -> int:
    """The rows that `charge` would book."""
    return len(keys) if resends else sum(
        key not in self._charges for key in keys)

  @contextlib.contextmanager
  def transaction(self) -> Iterator[None]:
    """Makes one transaction of what is charged and written within.

    After an error all of it is as before.
    """
    try:
      with self._file.transaction():
        yield
    except BaseException:
      with self._file.explained():
        self._recall_charges()
      raise

  def charge(self, keys: Sequence[bytes], most: int | None = None,
             resends: bool = False) -> None:
    """Books rows in one transaction, all of them or none; see `ledger.Book`.

    Args:
      keys: Their identities, each once and of one length, without a response.
      most: The rows that may be charged in all.
      resends: Whether a row that was charged and never answered is charged
        again.
    """
    if len({len(key) for key in keys}) > 1:
      raise InputError("identities of rows differ in length; give one kind")
    again = [key for key in keys if key in self._charges]
    charged = [key for key in keys if key not in self._charges]
    charged += again if resends else []
    with self._file.transaction():
      refuse_excess(len(charged), self.spent, most)
      if not charged:
        return
      resent = len(again) if resends else 0
      batch = self._file.database.execute(
          "INSERT INTO charges (rows, keys, open, resent) VALUES (?, ?, 1, ?)",
          (len(charged), b"".join(charged), resent)).lastrowid
    assert batch is not None, "an INSERT has numbered its row"
    self._charges.add(batch, charged, resent)

  def write(self, keys: Sequence[bytes], response: Response) -> Response:
    """Keeps the responses to rows that were charged.

    Returns:
      The response as it is on disk.

    Raises:
      InputError: A value does not fit the dtype, or the disk is full; the rows
        stay charged.
    """
    packed = self.codec.pack(response)
    self.write_packed(keys, packed)
    return self.codec.unpack(packed)

  def write_packed(self, keys: Sequence[bytes], packed: Packed) -> None:
    """Keeps responses that a worker has encoded by `codec`; see `write`."""
    with self._file.transaction():
      self._file.database.executemany(
          "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)",
          ((key, *row) for key, row in zip(keys, packed.rows(), strict=True)))
      self._file.database.executemany(
          "UPDATE charges SET open = 0 WHERE batch = ?",
          [(batch,) for batch in self._charges.ended(keys)])
    self._charges.answer(keys)

  def _prepare(self) -> None:
    tables = store_tables.names(self._file.database)
    if not tables and self._file.mode is Mode.OWNER:
      # Without a whole page, SQLite takes what is left of a file for empty.
      if self.path.stat().st_size:
        raise sqlite3.DatabaseError("it has no tables")
      self._create()
    elif not {"header", "responses", "charges"} <= tables:
      raise InputError(f"{self.path} is an SQLite file but no store of "
                       "responses; choose another path")
    self._file.database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    store_tables.compare(self.path, self._file.database, self._header)
    # Reads the whole file. Damage in a larger one is met, and named, where it
    # is read: each row has its checksum.
    is_small = self.path.stat().st_size <= _CHECKED_BYTES
    if is_small:
      fault = self._file.database.execute("PRAGMA quick_check(1)").fetchone()[0]
      if fault != "ok":
        raise sqlite3.DatabaseError(fault)
    store_tables.check_charges(self._file.database, completely=is_small)
    if self._file.mode is Mode.OWNER:
      with self._file.transaction():
        store_tables.upgrade(self._file.database, self._header)
      self._recall_charges()
      self._file.watch()

  def _create(self) -> None:
    page, layout = table_layout(self.codec.row_bytes)
    # Of a new file; an old one keeps its own.
    self._file.database.execute(f"PRAGMA page_size = {page}")
    with self._file.transaction():
      store_tables.create(self._file.database, layout, self._header)

  def _recall_charges(self) -> None:
    self._charges = OpenCharges(*self._file.database.execute(
        "SELECT COALESCE(SUM(rows), 0), COALESCE(SUM(resent), 0) FROM charges"
        ).fetchone())
    begun = self._file.database.execute(
        "SELECT batch, rows, keys FROM charges WHERE open").fetchall()
    for batch, rows, joined in begun:
      size = len(joined) // rows
      keys = [joined[start:start + size]
              for start in range(0, len(joined), size)]
      self._charges.recall(batch, [keys[row] for row in self.missing(keys)])
