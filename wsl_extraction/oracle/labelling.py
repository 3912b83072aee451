"""Responses to a pool, computed by workers, booked and kept by one process.

The owner of the store sends batches to the workers of an engine. A batch is
charged in a transaction before it is sent; the same transaction keeps the
answers that came meanwhile. So a worker that ends loses answers, never a
charge: its rows are sent again, free of charge where the victim is local, as
nobody saw an answer, and charged again where it is remote. Memory is bounded: a
worker has few batches, and gets another one when it has answered.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.exchanges import AnswersLost
from wsl_extraction.oracle.ledger import BudgetExceeded, Ledger
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.runtime.engines.crew import Crew
from wsl_extraction.runtime.engines.tasks import Outcome, Task

_MOST_DEPTH = 64  # batches at a worker
_MOST_BYTES = 64 << 20  # of batches and answers at a worker
_AHEAD = 0.5  # seconds of work that a worker has before it
_FILE_BYTES = 150 << 10  # of an image that is a file still
_LAST_ANSWERS = 30.0  # seconds to wait for what was sent, after a failure

Count = Callable[[int, str, float], None]


class Labelling:
  """Answers rows of a pool, batch by batch.

  Args:
    crew: Workers whose object has a method `answer(rows, keys)`, which gives a
      `response_codec.Packed`.
    ledger: Charges; its book is `store`.
    store: Keeps the responses.
    space: Of the rows.
    is_remote: Whether the victim is; then a worker has one batch at a time, so
      that no more is lost with it.
    depth: The most batches that a worker has at first.
    count: Called with the rows of a batch that was answered and is kept, the
      name of the worker, and the seconds that it took.
  """

  def __init__(self, crew: Crew, ledger: Ledger, store: ResponseStore,
               space: Space, is_remote: bool, depth: int, count: Count):
    self._crew, self._ledger, self._store = crew, ledger, store
    self._space, self._count = space, count
    self._least = 1 if is_remote else depth
    self._most = self._least if self._least == 1 else _MOST_DEPTH
    # Of the last batches of each worker.
    self._seconds: dict[str, float] = {}
    # The most of a batch, and of a row.
    self._rows = self._row_bytes = 0

  def run(self, rows: np.ndarray | LazyRows, keys: Sequence[bytes],
          chosen: np.ndarray, batch_size: int) -> None:
    """Answers some rows.

    Args:
      rows: The pool, [n, ...].
      keys: Their identities, n of them.
      chosen: Positions [m] of the rows to be answered, in ascending order, of
        each key once.
      batch_size: The most rows at once.

    Raises:
      InputError: A row does not lie in the space, a worker failed, or as for
        `Crew.wait`. What was answered is kept.
      BudgetExceeded: Lost answers took what was left.
    """
    batches = collections.deque(_batches(keys, chosen, batch_size))
    outcomes: list[Outcome] = []
    is_spent = False
    try:
      while True:
        tasks = [] if is_spent else self._next(rows, keys, batches)
        tasks, is_spent = self._affordable(tasks, is_spent)
        self._book(outcomes, tasks)
        for task in tasks:
          self._crew.send(task, self._depth)
        if not self._crew.in_flight and (
            is_spent or not (batches or self._crew.lost)):
          break
        outcomes = self._crew.wait()
        self._refuse_failed(outcomes)
    except BaseException as error:
      self._keep_last(outcomes, error)
      raise
    if is_spent:
      missing = set(self._store.missing([keys[row] for row in chosen]).tolist())
      raise AnswersLost(self._ledger, len(chosen), [
          row for row in range(len(chosen)) if row not in missing], [])

  def _next(self, rows: np.ndarray | LazyRows, keys: Sequence[bytes],
            batches: collections.deque[np.ndarray]) -> list[Task]:
    """As many tasks as there is room for, those first that were lost."""
    tasks: list[Task] = []
    for _ in range(self._crew.room(self._depth)):
      if self._crew.lost:
        tasks.append(self._crew.lost.popleft())
      elif batches:
        tasks.append(self._task(rows, keys, batches.popleft()))
    return tasks

  def _affordable(self, tasks: list[Task],
                  is_spent: bool) -> tuple[list[Task], bool]:
    """Those that the budget reaches for, and True if it ends there."""
    wanted: list[bytes] = []
    for place, task in enumerate(tasks):
      wanted += task.arguments[1]
      try:
        self._ledger.afford(wanted)
      except BudgetExceeded:
        if not self._ledger.resent:
          raise
        return tasks[:place], True
    return tasks, is_spent

  def _task(self, rows: np.ndarray | LazyRows, keys: Sequence[bytes],
            chosen: np.ndarray) -> Task:
    asked: Any = self._space.checked(rows[chosen])
    asked = asked.fetched() if isinstance(asked, LazyRows) else asked
    self._row_bytes = max(self._row_bytes, _FILE_BYTES if isinstance(
        asked, LazyRows) else asked.nbytes // len(chosen))
    self._rows = max(self._rows, len(chosen))
    return Task("answer", (asked, [keys[row] for row in chosen.tolist()]),
                f"a batch of {len(chosen)} rows")

  def _book(self, outcomes: list[Outcome], tasks: Sequence[Task]) -> None:
    """Keeps answers and charges what is about to be sent, at once."""
    if outcomes or tasks:
      with self._store.transaction():
        for outcome in outcomes:
          self._store.write_packed(outcome.task.arguments[1], outcome.value)
        for task in tasks:
          self._ledger.charge(task.arguments[1])
    kept = list(outcomes)
    outcomes.clear()
    for outcome in kept:
      before = self._seconds.get(outcome.worker, outcome.seconds)
      self._seconds[outcome.worker] = (before + outcome.seconds) / 2
      self._count(len(outcome.value), outcome.worker, outcome.seconds)

  def _depth(self, worker: str) -> int:
    """The most batches of a worker: few of slow ones, or of large rows."""
    seconds = self._seconds.get(worker)
    if seconds is None or self._most == self._least:
      return self._least
    each = self._rows * (self._row_bytes + self._store.codec.row_bytes)
    room = _MOST_BYTES // max(each, 1)
    wanted = int(_AHEAD / max(seconds, 1e-3)) + 1
    return max(self._least, min(wanted, room, self._most))

  def _refuse_failed(self, outcomes: list[Outcome]) -> None:
    """Raises the first error among outcomes, and leaves the answers."""
    errors = [one for one in outcomes if isinstance(one.value, InputError)]
    for one in errors:
      outcomes.remove(one)
    if errors:
      raise errors[0].value

  def _keep_last(self, outcomes: list[Outcome], error: BaseException) -> None:
    """Keeps the answers that have come, or come soon, after an error."""
    end = time.monotonic() + (
        _LAST_ANSWERS if isinstance(error, InputError) else 0)
    with contextlib.suppress(InputError):
      self._book(outcomes, ())
      while self._crew.in_flight:
        left = max(end - time.monotonic(), 0)
        last = self._crew.wait(left)
        self._book([one for one in last
                    if not isinstance(one.value, InputError)], ())
        if not left:
          return


def _batches(keys: Sequence[bytes], chosen: np.ndarray,
             size: int) -> list[np.ndarray]:
  """Splits chosen rows into batches, always in the same way.

  A batch has the rows of one stretch of the pool, of as many distinct rows. So
  it is the same one after an interruption, which lost some batches among
  others, and a victim's arithmetic, or noise that is drawn by the batch, gives
  the same answers.
  """
  if not len(chosen):
    return []
  ranks: dict[bytes, int] = {}
  for key in keys:
    ranks.setdefault(key, len(ranks))
  stretch = np.fromiter((ranks[keys[row]] // size for row in chosen.tolist()),
                        np.int64, len(chosen))
  return np.split(chosen, np.flatnonzero(np.diff(stretch)) + 1)
