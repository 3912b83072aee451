"""A lock on a folder, which dies with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib


class Lock:
  """Lets one process at a time use a folder.

  Args:
    path: The file of the lock; its folder must exist when it is acquired.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._descriptor: int | None = None

  def acquire(self) -> str | None:
    """Takes the lock, or tells who has it.

    Returns:
      None if this process has it now, else the number of the process that has
      it, "unknown" if it cannot be told.

    Raises:
      OSError: The file cannot be made.
    """
    if self._descriptor is not None:
      return None
    # Never removed: the lock is on the open file, and removing the name would
    # let two processes lock two files.
    descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
    if _is_taken(descriptor, fcntl.LOCK_EX):
      return _owner(descriptor)
    self._descriptor = descriptor
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    return None

  def owner(self) -> str | None:
    """The number of the process that has it, or None; changes nothing."""
    try:
      descriptor = os.open(self._path, os.O_RDONLY)
    except OSError:
      return None
    if _is_taken(descriptor, fcntl.LOCK_SH):
      return _owner(descriptor)
    os.close(descriptor)
    return None

  def release(self) -> None:
    """Gives it back; twice is harmless."""
    if self._descriptor is not None:
      os.close(self._descriptor)
      self._descriptor = None


def _is_taken(descriptor: int, kind: int) -> bool:
  try:
    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
  except OSError as error:
    # Some network file systems know no locks; runs work there without.
    return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
  return False


def _owner(descriptor: int) -> str:
  owner = os.read(descriptor, 20).decode("ascii", "replace").strip()
  os.close(descriptor)
  return owner or "unknown"
