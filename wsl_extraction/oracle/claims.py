"""Examples that one process at a time asks about; a claim dies with it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from wsl_extraction.runtime.files import unwritable

_PRESENCE = 0  # the byte that all who use the file share


class Claims:
  """Claims on keys, which hold between the processes that name one file.

  A claim is a lock on one byte of the file, at a place that the key
  determines; the file itself stays empty. The system gives a process's locks
  back when it ends, however it ends. Locks belong to processes: threads of
  one, and other `Claims` of the same file in it, do not exclude each other.

  Args:
    path: The file; made by the first claim, removed by the last `close`.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._descriptor: int | None = None

  @contextlib.contextmanager
  def held(self, keys: Sequence[bytes]) -> Iterator[None]:
    """Inside, no other process holds one of `keys`; waits until it is so.

    Raises:
      InputError: The file cannot be made, or its file system has no locks.
    """
    # In one order in all processes, so that none wait for each other.
    places = sorted({_place(key) for key in keys})
    try:
      descriptor = self._open()
      for place in places:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, place)
    except OSError as error:
      self._release()
      raise unwritable(self._path, error) from error
    except BaseException:  # Ctrl-C while waiting
      self._release()
      raise
    try:
      yield
    finally:
      self._release()

  def alone(self) -> bool:
    """Whether no other process uses the file, as far as can be told."""
    try:
      fcntl.lockf(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _PRESENCE)
    except OSError:
      return False
    return True

  def close(self) -> None:
    """Stops using the file, and removes it if no one else does."""
    if self._descriptor is None:
      return
    if self.alone():
      self._path.unlink(missing_ok=True)
    os.close(self._descriptor)
    self._descriptor = None

  def _open(self) -> int:
    while self._descriptor is None:
      descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
      try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, _PRESENCE)
      except BaseException:
        os.close(descriptor)
        raise
      # Who used it last may have removed it since: then locks mean nothing.
      if os.fstat(descriptor).st_nlink:
        self._descriptor = descriptor
      else:
        os.close(descriptor)
    return self._descriptor

  def _release(self) -> None:
    if self._descriptor is not None:
      # All bytes but the first, to the end of any file.
      fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 0, _PRESENCE + 1)


def _place(key: bytes) -> int:
  digest = hashlib.blake2b(key, digest_size=7).digest()
  return _PRESENCE + 1 + int.from_bytes(digest, "little")
