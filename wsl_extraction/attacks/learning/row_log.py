"""Rows that an attack made up, round by round, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.runtime import files
from wsl_extraction.runtime.runtime import Runtime


class RowLog:
  """The rows of all rounds; a row equal to an earlier one is left out.

  They follow from a surrogate's last bits, and are written down before they
  are paid for, as `QueryLog` does.

  Attributes:
    rows: One array [n, ...] a round.
  """

  def __init__(self, runtime: Runtime, sizes: Sequence[int], space: Space):
    """Reads what an interrupted attack has made so far.

    Raises:
      InputError: A file is damaged.
    """
    self._runtime, self._sizes, self._space = runtime, sizes, space
    self.rows: list[np.ndarray] = []
    self._keys: set[bytes] = set()
    while (path := self._path()) is not None and path.exists() and (
        len(self.rows) < len(sizes)):
      self._append(self._read())
    runtime.placement.wait()  # all have read them, before one writes

  def add(self, rows: np.ndarray) -> None:
    """Keeps a round's rows, those of the main process for all.

    Raises:
      InputError: The folder cannot be written.
    """
    placement, path = self._runtime.placement, self._path()
    rows = self._distinct(rows)
    if placement.is_main and path is not None:
      with files.atomic_write(path) as temporary, open(
          temporary, "wb") as file:
        np.savez(file, rows=rows)
    placement.wait()
    if not placement.is_main:
      if path is None:
        raise InputError("several processes learn together, and no folder "
                         "keeps what the main one makes; give Runtime.folder")
      rows = self._read()
    self._append(rows)

  def _path(self):
    folder = self._runtime.folder
    return folder and folder / f"round_{len(self.rows) + 1}_rows.npz"

  def _append(self, rows: np.ndarray) -> None:
    self.rows.append(rows)
    self._keys.update(row_keys(rows))

  def _distinct(self, rows: np.ndarray) -> np.ndarray:
    held, kept = set(self._keys), []
    for place, key in enumerate(row_keys(rows)):
      if key not in held:
        held.add(key)
        kept.append(place)
    return rows[kept]

  def _read(self) -> np.ndarray:
    path = self._path()
    assert path is not None, "there is a folder"
    try:
      with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
        rows = held["rows"]
      fits = rows.shape[1:] == self._space.shape and (
          len(rows) <= self._sizes[len(self.rows)] and rows.dtype.kind in "uf")
    except Exception as error:  # zipfile and numpy raise of many kinds
      raise InputError(
          f"{path} is damaged ({' '.join(str(error).split())}); delete its "
          "folder to ask anew, or put the file back") from error
    if not fits:
      raise InputError(f"{path} is of another attack; choose another folder")
    return rows
