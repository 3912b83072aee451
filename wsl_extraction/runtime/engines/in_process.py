"""Workers that are no others: this process, and threads that wait for it."""

from __future__ import annotations

import concurrent.futures
from typing import Any

from wsl_extraction.runtime.engines.engine import Engine, Make, Worker


class InProcess(Engine):
  """This process computes, one task after the other."""

  noun, workers, depth, is_remote = "process", 1, 1, False

  def start(self, make: Make, number: int) -> Worker:
    return _Own(make())


class _Own(Worker):
  """An object of this process."""

  name = "this process"

  def __init__(self, held: Any):
    self._held, self.ready = held, _done(None)

  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    try:
      return _done(getattr(self._held, method)(*arguments))
    except Exception as error:
      future = concurrent.futures.Future()
      future.set_exception(error)
      return future

  def result(self, future: concurrent.futures.Future) -> Any:
    return future.result()


def _done(value: Any) -> concurrent.futures.Future:
  future = concurrent.futures.Future()
  future.set_result(value)
  return future


class Threads(Engine):
  """Threads of this process, for tasks that wait for processes of their own."""

  noun, depth, is_remote = "process", 1, False

  def __init__(self, workers: int):
    """Starts so many threads, each when it is needed."""
    self.workers = workers
    self._pool = concurrent.futures.ThreadPoolExecutor(workers)

  def start(self, make: Make, number: int) -> Worker:
    return _Thread(self._pool, make(), number)

  def close(self) -> None:
    self._pool.shutdown(cancel_futures=True)


class _Thread(_Own):
  """An object of this process that a thread calls."""

  def __init__(self, pool: concurrent.futures.Executor, held: Any,
               number: int):
    super().__init__(held)
    self.name, self._pool = f"process {number}", pool

  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    return self._pool.submit(getattr(self._held, method), *arguments)
