"""The questions of an attack that asks in rounds, kept on disk."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files


def sizes(count: int, rounds: int) -> list[int]:
  """Divides `count` questions among rounds, as evenly as can be."""
  ends = [count * number // rounds for number in range(rounds + 1)]
  return [end - start for start, end in itertools.pairwise(ends)]


class QueryLog:
  """Which examples were chosen, round by round.

  What was chosen follows from a surrogate's last bits, which another machine
  or version may compute otherwise. A choice is therefore written down before
  it is paid for, and not made again.

  Attributes:
    chosen: One array of positions in the pool a round.
    sizes: How many examples each round asks about.
  """

  def __init__(self, folder: pathlib.Path | None, pool: int,
               sizes: Sequence[int]):
    """Reads what an interrupted attack has chosen so far.

    Args:
      folder: Where asked.json is kept; None keeps nothing.
      pool: The size of the pool.
      sizes: How many examples each round asks about.

    Raises:
      InputError: The file is damaged.
    """
    self._path = folder / "asked.json" if folder else None
    self._pool, self.sizes = pool, list(sizes)
    self.chosen: list[np.ndarray] = []
    if self._path and self._path.exists():
      self.chosen = self._read()

  def add(self, chosen: np.ndarray, names: Callable[[np.ndarray], list[str]]
          | None = None) -> None:
    """Writes a round's choice down.

    Args:
      chosen: Positions in the pool.
      names: Gives what users know the examples at positions by, which is
        written down as well.

    Raises:
      InputError: The folder cannot be written.
    """
    self.chosen.append(np.asarray(chosen))
    if self._path:
      held: dict[str, Any] = {"rounds": [one.tolist() for one in self.chosen]}
      if names:
        held["names"] = names(self.all())
      with files.atomic_write(self._path) as path:
        path.write_text(json.dumps(held) + "\n", encoding="utf-8")

  def read(self) -> None:
    """Reads what another process has chosen meanwhile.

    Raises:
      InputError: The file is damaged or not there.
    """
    self.chosen = self._read()

  def all(self) -> np.ndarray:
    """The positions chosen so far, int64 [n]."""
    return np.concatenate([np.zeros(0, np.int64), *self.chosen])

  def _read(self) -> list[np.ndarray]:
    try:
      held = json.loads(self._path.read_text(encoding="utf-8"))["rounds"]
      every = [position for one in held for position in one]
      whole = ([len(one) for one in held] == self.sizes[:len(held)]
               and all(type(position) is int and 0 <= position < self._pool
                       for position in every)
               and len(set(every)) == len(every))
      chosen = [np.array(one, np.int64) for one in held] if whole else []
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
      raise self._damaged(error) from error
    if not whole:
      raise self._damaged("it does not hold the rounds of this attack")
    return chosen

  def _damaged(self, why: Exception | str) -> InputError:
    reason = " ".join(str(why).split())
    return InputError(
        f"{self._path} is damaged ({reason}); delete its folder to choose and "
        "ask anew, or put the file back")
