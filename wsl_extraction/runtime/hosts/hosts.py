"""The processes that run one program together, and their common end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.runtime.hosts.peer import Peer

GRACE = 10.0  # seconds for others to hear why a process ends


class Hosts:
  """The processes that run one program together; by default one alone.

  All of them must call `share` and `wait` in the same order. As a context
  manager it tells the others when this one fails, and ends when all have.

  Args:
    index: This process, from 0.
    count: How many there are.
    peers: The connections: of process 0 to all others, of those to it.
  """

  def __init__(self, index: int = 0, count: int = 1,
               peers: Mapping[int, Peer] | None = None):
    self.index, self.count = index, count
    self._peers = dict(peers or {})
    self._ending = threading.Lock()
    for number, peer in self._peers.items():
      peer.listen(lambda failure, number=number: self._end(number, failure),
                  to_the_end=self.first)

  @property
  def first(self) -> bool:
    """True in process 0."""
    return self.index == 0

  def share(self, value: Any = None) -> Any:
    """Gives the `value` of process 0, of what JSON can hold, to all."""
    if not self.first:
      return self._peers[0].receive()
    for peer in self._peers.values():
      peer.send(value)
    return value

  def wait(self) -> None:
    """Returns once all processes have called it."""
    for peer in self._peers.values():
      peer.receive() if self.first else peer.send(None)
    self.share()

  def __enter__(self) -> Hosts:
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    if not self._peers:
      return
    if error is None:
      self._part()
      return
    status, text = _reason(error)
    if status == 1:
      # Most likely another process is gone: who listens to it then says so and
      # ends this one.
      time.sleep(GRACE / 4)
    self._ending.acquire()
    self._tell([self.index, status, text])
    # Else jax would wait for the others when Python ends. By a method, so that
    # the connections stay open until then.
    atexit.register(self._leave, status)

  def _part(self) -> None:
    """Ends once all are done."""
    self.wait()
    for peer in self._peers.values():
      peer.part()
    self._part_jax()

  def _part_jax(self) -> None:
    import jax

    jax.distributed.shutdown()

  def _end(self, number: int, failure: list[Any] | None) -> None:
    """Ends this process, since process `number` has failed or is gone."""
    if self._ending.acquire(blocking=False):
      failure = failure or [
          number, 2, "it is gone; see what it said, then run the same command "
          "again on all hosts to go on"]
      # Whatever the main thread waits for, and with all connections open.
      threading.Thread(target=self._follow, args=(failure,)).start()

  def _follow(self, failure: list[Any]) -> None:
    line = "\n" if sys.stderr.isatty() else ""  # behind a progress bar
    print(f"{line}error: process {failure[0]}: {failure[2]}", file=sys.stderr,
          flush=True)
    self._tell(failure)
    self._leave(failure[1])

  def _leave(self, status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

  def _tell(self, failure: list[Any]) -> None:
    """Tells the others. Process 0, on which jax depends, is the last to go."""
    for peer in self._peers.values():
      peer.send({"failed": failure})
    end = time.monotonic() + GRACE
    for peer in self._peers.values():
      peer.join(end - time.monotonic())


def _reason(error: BaseException) -> tuple[int, str]:
  """The exit status and the line for a failure of this process."""
  if isinstance(error, KeyboardInterrupt):
    return 130, "interrupted; run the same command again on all hosts to go on"
  text = " ".join(str(error).split())
  if isinstance(error, InputError):
    return 2, text
  return 1, f"failed ({type(error).__name__}: {text[:200]}); see what it said"
