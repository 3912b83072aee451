"""Several processes, one a host, that run one program together, by jax.

`jax.distributed` connects them and watches over them (`host_connection`),
`multihost_utils` exchanges what all must know. Ours is what ends them in one
line, where jax would wait for a process that has failed and then abort with a
stack trace.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.runtime.placement import Placement

GRACE = 30.0  # seconds for the others to hear why a process ends
_LAST = 1.0  # seconds that process 0 outlives them, as jax aborts them with it
# Of XLA's errors, by their first word, as broken connections are reported.
_STATUSES = frozenset({"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL",
                       "UNAVAILABLE", "UNKNOWN"})
_AGAIN = "run the same command again on all hosts to go on"


class _Failed(InputError):
  """Another process has failed, with an exit status that all take over."""

  def __init__(self, text: str, status: int):
    super().__init__(text)
    self.status = status


class Hosts:
  """The processes that run one program together; by default one alone.

  All of them must call `share` and `wait` in the same order. As a context
  manager it tells the others when this one fails, and ends when all have.

  Attributes:
    index: This process, from 0.
    count: How many there are.
  """

  def __init__(self, index: int = 0, count: int = 1):
    self.index, self.count = index, count
    # Whether others may be in a computation that needs this process: then they
    # cannot be told anything, as they would take it for a part of that.
    self._is_computing = False

  @property
  def first(self) -> bool:
    """True in process 0."""
    return self.index == 0

  def share(self, value: Any = None) -> Any:
    """Gives the `value` of process 0, of what JSON can hold, to all.

    Raises:
      InputError: Another process has failed, or is gone.
    """
    if self.count == 1:
      return value
    self._is_computing = True
    try:
      text = in_thread(lambda: self._exchanged(json.dumps(value), 0))
    except _Failed:
      raise
    except Exception as error:
      raise self._lost(error) from error
    self._is_computing = False
    return json.loads(text)

  def wait(self) -> None:
    """Returns once all processes have called it."""
    self.share()

  def watch(self, placement: Placement) -> Placement:
    """Gives `placement` with its waiting, and a scope that is known here."""
    if self.count == 1:
      return placement

    @contextlib.contextmanager
    def scope() -> Iterator[None]:
      self._is_computing = True
      with placement.scope():
        yield
      self._is_computing = False  # not if it failed

    return dataclasses.replace(placement, scope=scope, wait=self.wait)

  def _exchanged(self, text: str, status: int) -> str:
    """The text of process 0; or, of one that has a status, as an error."""
    from jax.experimental import multihost_utils

    content = np.frombuffer(text.encode(), np.uint8)
    heads = multihost_utils.process_allgather(
        np.array([status, len(content)], np.int32))  # [processes, 2]
    failed = np.flatnonzero(heads[:, 0])
    source = int(failed[0]) if len(failed) else 0
    size = int(heads[source, 1])
    # In few sizes: jax compiles a program for each.
    padded = np.zeros(1 << size.bit_length(), np.uint8)
    if source == self.index:
      padded[:size] = content
    padded = multihost_utils.broadcast_one_to_all(
        padded, is_source=source == self.index)
    text = np.asarray(padded[:size], np.uint8).tobytes().decode()
    if len(failed):
      raise _Failed(f"process {source}: {text}", int(heads[source, 0]))
    return text

  def __enter__(self) -> Hosts:
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    if self.count == 1:
      return
    try:
      if error is None:
        self._part()
        return
      if _is_of_exchange(error):
        raise self._lost(error) from error
    except BaseException as end:
      self._fail(end)
      raise
    self._fail(error)

  def _part(self) -> None:
    """Ends once all are done."""
    import jax

    self.wait()
    jax.distributed.shutdown()

  def _lost(self, error: BaseException) -> InputError:
    self._is_computing = True
    return InputError(
        "another process is gone, or cannot be reached "
        f"({first_line(error)[:200]}); see what it said, then {_AGAIN}")

  def _fail(self, error: BaseException) -> None:
    """Tells the others, if that is possible, and prepares this one's end."""
    status, text = _reason(error)
    if not self._is_computing and not isinstance(error, _Failed):
      with contextlib.suppress(BaseException):
        in_thread(lambda: self._exchanged(text, status), GRACE)
    leave_at_exit(error, _LAST if self.first else 0.0)


def in_thread(call: Callable[[], Any], seconds: float | None = None) -> Any:
  """Calls what waits outside of Python, so that Ctrl-C and a clock can end it.

  Raises:
    TimeoutError: It took longer than `seconds`.
  """
  future: concurrent.futures.Future[Any] = concurrent.futures.Future()

  def work() -> None:
    try:
      future.set_result(call())
    except BaseException as error:
      future.set_exception(error)

  threading.Thread(target=work, daemon=True).start()
  return future.result(seconds)


def _is_of_exchange(error: BaseException) -> bool:
  """Returns True for an error of jax that another process can cause."""
  import jax

  # Some reach Python as a ValueError.
  return isinstance(error, (jax.errors.JaxRuntimeError, ValueError)) and (
      str(error).split(":")[0] in _STATUSES)


def _reason(error: BaseException) -> tuple[int, str]:
  """The exit status and the line for a failure of this process."""
  if isinstance(error, KeyboardInterrupt):
    return 130, f"interrupted; {_AGAIN}"
  if isinstance(error, _Failed):
    return error.status, str(error)
  if isinstance(error, InputError):
    return 2, " ".join(str(error).split())
  return 1, (f"failed ({type(error).__name__}: "
             f"{' '.join(str(error).split())[:200]}); see what it said")


def first_line(error: BaseException) -> str:
  """The first line of what an error says."""
  return str(error).strip().split("\n")[0]


def leave_at_exit(error: BaseException, seconds: float = 0.0) -> None:
  """Makes Python end without jax, which would wait for others, then abort."""
  atexit.register(_leave, _reason(error)[0], seconds)


def _leave(status: int, seconds: float) -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  time.sleep(seconds)
  os._exit(status)
