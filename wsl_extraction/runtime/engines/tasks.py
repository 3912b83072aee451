"""Tasks of workers, and the workers that have them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from typing import Any

from wsl_extraction.runtime.engines.engine import Worker


@dataclasses.dataclass(eq=False)
class Task:
  """A call of a method of a worker's object.

  Attributes:
    method: Its name.
    arguments: Of the call.
    label: What it is, for messages: "256 rows".
    tries: The workers that have ended on it.
  """

  method: str
  arguments: tuple[Any, ...]
  label: str = "a task"
  tries: int = 0


@dataclasses.dataclass(eq=False)
class Outcome:
  """The end of a task.

  Attributes:
    task: It.
    worker: The name of the worker.
    value: The result of the call, or the error that it raised.
    seconds: From when the worker was free for it.
  """

  task: Task
  worker: str
  value: Any
  seconds: float


class Member:
  """A worker, and the tasks that it has."""

  def __init__(self, number: int, worker: Worker):
    self.number, self.worker = number, worker
    self.is_ready = False
    self.tasks: dict[concurrent.futures.Future, Task] = {}
    # When each was sent, and when it ended.
    self._times: dict[concurrent.futures.Future, list[float]] = {}
    self._last = 0.0

  def send(self, task: Task) -> None:
    """Has the worker do a task after those that it has."""
    times = [time.monotonic()]
    future = self.worker.call(task.method, *task.arguments)
    self.tasks[future], self._times[future] = task, times
    # No reference to the future, and so to its result, which may be late.
    future.add_done_callback(lambda _: times.append(time.monotonic()))

  def end(self, future: concurrent.futures.Future) -> float:
    """Forgets a task that has ended; gives the seconds that it took."""
    del self.tasks[future]
    times = self._times.pop(future)
    ended = times[1] if len(times) > 1 else time.monotonic()
    began, self._last = max(times[0], self._last), ended
    return ended - began
