"""The devices and processes on which a student is trained."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


@dataclasses.dataclass(frozen=True)
class Placement:
  """The devices among which batches are divided; by default there is one.

  Several processes that train as one run the same program. Each reads its own
  rows of a batch; the main one alone asks the oracle and writes files, and what
  it wrote may be read by the others once all have called `wait`.

  Attributes:
    index: This process among those that train as one.
    count: How many those are.
    replicas: The devices of all of them, among which a batch is divided.
    rereads: Whether training reads its first batch twice.
    scope: Gives the context in which students are made and trained.
    synchronize: Takes a student made in that context, and makes it compute
      batch statistics over the global batch.
    on_one_device: Gives a network as it is on one device of this process, where
      it can predict and be saved.
    wait: Returns once all processes have called it.
  """

  index: int = 0
  count: int = 1
  replicas: int = 1
  rereads: bool = False
  scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
  synchronize: Callable[[Any], None] = lambda student: None
  on_one_device: Callable[[Any], Any] = lambda network: network
  wait: Callable[[], None] = lambda: None

  @property
  def is_main(self) -> bool:
    """True in the process that queries the oracle and writes files."""
    return self.index == 0


ONE_DEVICE = Placement()
