"""A lock on a folder or a file, which dies with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib


class Lock:
  """Lets one process at a time use what a file stands for.

  Two locks of one process exclude each other like those of two.

  Args:
    path: The file of the lock; its folder must exist when it is acquired.
    is_removed: Whether the file goes when the lock is given back.
  """

  def __init__(self, path: pathlib.Path, is_removed: bool = False):
    self._path, self._is_removed = path, is_removed
    self._descriptor: int | None = None

  def acquire(self, shared: bool = False) -> str | None:
    """Takes the lock, or names its owner.

    Args:
      shared: Whether others may share it, who ask for it in the same way.

    Returns:
      None if this process has it now, else the number of the process that has
      it, "unknown" if it cannot be told.

    Raises:
      OSError: The file cannot be made.
    """
    while self._descriptor is None:
      descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
      if _is_taken(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
        return _owner(descriptor)
      # The last owner may have removed it since: then the lock means nothing.
      if not os.fstat(descriptor).st_nlink:
        os.close(descriptor)
        continue
      self._descriptor = descriptor
      if not shared:
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
    if self._descriptor is None:
      return
    # Not while others share it.
    if self._is_removed and not _is_taken(self._descriptor, fcntl.LOCK_EX):
      self._path.unlink(missing_ok=True)
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
