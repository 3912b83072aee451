"""Where a student is trained: on which devices, beside which processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


@dataclasses.dataclass(frozen=True)
class Placement:
  """What an attack must know of the devices; by default there is one.

  Several processes that train as one run the same program. Each reads its own
  rows of a batch; the first alone asks the oracle and writes files, and what it
  wrote may be read by the others once all have called `wait`.

  Attributes:
    index: This process among those that train as one.
    count: How many those are.
    replicas: The devices of all of them, among which a batch is divided.
    rereads: Whether training reads its first batch twice.
    scope: Gives the context in which students are made and trained.
    joined: Takes a student made in that context, and lets what it works out
      over a batch be worked out over the whole batch.
    alone: Gives a network as it is on one device of this process, where it can
      be asked and saved.
    wait: Returns once all processes have called it.
  """

  index: int = 0
  count: int = 1
  replicas: int = 1
  rereads: bool = False
  scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
  joined: Callable[[Any], None] = lambda student: None
  alone: Callable[[Any], Any] = lambda network: network
  wait: Callable[[], None] = lambda: None

  @property
  def first(self) -> bool:
    """Whether this process asks and writes."""
    return self.index == 0


ONE_DEVICE = Placement()
