"""Knockoff nets: a copy from scores of images of other domains."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.data_sheet import Goal
from wsl_extraction.attacks.extraction import Figure
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.attacks.learning.session import Session
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import LabelScore, Reveal
from wsl_extraction.strategies import bandit as bandits
from wsl_extraction.strategies.bandit import Bandit

_TOGETHER = 1024


def _cross_entropy() -> Objective:
  return Distillation(temperature=1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knockoff(Learning):
  """Asks about images of other domains, and trains on the scores.

  Without a bandit the images are random (or another strategy's choice). With
  one, a gradient bandit learns in which classes of the pool to look for them;
  the classes are those of the pool's data set, such as the names of its
  folders, so that the pool has to be another data set than the victim's.
  Preferences are computed anew from all responses before each round, so that
  an attack that was interrupted goes on as if nothing had happened. Only the
  reward "loss" trains a surrogate for each round.

  Attributes:
    bandit: The adaptive policy; None asks by `strategy`, at random by default.

  References:
    Orekondy, Schiele, Fritz. Knockoff Nets: Stealing Functionality of
      Black-Box Models. CVPR 2019, section 4.
  """

  goal = Goal.ACCURACY

  objective: Objective = dataclasses.field(default_factory=_cross_entropy)
  bandit: Bandit | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.bandit is None:
      return
    checks.instance("Knockoff.bandit", self.bandit, Bandit,
                    "a bandit, such as @bandit.Bandit(), or None")
    if self.rounds == 1:
      raise InputError("Knockoff.rounds is 1, and a bandit learns from earlier "
                       "rounds; give 2 or more, or Knockoff.bandit = None")

  @property
  def name(self) -> str:
    if self.bandit is None:
      return "knockoff"
    return f"knockoff ({' + '.join(self.bandit.rewards)})"

  @property
  def reads_pool_classes(self) -> bool:
    return self.bandit is not None

  @property
  def chooser(self):
    return self.bandit or self.strategy

  @property
  def needs(self) -> tuple[Reveal, ...]:
    """Of a label alone every response would be equally certain."""
    if self.bandit is not None and "certainty" in self.bandit.rewards:
      return (LabelScore(),)
    return super().needs

  def choose(self, session, number, size, rng):
    bandit = self.bandit
    if bandit is None:
      return super().choose(session, number, size, rng)
    classes = session.knowledge.pool_classes
    names = session.knowledge.pool_class_names
    assert classes is not None, "checked before the attack"
    losses = self._losses(session, number)
    outputs = (session.surrogate_outputs(number)[0]
               if bandit.needs_surrogate else None)
    arms = max(len(names), int(classes.max()) + 1)

    def choice() -> np.ndarray:
      preferences = np.zeros(arms)
      if number:
        rewards = bandit.scores(_probabilities(session), losses)
        preferences = bandit.preferences(
            classes[session.answered()], rewards, arms)
      return bandit.choose(preferences, classes, size, rng, session.log.all())

    session.note(choice)
    if outputs is not None:
      session.outputs_at[number] = outputs[session.log.chosen[number]]

  def _losses(self, session: Session, number: int) -> np.ndarray | None:
    """Losses [t] of the rows answered, each by the surrogate of its round."""
    bandit = self.bandit
    if bandit is None or not bandit.needs_surrogate:
      return None
    while len(session.log.losses) < number:
      past = len(session.log.losses)
      rows = session.log.chosen[past]
      outputs = session.outputs_at.get(past)
      if outputs is None:  # after an interruption: its checkpoint has it
        outputs = session.surrogate_outputs(past)[0][rows]
      answered = ~np.isin(rows, list(session.unanswered))
      rows, surrogate = rows[answered], outputs[answered]
      start = int(sum(map(len, session.log.losses)))
      responses = _probabilities(session)[start:start + len(rows)]
      session.log.losses.append(
          bandits.losses(responses, surrogate).tolist())
    return np.concatenate([np.zeros(0), *session.log.losses])

  def more_figures(self, session: Session) -> tuple[Figure, ...]:
    if self.bandit is None:
      return ()
    classes = session.knowledge.pool_classes
    names = session.knowledge.pool_class_names
    assert classes is not None, "checked before the attack"
    counts = np.bincount(classes[session.log.all()], minlength=len(names))
    best = np.argsort(-counts, kind="stable")[:3]
    said = ", ".join(
        f"{names[one] if names else one} {counts[one]:,}" for one in best)
    return (Figure("classes_asked", counts.tolist(), f"most of {said}"),)


def _probabilities(session: Session) -> np.ndarray:
  """The oracle's probabilities [t, c] of all rows answered so far."""
  if session.responses:
    return Response.join(session.responses).probabilities()
  rows = session.pool[session.answered()]
  return np.concatenate([
      session.oracle.query(rows[start:start + _TOGETHER]).probabilities()
      for start in range(0, len(rows), _TOGETHER)])
