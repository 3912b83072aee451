"""Files of runs that are damaged."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from wsl_extraction.errors import InputError


def damaged(path: pathlib.Path, cause: Exception | str,
            remedy: str = "delete it") -> InputError:
  """Says that a file of a run cannot be used."""
  reason = " ".join(str(cause).split())
  return InputError(
      f"{path} is damaged ({reason}); {remedy}, then run the command again")


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Says of errors within that `path`, which was read, is damaged."""
  try:
    yield
  except (AttributeError, IndexError, KeyError, TypeError,
          ValueError) as error:
    if isinstance(error, InputError):
      raise
    said = f"no {error}" if isinstance(error, KeyError) else error
    raise damaged(path, str(said)) from error
