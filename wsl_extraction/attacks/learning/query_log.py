"""The choices of an attack that asks in rounds, kept on disk."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

NAME = "queries.json"


def sizes(count: int, rounds: int) -> list[int]:
  """Divides `count` queries among rounds, as evenly as can be."""
  ends = [count * number // rounds for number in range(rounds + 1)]
  return [end - start for start, end in itertools.pairwise(ends)]


class QueryLog:
  """The examples that were chosen, round by round.

  What was chosen follows from a surrogate's last bits, which another machine
  or version may compute otherwise. A choice is therefore written down before
  it is paid for, and not made again.

  Attributes:
    chosen: One array of positions in the pool a round.
    sizes: The number of examples of each round.
    losses: Of a bandit, for each round before the last one chosen, what the
      surrogate of that round lost on its examples.
  """

  def __init__(self, folder: pathlib.Path | None, pool: int,
               sizes: Sequence[int]):
    """Reads what an interrupted attack has chosen so far.

    Args:
      folder: Where queries.json is kept; None keeps nothing.
      pool: The size of the pool.
      sizes: The number of examples of each round.

    Raises:
      InputError: The file is damaged.
    """
    self._path = folder / NAME if folder else None
    self._pool, self.sizes = pool, list(sizes)
    self.chosen: list[np.ndarray] = []
    self.losses: list[list[float]] = []
    if self._path and self._path.exists():
      self.chosen = self._read(self._path)

  def add(self, chosen: np.ndarray) -> None:
    """Writes a round's choice of positions in the pool down.

    Raises:
      InputError: The folder cannot be written.
    """
    self.chosen.append(np.asarray(chosen))
    if self._path:
      held: dict[str, Any] = {"rounds": [one.tolist() for one in self.chosen]}
      _write(self._path, held | ({"losses": self.losses} if self.losses
                                 else {}))

  def read(self) -> None:
    """Reads what another process has chosen meanwhile.

    Raises:
      InputError: The file is damaged or not there, or no folder keeps it.
    """
    if self._path is None:
      raise InputError("several processes learn together, and no folder keeps "
                       "what the main one chooses; give Runtime.folder")
    self.chosen = self._read(self._path)

  def all(self) -> np.ndarray:
    """The positions chosen so far, int64 [n]."""
    return np.concatenate([np.zeros(0, np.int64), *self.chosen])

  def _read(self, path: pathlib.Path) -> list[np.ndarray]:
    try:
      held = _rounds(path)
      every = [position for one in held for position in one]
      whole = ([len(one) for one in held] == self.sizes[:len(held)]
               and all(type(position) is int and 0 <= position < self._pool
                       for position in every)
               and len(set(every)) == len(every))
      chosen = [np.array(one, np.int64) for one in held] if whole else []
      self.losses = [[float(loss) for loss in one] for one in _losses(path)]
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


def add_names(folder: pathlib.Path,
              names: Callable[[np.ndarray], list[str]]) -> None:
  """Adds the names of all chosen examples, for the reader of the file.

  Args:
    folder: Where queries.json is.
    names: Gives the names of examples at positions in the pool. An attack has
      none: the name of a file tells its class.
  """
  path = folder / NAME
  rounds = _rounds(path)
  chosen = np.array([one for held in rounds for one in held], np.int64)
  _write(path, {"rounds": rounds, "names": names(chosen)})


def _losses(path: pathlib.Path) -> list[list[float]]:
  return json.loads(path.read_text(encoding="utf-8")).get("losses", [])


def _rounds(path: pathlib.Path) -> list[list[int]]:
  return json.loads(path.read_text(encoding="utf-8"))["rounds"]


def _write(path: pathlib.Path, content: dict[str, Any]) -> None:
  with files.atomic_write(path) as temporary:
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
