"""Workers that are processes of this machine, each with its own Python."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import threading
from concurrent.futures import process as pools
from multiprocessing import connection
from typing import Any

import cloudpickle

from wsl_extraction.runtime.engines.engine import (
    Engine,
    Holder,
    Make,
    Worker,
    WorkerLost,
    unpacked,
)
from wsl_extraction.runtime.engines.shares import available_cpus, threads

_holder = Holder()


class Processes(Engine):
  """Processes of this machine, which share its CPUs.

  Each is a pool of one of Python's `concurrent.futures`: where one of them
  ends, the others go on.
  """

  noun, depth, is_remote = "process", 2, True

  def __init__(self, workers: int):
    """Starts nothing yet.

    Args:
      workers: How many there should be. They have the present environment,
        even if that of this process changes.
    """
    self.workers = workers
    cpus = max(available_cpus() // workers, 1)
    self._environment = {**threads(cpus), **os.environ}

  def start(self, make: Make, number: int) -> Worker:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(self._environment)
    try:
      return _Process(make, number)
    finally:
      os.environ.clear()
      os.environ.update(before)


class _Process(Worker):
  """A pool of one process."""

  def __init__(self, make: Make, number: int):
    self.name = f"process {number}"
    # Spawned: a fork of a process that has a backend's threads may hang.
    self._pool = concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"))
    self.ready = self._pool.submit(_begin, cloudpickle.dumps(make))

  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    try:
      return self._pool.submit(_call, method, arguments)
    except pools.BrokenProcessPool as error:
      future = concurrent.futures.Future()
      future.set_exception(error)
      return future

  def result(self, future: concurrent.futures.Future) -> Any:
    try:
      return unpacked(future.result())
    except pools.BrokenProcessPool as error:
      raise WorkerLost("its process was killed or crashed") from error

  def close(self) -> None:
    # Only the pool knows its process, and waits for what it computes.
    running: Any = getattr(self._pool, "_processes", None) or {}
    for one in list(running.values()):
      with contextlib.suppress(OSError, ValueError):
        one.kill()
    self._pool.shutdown(cancel_futures=True)


def _begin(make: bytes) -> tuple[bool, Any]:
  threading.Thread(target=_end_with_parent, daemon=True).start()
  return _holder.begin(lambda: cloudpickle.loads(make)())


def _call(method: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
  return _holder.call(method, arguments)


def _end_with_parent() -> None:
  """Ends this process when the one that started it has ended, however.

  It would wait for ever: it holds both ends of the pipe of its tasks.
  """
  parent = multiprocessing.parent_process()
  if parent is not None:
    connection.wait([parent.sentinel])
    os._exit(1)
