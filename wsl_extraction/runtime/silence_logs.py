"""Turning away what libraries write behind Python's back."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import TextIO


class SilentImport(importlib.abc.MetaPathFinder):
  """Keeps TensorFlow quiet whoever imports it, and whenever.

  It stays in place when TensorFlow is merely looked for, as torch does.
  """

  def __init__(self):
    self._is_asking = False

  @classmethod
  def install(cls) -> None:
    """Puts one into Python's import system, if there is none yet."""
    if not any(isinstance(one, cls) for one in sys.meta_path):
      sys.meta_path.insert(0, cls())

  def find_spec(self, fullname, path=None, target=None):
    if fullname != "tensorflow" or self._is_asking:
      return None
    self._is_asking = True
    try:
      spec = importlib.util.find_spec(fullname)
    finally:
      self._is_asking = False
    if spec and spec.loader:
      execute = spec.loader.exec_module
      spec.loader.exec_module = (
          lambda module: silenced(sys.stderr)(execute)(module))
    return spec


@contextlib.contextmanager
def silenced(stream: TextIO | None) -> Iterator[None]:
  """Turns away what the process writes to `stream`, C++ included.

  Args:
    stream: `sys.stdout` or `sys.stderr`; None does nothing.
  """
  if stream is None:
    yield
    return
  descriptor = 1 if stream is sys.stdout else 2
  stream.flush()
  kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, descriptor)
  try:
    yield
  finally:
    stream.flush()
    os.dup2(kept, descriptor)
    os.close(kept)
    os.close(nowhere)
