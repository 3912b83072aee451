"""One call of `Learning`: choosing, asking, and training on the responses."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning import query_log, surrogate_views
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.exchanges import AnswersLost
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.training import batches
from wsl_extraction.training.best_weights import BestWeights
from wsl_extraction.training.recipe import Recipe, Seeds
from wsl_extraction.training.student import Student

# Response values to keep in memory; as targets a value takes five bytes.
_MOST_VALUES = 50_000_000
_RESAMPLING = 11  # keeps its stream apart


@dataclasses.dataclass(kw_only=True)
class Session:
  """One call of `Learning`: its arguments, and its choices and responses.

  Attributes:
    objective: As in `Learning`, and so the five after it.
    oracle: Is asked.
    knowledge: Has the pool, and its labels for an objective that reads them.
    runtime: Where and how to train.
    sizes: The number of examples that each round chooses.
    entropy: Of all random choices.
    log: What was chosen so far.
    responses: Those of the rounds so far, unless they are too large to keep.
    unanswered: Positions in the pool that a remote victim has not answered in
      its budget.
    held_back: How many examples of the first round choose the weights of each
      training, and are not learnt from.
    classes: The oracle's first choices for the examples answered, in the order
      of `answered`.
    resample: Called with these and a generator, gives positions among them, the
      examples to learn from; None learns from each once.
    outputs_at: By round, the probabilities [n, c] of its examples by the
      surrogate of that round; kept for bandits.
  """

  objective: Objective
  recipe: Recipe
  strategy: Strategy
  rounds: int
  round_steps: int | None
  query_batch_size: int
  oracle: Oracle
  knowledge: Knowledge
  runtime: Runtime
  sizes: Sequence[int]
  entropy: Any
  log: query_log.QueryLog = dataclasses.field(init=False)
  responses: list[Response] = dataclasses.field(default_factory=list)
  unanswered: set[int] = dataclasses.field(default_factory=set)
  held_back: int = 0
  classes: list[np.ndarray] = dataclasses.field(default_factory=list)
  resample: Callable[[np.ndarray, np.ndarray, np.random.Generator],
                     np.ndarray] | None = None
  outputs_at: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    entries = self.objective.entries
    self.pool = self.knowledge.required_pool.rows
    self.labels = self.knowledge.pool_labels if "labels" in entries else None
    self.placement = self.runtime.placement
    self.log = query_log.QueryLog(
        self.runtime.folder, len(self.pool), self.sizes)
    self.placement.wait()  # all have read it, before one writes
    self.uses_oracle = "targets" in entries
    # Whether responses are too large to keep, and free when asked for again.
    self.requeries_store = self.uses_oracle and self.oracle.remembers and (
        sum(self.sizes) * self.oracle.outputs > _MOST_VALUES)

  def student(self, seeds: Seeds) -> Student:
    """An untrained surrogate."""
    return self.recipe.student(
        self.objective, self.oracle.space, self.oracle.outputs, seeds,
        self.runtime, self.pool)

  def choose(self, number: int, size: int, rng: np.random.Generator) -> None:
    """Chooses the examples of a round by the strategy."""
    outputs = self.surrogate_outputs(number)
    self.note(lambda: self.strategy(*outputs, size, rng, self.log.all()))

  def note(self, choice: Callable[[], np.ndarray]) -> None:
    """Writes a choice down that the main process makes for all."""
    if self.placement.is_main:
      self.log.add(choice())
    self.placement.wait()
    if not self.placement.is_main:
      self.log.read()

  def ask(self, number: int) -> None:
    """Sends the examples of a round to the oracle."""
    if not self.uses_oracle:
      return
    if not self.placement.is_main:
      self.placement.wait()  # until there are responses to be read
    chosen, size = self.log.chosen[number], self.query_batch_size
    for start in range(0, len(chosen), size):
      some = chosen[start:start + size]
      try:
        response = self.oracle.query(self.pool[some])
      except AnswersLost as error:
        # What was answered is paid for, and better than nothing.
        self.unanswered.update(np.delete(some, error.answered).tolist())
        response = error.response
      if response is not None:
        self.classes.append(response.top_classes)
        if not self.requeries_store:
          self.responses.append(response)
    if len(self.unanswered) == len(self.log.all()):
      raise InputError("no row was answered: lost answers took the budget of "
                       f"{self.oracle.ledger.budget}; raise the budget")
    if self.placement.is_main:
      self.placement.wait()

  def answered(self) -> np.ndarray:
    """The positions in the pool of examples to learn from, int64 [n]."""
    chosen = self.log.all()
    return chosen[~np.isin(chosen, list(self.unanswered))]

  def surrogate_outputs(self, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [m, c] and features [m, f] of the pool, by a surrogate.

    Uniform and none (f = 0) in the first round, before there is one.
    """
    if not number:
      classes = self.oracle.outputs
      return (np.broadcast_to(1 / classes, (len(self.pool), classes)),
              np.zeros((len(self.pool), 0)))
    _, seeds = streams(self.entropy, number)
    student = self.student(seeds)
    self.train(student, number, seeds)
    network = self.placement.on_one_device(student.network)
    return surrogate_views.look(network, self.pool, self.strategy.reads)

  def train(self, student: Student, number: int, seeds: Seeds) -> None:
    """Trains on all responses so far, before a round or after the last."""
    chosen = self.answered()
    is_last = number == self.rounds
    self._drop_checkpoints(number)
    unasked = np.ones(len(self.pool), bool)
    unasked[chosen] = False
    reads_unlabeled = "unlabeled" in self.objective.entries
    learnt, keeper = self._learnt(chosen), None
    runtime = self.runtime
    if self._held_back(chosen).any():
      keeper = self._keeper(student, chosen, number)
      runtime = dataclasses.replace(
          runtime, training_callbacks=lambda *size: [
              *self.runtime.training_callbacks(*size), keeper])
    self.recipe.fit(
        student, self._entries(chosen, learnt),
        "surrogate" if is_last else f"round {number + 1}/{self.rounds}",
        seeds, runtime,
        steps=None if is_last else self.round_steps,
        unlabeled=self.pool[unasked] if reads_unlabeled else None,
        checkpoint=self._checkpoint(number),
        complete=self._completion(chosen[learnt]))
    if keeper is not None:
      keeper.restore()

  def _held_back(self, chosen: np.ndarray) -> np.ndarray:
    """bool [n]: the answered examples that choose the weights."""
    first = self.log.chosen[0][:self.held_back]
    return np.isin(chosen, first)

  def _keeper(self, student: Student, chosen: np.ndarray,
              number: int) -> BestWeights:
    held = self._held_back(chosen)
    path = self.runtime.folder and (
        self.runtime.folder / f"round_{number + 1}_best.npz")
    return BestWeights(student, self.pool[chosen[held]],
                       np.concatenate(self.classes)[held], path)

  def _learnt(self, chosen: np.ndarray) -> np.ndarray:
    """Places in `chosen` of the examples to learn from, some repeatedly."""
    places = np.flatnonzero(~self._held_back(chosen))
    if not self.uses_oracle or self.resample is None:
      return places
    rng = np.random.default_rng([_RESAMPLING, len(chosen)])
    return places[self.resample(
        chosen[places], np.concatenate(self.classes)[places], rng)]

  def _completion(
      self, chosen: np.ndarray) -> Callable[[dict[str, Any]], Any] | None:
    """Adds responses to batches, if they are not kept."""
    if not self.requeries_store:
      return None
    queried = self.pool[chosen]

    def completed(batch: dict[str, Any]) -> dict[str, Any]:
      rows = batch.pop("rows")
      return batch | batches.response_entries(self.oracle.query(queried[rows]))

    return completed

  def _checkpoint(self, number: int) -> pathlib.Path | None:
    """The checkpoint of the training before round `number`, or of the last."""
    is_last = number == self.rounds
    name = "checkpoint.npz" if is_last else f"round_{number + 1}.npz"
    return self.runtime.folder and self.runtime.folder / name

  def _drop_checkpoints(self, number: int) -> None:
    """Drops those before earlier rounds, which have chosen."""
    for old in range(1, number if self.placement.is_main else 1):
      if path := self._checkpoint(old):
        path.unlink(missing_ok=True)
        path.with_stem(f"{path.stem}_best").unlink(missing_ok=True)

  def _entries(self, chosen: np.ndarray, learnt: np.ndarray) -> dict[str, Any]:
    entries = {"labeled": self.pool[chosen[learnt]]}
    if self.labels is not None:
      entries["labels"] = self.labels[chosen[learnt]]
    if self.responses:
      entries |= batches.response_entries(
          Response.join(self.responses).take(learnt))
    return entries


def streams(*entropy: Any) -> tuple[int, Seeds]:
  """Seeds of the choice of examples, and of a training."""
  choosing, *training = (
      int(child.generate_state(1)[0] >> 1)
      for child in np.random.SeedSequence(entropy).spawn(4))
  return choosing, Seeds(*training)
