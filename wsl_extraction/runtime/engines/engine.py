"""Workers that compute for the process that owns the results.

An engine starts workers: this process itself (`in_process`), processes of this
machine (`processes`), or Ray's actors and tasks (`ray_cluster`). `crew` sends
tasks to them and replaces those that end. Owners, of a store of responses or a
table, know no more of it than this interface.
"""

from __future__ import annotations

import abc
import concurrent.futures
import math
from collections.abc import Callable
from typing import Any

from wsl_extraction.errors import InputError

Make = Callable[[], Any]


class WorkerLost(Exception):
  """A worker ended before it answered; the text says how."""


class Worker(abc.ABC):
  """One worker, which holds an object and calls its methods.

  Attributes:
    name: For messages, such as "actor 2".
    ready: Done when the object is made.
  """

  name: str
  ready: concurrent.futures.Future

  @property
  def has_place(self) -> bool:
    """True once it can make its object, which may take hours."""
    return True

  @abc.abstractmethod
  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    """Has a method of the object called, after the calls before this one.

    Only `result` reads the future.
    """

  @abc.abstractmethod
  def result(self, future: concurrent.futures.Future) -> Any:
    """The result of a future that is done.

    Raises:
      WorkerLost: The worker ended before.
      InputError: The method, or the making of the object, raised it.
    """

  def close(self) -> None:
    """Ends the worker, whatever it is doing."""
    return None


class Engine(abc.ABC):
  """Starts workers.

  Attributes:
    noun: The name of a worker in messages.
    workers: How many there should be.
    depth: The most tasks that a worker has at once, those included that wait.
    is_remote: Whether workers are other processes, of which an answer takes
      its time and which can end.
    patience: Seconds in which one of the workers has to have a place.
  """

  noun: str
  workers: int
  depth: int
  is_remote: bool
  patience: float = math.inf

  @abc.abstractmethod
  def start(self, make: Make, number: int) -> Worker:
    """Starts a worker.

    Args:
      make: Makes its object. For another process it is copied by cloudpickle.
      number: Of the worker, from 1.
    """

  def shortage(self) -> str:
    """A line that says why no worker may have a place."""
    return f"no {self.noun} had a place within {self.patience:g} s"

  def close(self) -> None:
    """Gives back what the engine holds."""
    return None

  def __enter__(self) -> Engine:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


class Holder:
  """The object of a worker, where that is another process.

  What its methods return, or the `InputError` that they raise, comes back as a
  value: no library in between has to be able to copy an exception.
  """

  def here(self) -> None:
    """Shows by its end that the worker has its place."""

  def begin(self, make: Make) -> tuple[bool, Any]:
    """Makes the object."""
    self._held, outcome = None, _outcome(make)
    if outcome[0]:
      self._held, outcome = outcome[1], (True, None)
    return outcome

  def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Calls one of its methods."""
    return _outcome(getattr(self._held, method), *arguments)


def _outcome(function: Callable[..., Any], *arguments: Any
             ) -> tuple[bool, Any]:
  try:
    return True, function(*arguments)
  except InputError as error:
    return False, (type(error), str(error))


def unpacked(outcome: tuple[bool, Any]) -> Any:
  """The value that a `Holder` gave, or raises its error."""
  is_value, value = outcome
  if is_value:
    return value
  kind, text = value
  error = kind.__new__(kind)  # whatever its constructor takes
  error.args = (text,)
  raise error
