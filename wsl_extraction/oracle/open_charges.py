"""Sums of charges, and the rows that are charged and not answered."""

from __future__ import annotations

import collections
from collections.abc import Sequence


class OpenCharges:
  """What a store's table of charges says, in memory.

  Attributes:
    spent: The rows charged so far, those sent again included.
    resent: The rows of these that were charged again.
  """

  def __init__(self, spent: int = 0, resent: int = 0):
    """Begins with these sums, and no row that waits for an answer."""
    self.spent, self.resent = spent, resent
    # The charge of each row, and how many rows of each charge wait.
    self._batches: dict[bytes, int] = {}
    self._unanswered: collections.Counter[int] = collections.Counter()

  def __contains__(self, key: bytes) -> bool:
    """True if a row is charged and not answered."""
    return key in self._batches

  def recall(self, batch: int, keys: Sequence[bytes]) -> None:
    """Takes note of rows of an earlier charge that wait, of each once."""
    for key in keys:
      if key not in self._batches:
        self._batches[key] = batch
        self._unanswered[batch] += 1

  def add(self, batch: int, keys: Sequence[bytes], resent: int) -> None:
    """Takes note of a charge, of which so many rows were charged before."""
    self.spent += len(keys)
    self.resent += resent
    for key in keys:
      if key in self._batches:  # its first charge stays open on disk, unasked
        self._unanswered[self._batches[key]] -= 1
      self._batches[key] = batch
    self._unanswered[batch] += len(keys)

  def ended(self, keys: Sequence[bytes]) -> list[int]:
    """The charges of which no row waits once `keys` are answered."""
    return [batch for batch, count in self._answered(keys).items()
            if self._unanswered[batch] == count]

  def answer(self, keys: Sequence[bytes]) -> None:
    """Takes note of answers."""
    self._unanswered -= self._answered(keys)
    for key in keys:
      self._batches.pop(key, None)

  def _answered(self, keys: Sequence[bytes]) -> collections.Counter[int]:
    return collections.Counter(
        self._batches[key] for key in keys if key in self._batches)
