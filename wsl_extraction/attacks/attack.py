"""What an attack is: an oracle and a budget in, a surrogate out."""

from __future__ import annotations

import abc
import dataclasses
import enum
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

import keras
import numpy as np

from wsl_extraction.data.datasets import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import AccessDenied
from wsl_extraction.oracle.reveals import Access
from wsl_extraction.runtime.placement import ONE_DEVICE, Placement


class Status(enum.Enum):
  """How an attack ended."""

  DONE = "DONE"
  BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
  INCOMPLETE = "INCOMPLETE"


@dataclasses.dataclass(frozen=True)
class Extraction:
  """What an attack gives back.

  Attributes:
    surrogate: Maps images to logits [n, c].
    queries: The rows that the oracle charged for it.
    status: How the attack ended.
    notes: What else there is to say, by name; goes into `result.json`.
    weights: The network that the surrogate is, where it was computed.
  """

  surrogate: keras.Model
  queries: int
  status: Status
  notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  weights: ReluNetwork | None = None


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """What the caller offers an attack beside the oracle.

  Attributes:
    value_range: The range of the images' values.
    folder: Where a checkpoint may be kept, so that a call after an
      interruption goes on; None keeps nothing.
    callbacks: Called with the name of a training ("surrogate" for the last
      one), its steps and the images that it learns from in each, gives Keras
      callbacks for it.
    compile_options: For Keras' `compile`, beside the optimizer; see
      `devices.compile_options`.
    read: Gives the elements of a grain `MapDataset` of batches whose images
      are files still; None reads in this process.
    placement: The devices and processes that train, `distribution.place`. All
      processes run the attack. The first one alone asks and writes; the others
      have an oracle that gives the answers which the first one got.
    progress: Called by attacks that train nothing with what they are doing and
      the rows that were asked so far.
  """

  value_range: tuple[float, float] = (0.0, 255.0)
  folder: pathlib.Path | None = None
  callbacks: Callable[
      [str, int, int], Sequence[keras.callbacks.Callback]] = (
          lambda name, steps, images: ())
  compile_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  read: Callable[[Any], Iterable[Any]] | None = None
  placement: Placement = ONE_DEVICE
  progress: Callable[[str, int], None] = lambda stage, rows: None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
  """An attack; its fields are its hyper-parameters.

  Authors write `requires` and `run`; the call does the checks, once for all.
  """

  @property
  @abc.abstractmethod
  def requires(self) -> Access:
    """The least access level at which the attack works."""

  @property
  def name(self) -> str:
    """What reports call it."""
    return type(self).__name__.lower()

  @property
  def reads_labels(self) -> bool:
    """Whether it is a baseline that reads the pool's labels."""
    return False

  @property
  def asks_pool(self) -> bool:
    """Whether it asks about examples of the pool, not inputs of its own."""
    return True

  @abc.abstractmethod
  def check(self, oracle: Oracle, pool: Examples) -> None:
    """Raises what is wrong with the attack's settings, before any query."""

  def batch_sizes(self, oracle: Oracle, pool: Examples) -> Mapping[str, int]:
    """The sizes of the batches that devices divide, by the settings' names."""
    del oracle, pool
    return {}

  @final
  def __call__(self, oracle: Oracle, pool: Examples, seed: int,
               surroundings: Surroundings = Surroundings()) -> Extraction:
    """Extracts a surrogate.

    Args:
      oracle: The victim, as far as the adversary sees it. It and its ledger
        belong to this attack alone.
      pool: The adversary's examples; their labels are taken away unless the
        attack is a baseline that reads them.
      seed: Of all that is random.
      surroundings: What the caller offers.

    Raises:
      AccessDenied: The oracle reveals less than the attack needs; no query
        was made.
      InputError: The pool is empty, does not fit the oracle, or contradicts
        the attack's settings; no query was made.
    """
    if oracle.access < self.requires:
      raise AccessDenied(
          f"{type(self).__name__} needs access {self.requires.name.lower()}, "
          f"the oracle gives {oracle.access.name.lower()}; raise the access or "
          "choose another objective")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or (
        not 0 <= seed < 2**31):
      raise InputError(f"seed is {seed!r}; give a whole number from 0 to "
                       f"{2**31 - 1}")
    if not len(pool):
      raise InputError("the adversary's pool is empty; give it examples")
    if tuple(pool.images.shape[1:]) != oracle.input_shape:
      raise InputError(
          f"the pool's images have shape {tuple(pool.images.shape[1:])}, the "
          f"oracle takes {oracle.input_shape}; resize one to the other")
    self.check(oracle, pool)
    if not self.reads_labels:
      pool = pool.unlabeled()
    return self.run(oracle, pool, int(seed), surroundings)

  @abc.abstractmethod
  def run(self, oracle: Oracle, pool: Examples, seed: int,
          surroundings: Surroundings) -> Extraction:
    """The algorithm; see `__call__`."""
