"""Responses that one process hands to others which train with it.

One process owns the store of responses, and is the only one to open it. For the
others it writes each response of its oracle into a file of its own, whole or
not at all, before they ask.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.runtime import files

_KEYS = "row keys"


class Publisher:
  """Writes the responses of an oracle for others."""

  def __init__(self, folder: pathlib.Path):
    """Empties `folder`, which an interrupted process may have left."""
    self._folder, self._known = folder, set[bytes]()
    self._count = 0
    remove(folder)
    try:
      folder.mkdir(parents=True)
    except OSError as error:
      raise files.unwritable(folder, error) from error

  def __call__(self, keys: Sequence[bytes], response: Response) -> None:
    """Writes a response, unless all of its rows were written before."""
    if self._known.issuperset(keys):
      return
    self._known.update(keys)
    joined = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)
    arrays: dict[str, Any] = {_KEYS: joined, **response.arrays}
    with files.atomic_write(self._folder / f"{self._count:06d}.npz") as path:
      np.savez(path, **arrays)
    self._count += 1


class PublishedResponses:
  """Reads what a `Publisher` has written; it stands for a store."""

  def __init__(self, folder: pathlib.Path, reveal: Reveal, outputs: int,
               resolution: float):
    """Reads nothing yet.

    Args:
      folder: That of the publisher.
      reveal: What a response holds.
      outputs: The number of classes, c.
      resolution: Of the responses.
    """
    self._folder, self._reveal = folder, reveal
    self._outputs, self._resolution = outputs, resolution
    self._read: set[str] = set()
    # The number of the response of each row, and the row there.
    self._places: dict[bytes, tuple[int, int]] = {}
    self._responses: list[Response] = []

  def read(self, keys: Sequence[bytes]) -> Response:
    """The responses to `keys`, in their order.

    Raises:
      InputError: One of them was not published.
    """
    if any(key not in self._places for key in keys):
      self._look()
    absent = sum(key not in self._places for key in keys)
    if absent:
      raise InputError(
          f"{self._folder} holds no response to {absent} of {len(keys)} "
          "examples; give a --workdir that all hosts share")
    places = [self._places[key] for key in keys]
    used = sorted({response for response, _ in places})
    starts = np.cumsum([0, *(len(self._responses[one]) for one in used)])
    start = dict(zip(used, starts.tolist(), strict=False))
    return Response.join([self._responses[one] for one in used]).take(
        np.array([start[response] + row for response, row in places]))

  def _look(self) -> None:
    """Reads the files that are new."""
    for path in sorted(self._folder.glob("[0-9]*.npz")):
      if path.name in self._read:
        continue
      self._read.add(path.name)
      with np.load(path) as arrays:
        keys = [row.tobytes() for row in arrays[_KEYS]]
        response = Response(self._outputs, self._reveal.scale, {
            name: arrays[name] for name in arrays.files if name != _KEYS},
            self._resolution)
      self._places.update(
          (key, (len(self._responses), row)) for row, key in enumerate(keys))
      self._responses.append(response)


def remove(folder: pathlib.Path) -> None:
  """Removes what was published."""
  shutil.rmtree(folder, ignore_errors=True)
