"""Copycat CNN: a copy from the labels of images of other domains."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.data_sheet import Goal
from wsl_extraction.attacks.extraction import Figure
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.attacks.learning.session import Session
from wsl_extraction.data.off_domain import IN_DOMAIN
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.objectives.stolen_labels import StolenLabels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copycat(Learning):
  """Asks for the labels of random natural images, and trains on these alone.

  Scores are not read where the oracle reveals them. A few images of the
  victim's own domain may be among the pool (`OffDomain.in_domain`): they are
  all asked about, the images of other domains as far as the budget then
  reaches. The paper trains on the latter first and on the former then; here
  each of the former is learnt from several times in one training.

  Attributes:
    balance: Repeats examples of rare labels, at random, until each label that
      was seen is as frequent as the most frequent.
    in_domain_repeats: How often an image of the victim's domain is learnt from
      for once of another; None where the pool has none.

  References:
    Correia-Silva, Berriel, Badue, de Souza, Oliveira-Santos. Copycat CNN:
      Stealing Knowledge by Persuading Confession with Random Non-Labeled Data.
      IJCNN 2018.
  """

  goal = Goal.ACCURACY

  objective: Objective = dataclasses.field(default_factory=StolenLabels)
  balance: bool = False
  in_domain_repeats: int | None = None

  def __post_init__(self):
    super().__post_init__()
    checks.flag("Copycat.balance", self.balance)
    checks.whole("Copycat.in_domain_repeats", self.in_domain_repeats, 1,
                 optional=True)

  @property
  def name(self) -> str:
    return "copycat"

  @property
  def reads_pool_classes(self) -> bool:
    return self.in_domain_repeats is not None

  def check(self, oracle, knowledge):
    super().check(oracle, knowledge)
    if self.reads_pool_classes and not _in_domain(knowledge).any():
      raise InputError(
          f"Copycat.in_domain_repeats is {self.in_domain_repeats}, and the pool"
          " has no image of the victim's domain; give OffDomain.in_domain, or "
          "None")

  def choose(self, session, number, size, rng):
    if not self.reads_pool_classes:
      return super().choose(session, number, size, rng)
    own = _in_domain(session.knowledge)

    def choice() -> np.ndarray:
      order = rng.permutation(len(own))
      order = order[~np.isin(order, session.log.all())]
      return order[np.argsort(~own[order], kind="stable")[:size]]

    return session.note(choice)

  def resampling(self, knowledge):
    if not self.balance and not self.reads_pool_classes:
      return None

    def places(chosen: np.ndarray, classes: np.ndarray,
               rng: np.random.Generator) -> np.ndarray:
      every = np.arange(len(chosen))
      if self.in_domain_repeats is not None:
        own = _in_domain(knowledge)[chosen]
        every = np.repeat(every, np.where(own, self.in_domain_repeats, 1))
      return balanced(every, classes, rng) if self.balance else every

    return places

  def more_figures(self, session: Session) -> tuple[Figure, ...]:
    if not session.classes:
      return ()
    counts = np.bincount(
        np.concatenate(session.classes), minlength=session.oracle.outputs)
    rarest, most = int(counts.min()), int(counts.max())
    return (Figure("labels", counts.tolist(),
                   f"{rarest:,} to {most:,} examples of a class"),)


def balanced(places: np.ndarray, classes: np.ndarray,
             rng: np.random.Generator) -> np.ndarray:
  """Places [n] repeated until all classes that occur are equally frequent.

  Args:
    places: Indices into `classes`.
    classes: The class [m] at each place.
    rng: Chooses which are repeated once more than others.

  Returns:
    Each of `places` at least once: int64, as many of each class as `places`
    has of the most frequent one.
  """
  of = classes[places]
  most = np.bincount(of).max()
  return np.concatenate([
      np.resize(rng.permutation(places[of == one]), most)
      for one in np.unique(of)])


def _in_domain(knowledge: Knowledge) -> Any:
  """bool [n]: which rows of the pool are of the victim's domain."""
  names, classes = knowledge.pool_class_names, knowledge.pool_classes
  if classes is None or IN_DOMAIN not in names:
    return np.zeros(len(knowledge.required_pool), bool)
  return classes == names.index(IN_DOMAIN)
