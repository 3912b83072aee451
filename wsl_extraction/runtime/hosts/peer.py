"""A connection between two processes that run one program together."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any


class Peer:
  """A connection to another process, which speaks JSON, a value a line."""

  def __init__(self, connection: socket.socket):
    # A host that loses its power says nothing.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    self._connection = connection
    self._lines = connection.makefile("r", encoding="utf-8")
    self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    self._parted = False
    self._thread: threading.Thread | None = None

  def hello(self, seconds: float) -> Any:
    """The first value that it sends, before `listen`; None if none comes."""
    self._connection.settimeout(seconds)
    try:
      return json.loads(self._lines.readline())
    except (OSError, ValueError):
      return None
    finally:
      self._connection.settimeout(None)

  def send(self, value: Any) -> None:
    # That it is gone is for the thread that listens to find out.
    with contextlib.suppress(OSError):
      self._connection.sendall(json.dumps(value).encode() + b"\n")

  def receive(self) -> Any:
    return self._inbox.get()

  def listen(self, ended: Callable[[list[Any] | None], None],
             to_the_end: bool) -> None:
    """Receives from now on, in a thread.

    Args:
      ended: Called with the failure that it tells of, or None if it is gone.
      to_the_end: Whether to go on after a failure until it is gone.
    """
    self._connection.settimeout(None)
    self._thread = threading.Thread(
        target=self._read, args=(ended, to_the_end), daemon=True)
    self._thread.start()

  def part(self) -> None:
    """Says that no more will come, and that this is no failure."""
    self.send({"parted": True})
    with contextlib.suppress(OSError):
      self._connection.shutdown(socket.SHUT_WR)

  def join(self, seconds: float) -> None:
    """Waits until nothing more is to be received from it."""
    if self._thread:
      self._thread.join(max(0.0, seconds))

  def close(self) -> None:
    self._lines.close()
    self._connection.close()

  def _read(self, ended: Callable[[list[Any] | None], None],
            to_the_end: bool) -> None:
    with contextlib.suppress(OSError, ValueError):
      for line in self._lines:
        value = json.loads(line)
        if isinstance(value, dict) and "failed" in value:
          ended(value["failed"])
          if not to_the_end:
            return
          continue
        if isinstance(value, dict) and "parted" in value:
          return
        self._inbox.put(value)
    ended(None)
