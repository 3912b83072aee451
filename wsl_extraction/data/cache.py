"""Decoded images kept on disk, so that a second start is quick.

Only what took long to decode is kept, in the folder WSL_EXTRACTION_CACHE, else
`~/.cache/wsl_extraction`. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

# Part of every fingerprint; to be changed when decoding gives other pixels.
_VERSION = "1"
_SLOW_SECONDS = 2.0
_LARGEST_BYTES = 4 * 2**30


def folder() -> pathlib.Path:
  """Returns the folder of the cache, which need not exist."""
  chosen = os.environ.get("WSL_EXTRACTION_CACHE")
  return files.expanded(chosen) if chosen else files.in_home(
      ".cache", "wsl_extraction")


def fingerprint(facts: Iterable[object]) -> str:
  """Returns 32 hex digits that differ when any of the facts does."""
  text = "\0".join(map(str, [_VERSION, *facts]))
  encoded = text.encode(errors="surrogateescape")
  return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def load(name: str, key: str) -> dict[str, np.ndarray] | None:
  """Returns the arrays kept under `key`, or None.

  A damaged file counts as none; zip's checksums tell.
  """
  try:
    # Opened here because numpy leaves a damaged file open.
    with (open(_path(name, key), "rb") as stream,
          np.load(stream, allow_pickle=False) as stored):
      return dict(stored)
  except Exception:  # zipfile and numpy raise of many kinds
    return None


def save(name: str, key: str, arrays: dict[str, np.ndarray],
         seconds: float) -> None:
  """Keeps arrays that took `seconds` to make, whole or not at all.

  Nothing is kept if that was quick, if they exceed 4 GiB, or if the folder
  cannot be written: the cache only saves time.
  """
  size = sum(array.nbytes for array in arrays.values())
  if seconds < _SLOW_SECONDS or size > _LARGEST_BYTES:
    return
  members: dict[str, Any] = {**arrays}
  try:
    with files.atomic_write(_path(name, key)) as path:
      np.savez(path, **members)
  except InputError:
    pass


def _path(name: str, key: str) -> pathlib.Path:
  return folder() / "datasets" / f"{name}-{key}.npz"
