"""The contract of attacks: an oracle and a budget in, a surrogate out."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import NotRevealed
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.runtime.runtime import Runtime

_DATA_SHEET = ("needs", "space", "queries", "goal", "model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(abc.ABC):
  """An attack; its fields are its hyper-parameters.

  Authors write the class attributes below, which are its data sheet, `run`, and
  `check` where settings can contradict each other; the call does what all
  attacks share.

  Attributes:
    needs: The reveals of which any one suffices.
    space: The kind of inputs, or several kinds.
    queries: Where the inputs of queries come from.
    goal: What it is for.
    model: The victims that it is made for.
  """

  needs: ClassVar[tuple[Reveal, ...]]
  space: ClassVar[type[Space] | tuple[type[Space], ...]]
  queries: ClassVar[Queries]
  goal: ClassVar[Goal]
  model: ClassVar[Model]

  def __init_subclass__(cls, **kwargs: Any):
    super().__init_subclass__(**kwargs)
    lacking = [name for name in _DATA_SHEET if not hasattr(cls, name)]
    if lacking and not getattr(cls.run, "__isabstractmethod__", False):
      raise TypeError(
          f"{cls.__name__} lacks the class attribute {lacking[0]!r}; an attack "
          f"states {', '.join(_DATA_SHEET)} (CONTRIBUTING.md)")

  @property
  def name(self) -> str:
    """The words that reports use; of the class's name by default."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(self).__name__).lower()

  @property
  def reads_labels(self) -> bool:
    """True for baselines, which read the pool's labels."""
    return False

  @property
  def reads_pool_classes(self) -> bool:
    """True for attacks that choose by the pool's own classes."""
    return False

  def check(self, oracle: Oracle, knowledge: Knowledge) -> None:
    """Makes sure that settings, oracle and knowledge fit, before any query.

    Raises:
      InputError: They do not.
    """
    del oracle, knowledge

  def batch_sizes(self, oracle: Oracle,
                  knowledge: Knowledge) -> Mapping[str, int]:
    """The sizes of the batches that devices divide, by the settings' names."""
    del oracle, knowledge
    return {}

  @final
  def refuse_unfit(self, oracle: Oracle, knowledge: Knowledge) -> None:
    """Makes sure that the attack can begin.

    Raises:
      NotRevealed: The oracle reveals less than the attack needs.
      InputError: Space, pool or settings do not fit.
    """
    if not any(oracle.reveal.covers(need) for need in self.needs):
      raise NotRevealed(
          f"the reveal '{oracle.reveal}' is too little for {self.name}, which "
          f"needs '{_alternatives(self.needs)}'; raise it or choose another "
          "attack or objective")
    if not isinstance(oracle.space, self.space):
      raise InputError(
          f"{self.name} is for {_kinds(self.space)}, the victim takes "
          f"{type(oracle.space).__name__}; choose another attack")
    pool = (knowledge.pool if self.queries is Queries.SYNTHETIC
            else knowledge.required_pool)
    if pool is not None and len(pool) and (
        tuple(pool.rows.shape[1:]) != oracle.space.shape):
      raise InputError(
          f"the pool's rows have shape {tuple(pool.rows.shape[1:])}, the "
          f"oracle takes {oracle.space.shape}; resize one to the other")
    if self.reads_labels and knowledge.pool_labels is None:
      raise InputError(f"{self.name} learns from the pool's labels; give them, "
                       "or choose an objective that asks the oracle")
    if self.reads_pool_classes and knowledge.pool_classes is None:
      raise InputError(
          f"{self.name} chooses by the classes of a pool of another data set "
          "than the victim's; give Experiment.pool_dataset, or "
          "Knowledge.pool_classes")
    self.check(oracle, knowledge)

  @final
  def __call__(self, oracle: Oracle, knowledge: Knowledge, seed: int = 0,
               runtime: Runtime | None = None) -> Extraction:
    """Extracts a surrogate.

    Args:
      oracle: The victim, as far as the adversary sees it. It and its ledger
        belong to this attack alone.
      knowledge: What the adversary has; labels are taken away unless the
        attack is a baseline that reads them.
      seed: Of all that is random.
      runtime: What the caller offers.

    Raises:
      NotRevealed: The oracle reveals less than the attack needs; no query was
        made.
      InputError: The knowledge does not fit the oracle or contradicts the
        attack's settings; no query was made.
    """
    checks.instance("knowledge", knowledge, Knowledge,
                    "a Knowledge, such as Knowledge(pool=examples)")
    runtime = runtime or Runtime()
    checks.instance("runtime", runtime, Runtime, "a Runtime")
    seed = checks.seed("seed", seed)
    pool = knowledge.pool
    if pool is not None:
      knowledge = dataclasses.replace(knowledge, pool=pool.unlabeled())
    if not self.reads_labels:
      knowledge = dataclasses.replace(knowledge, pool_labels=None)
    if not self.reads_pool_classes:
      knowledge = dataclasses.replace(
          knowledge, pool_classes=None, pool_class_names=())
    self.refuse_unfit(oracle, knowledge)
    return self.run(oracle, knowledge, np.random.default_rng(seed), runtime)

  @abc.abstractmethod
  def run(self, oracle: Oracle, knowledge: Knowledge,
          rng: np.random.Generator, runtime: Runtime) -> Extraction:
    """The algorithm; see `__call__`."""


def _alternatives(needs: Sequence[Reveal]) -> str:
  return " or ".join(str(need) for need in needs)


def _kinds(space: type[Space] | tuple[type[Space], ...]) -> str:
  kinds = space if isinstance(space, tuple) else (space,)
  return " or ".join(kind.__name__ for kind in kinds)
