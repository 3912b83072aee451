"""Tasks sent to the workers of an engine, and workers replaced that end."""

from __future__ import annotations

import collections
import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.runtime.engines.engine import (
    Engine,
    Make,
    Worker,
    WorkerLost,
)
from wsl_extraction.runtime.engines.tasks import Member, Outcome, Task

_TRIES = 4  # workers that may end one after the other on one task
_STARTS = 3  # and before one of them is ready


class Crew:
  """The workers of one engine that do one kind of task.

  The first worker starts alone, so that what it makes for all (a trained
  victim in a cache, say) is there for the others, which `grow` starts.

  Attributes:
    lost: The tasks whose workers have ended, to be sent again.
    replaced: The number of workers that have ended.
  """

  def __init__(self, engine: Engine, make: Make,
               accept: Callable[[Any], None] | None = None,
               notice: Callable[[str], None] = lambda text: None):
    """Starts the first worker; waits until it is ready.

    Args:
      engine: Starts workers.
      make: Makes the object of each; it has a method `facts` if there is
        `accept`.
      accept: Called with the facts of each worker that is ready, the first
        included; raises what is wrong with them.
      notice: Called with a line for the user when a worker is lost.

    Raises:
      InputError: The object cannot be made, or no worker has a place for it.
    """
    self._engine, self._make = engine, make
    self._accept, self._notice = accept, notice
    self._members: dict[int, Member] = {}
    self._failed_starts = self.replaced = 0
    self.lost: collections.deque[Task] = collections.deque()
    self._alone_since = time.monotonic()
    try:
      self._start(1)
      while not self._ready():
        self._step()
    except BaseException:
      self.close()
      raise

  def grow(self, most: int | None = None) -> None:
    """Starts the other workers, `most` in all if that is fewer."""
    count = self._engine.workers if most is None else min(
        self._engine.workers, most)
    for number in range(2, count + 1):
      if number not in self._members:
        self._start(number)

  def ask(self, method: str, *arguments: Any) -> Any:
    """The result of a call of one of the workers, which has no other task."""
    self.send(Task(method, arguments))
    while True:
      outcomes = self.wait()
      for outcome in outcomes:
        if isinstance(outcome.value, Exception):
          raise outcome.value
        return outcome.value
      while self.lost and self.room():
        self.send(self.lost.popleft())

  def room(self, depth: Callable[[str], int] | None = None) -> int:
    """The number of tasks that may be sent now.

    Args:
      depth: Gives the most tasks at once of the worker of a name; None takes
        the engine's.
    """
    return sum(max(self._most(one, depth) - len(one.tasks), 0)
               for one in self._ready())

  def send(self, task: Task,
           depth: Callable[[str], int] | None = None) -> None:
    """Sends a task to the worker that has most room for it."""
    member = max(self._ready(), key=lambda one: (
        self._most(one, depth) - len(one.tasks), -one.number))
    member.send(task)

  @property
  def in_flight(self) -> int:
    """The number of tasks that were sent and have not ended."""
    return sum(len(one.tasks) for one in self._members.values())

  def wait(self, timeout: float | None = None) -> list[Outcome]:
    """Waits until something has happened: tasks ended, or there is room.

    Args:
      timeout: Seconds to wait at most; None for any time.

    Raises:
      InputError: Workers end again and again before they are ready, or all have
        ended and none comes.
    """
    end = None if timeout is None else time.monotonic() + timeout
    while True:
      ready = len(self._ready())
      outcomes = self._step(timeout)
      if outcomes or self.lost or len(self._ready()) > ready or (
          end is not None and time.monotonic() >= end):
        return outcomes

  def close(self) -> None:
    """Ends all workers."""
    for member in self._members.values():
      member.worker.close()
    self._members.clear()

  def __enter__(self) -> Crew:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _most(self, member: Member,
            depth: Callable[[str], int] | None) -> int:
    return self._engine.depth if depth is None else depth(member.worker.name)

  def _ready(self) -> list[Member]:
    return [one for one in self._members.values() if one.is_ready]

  def _start(self, number: int) -> None:
    self._members[number] = Member(
        number, self._engine.start(self._make, number))

  def _step(self, timeout: float | None = None) -> list[Outcome]:
    """Waits for one of the workers, at most a second; sees to what it says."""
    futures = [future for one in self._members.values() for future in (
        one.tasks if one.is_ready else (one.worker.ready,))]
    done, _ = concurrent.futures.wait(
        futures, 1.0 if timeout is None else min(timeout, 1.0),
        concurrent.futures.FIRST_COMPLETED)
    outcomes: list[Outcome] = []
    for member in list(self._members.values()):
      if member.is_ready:
        outcomes += self._ended(member, done)
      elif member.worker.ready in done:
        self._begun(member)
    if any(one.worker.has_place for one in self._members.values()):
      self._alone_since = time.monotonic()
    elif time.monotonic() - self._alone_since > self._engine.patience:
      raise InputError(self._engine.shortage())
    return outcomes

  def _begun(self, member: Member) -> None:
    worker = member.worker
    try:
      worker.result(worker.ready)
      if self._accept is not None:
        self._accept(_value_of(worker, "facts"))
    except WorkerLost as error:
      self._failed_starts += 1
      if self._failed_starts >= _STARTS:
        raise InputError(
            f"{worker.name} ends before it is ready, {_STARTS} times in a row "
            f"({error}); see that it has the memory and the devices that the "
            "work takes") from error
      self._replace(member)
      return
    except InputError as error:
      if not self._engine.is_remote:
        raise
      raise InputError(f"{worker.name}: {error}") from error
    member.is_ready, self._failed_starts = True, 0

  def _ended(self, member: Member, done: set[concurrent.futures.Future]
             ) -> list[Outcome]:
    outcomes, lost = [], None
    for future in [one for one in member.tasks if one in done]:
      task = member.tasks[future]
      try:
        value = member.worker.result(future)
      except WorkerLost as error:
        lost = lost or error  # what it answered before is not lost
        continue
      except InputError as error:
        value = error
      outcomes.append(Outcome(
          task, member.worker.name, value, member.end(future)))
    if lost:
      outcomes += self._lose(member, lost)
    return outcomes

  def _lose(self, member: Member, error: WorkerLost) -> list[Outcome]:
    """Replaces a worker; gives up the task that has ended several."""
    future, *_ = member.tasks
    task = member.tasks[future]
    task.tries += 1  # the others were waiting
    outcomes = []
    if task.tries >= _TRIES:
      outcomes.append(Outcome(task, member.worker.name, InputError(
          f"{_TRIES} workers ended one after the other on {task.label} "
          f"({error}); see that each has the memory that the work takes, then "
          "run the same command again"), member.end(future)))
    self._notice(f"{member.worker.name} has ended ({error}); another one "
                 "takes its place, and what it had is sent again")
    self.lost.extend(member.tasks.values())
    self.replaced += 1
    self._replace(member)
    return outcomes

  def _replace(self, member: Member) -> None:
    member.worker.close()
    self._start(member.number)


def _value_of(worker: Worker, method: str) -> Any:
  """The result of a quick method, waited for."""
  future = worker.call(method)
  concurrent.futures.wait([future])
  return worker.result(future)
