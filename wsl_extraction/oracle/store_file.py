"""The SQLite file of a response store: its lock, owner and transactions."""

from __future__ import annotations

import contextlib
import enum
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Iterator

from wsl_extraction.errors import InputError
from wsl_extraction.oracle import store_tables
from wsl_extraction.runtime import folder_lock
from wsl_extraction.runtime.files import unwritable

_PATIENCE = 60.0  # seconds to wait for a transaction of another process


class Mode(enum.Enum):
  """The role of a process at a store."""

  OWNER = "owner"
  READER = "reader"  # of one that has no owner meanwhile


class StoreFile:
  """A connection to an SQLite file that one process owns while it runs.

  Threads share it. SQLite's reports become a line for the user.

  Attributes:
    path: The file.
    mode: What this process does with it.
    database: The connection, to be used within `explained` or `transaction`.
  """

  def __init__(self, path: str | os.PathLike, mode: Mode,
               patience: float = 0.0):
    """Opens the file; its owner makes it.

    Args:
      path: The file.
      mode: What this process does with it.
      patience: Seconds to wait for another process that uses it.

    Raises:
      InputError: The file is in use by another process, or cannot be opened.
    """
    self.path, self.mode = pathlib.Path(path), mode
    self._using = threading.RLock()
    self._version: int | None = None
    self._lock = folder_lock.Lock(
        self.path.with_name(f"{self.path.name}.lock"), is_removed=True)
    self._acquire(patience)
    try:
      with self.explained():
        self.database = self._connected()
      # Damaged text must not end in a traceback; it equals no name of ours.
      self.database.text_factory = lambda text: text.decode(errors="replace")
    except BaseException:
      self._lock.release()
      raise

  def _acquire(self, patience: float) -> None:
    end = time.monotonic() + patience
    try:
      if self.mode is Mode.OWNER:
        self.path.parent.mkdir(parents=True, exist_ok=True)
      is_shared = self.mode is Mode.READER
      while (owner := self._lock.acquire(is_shared)) and (
          time.monotonic() < end):
        time.sleep(0.1)
    except OSError as error:
      if self.mode is Mode.READER:
        return  # of a folder that cannot be written
      raise unwritable(self.path, error) from error
    if owner is not None:
      raise InputError(
          f"{self.path} is in use by process {owner}; one process at a time "
          "asks for its responses: wait until it has ended")

  def _connected(self) -> sqlite3.Connection:
    if self.mode is Mode.OWNER:
      return sqlite3.connect(self.path, timeout=_PATIENCE,
                             isolation_level=None, check_same_thread=False)
    return sqlite3.connect(
        f"{self.path.absolute().as_uri()}?mode=ro", uri=True,
        timeout=_PATIENCE, isolation_level=None, check_same_thread=False)

  def close(self) -> None:
    self.database.close()
    self._lock.release()

  def watch(self) -> None:
    """From now on, transactions are refused once another process has written.

    The lock of the file is not to be relied on where it lies on a file system
    of the network that knows none.
    """
    self._version = self._data_version()

  def _data_version(self) -> int:
    """A number that changes when another connection writes."""
    return self.database.execute("PRAGMA data_version").fetchone()[0]

  @contextlib.contextmanager
  def transaction(self) -> Iterator[None]:
    """Makes one transaction of all that is executed within."""
    with self.explained():
      database = self.database
      if database.in_transaction:  # within another
        yield
        return
      database.execute("BEGIN IMMEDIATE")
      try:
        if self._version not in (None, self._data_version()):
          raise InputError(f"{self.path} was written by another process; one "
                           "process at a time asks for its responses: end one")
        yield
        database.execute("COMMIT")
      except BaseException:
        # A full disk makes SQLite roll back by itself.
        if database.in_transaction:
          database.execute("ROLLBACK")
        raise

  @contextlib.contextmanager
  def explained(self) -> Iterator[None]:
    """Keeps threads apart; turns SQLite's reports into a line for the user."""
    try:
      with self._using:
        yield
    except sqlite3.Error as error:
      raise store_tables.explanation(self.path, error) from error
    except UnicodeDecodeError as error:  # of a report that quotes the file
      raise store_tables.explanation(self.path, sqlite3.DatabaseError(
          "malformed database schema")) from error
