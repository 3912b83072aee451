"""One call of `Learning`: choosing, asking, and training on the responses."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import ends, penultimate
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.exchanges import AnswersLost
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.training import batches
from wsl_extraction.training.recipe import Recipe, Seeds
from wsl_extraction.training.student import Student

# Response values to keep in memory; as targets a value takes five bytes.
_MOST_VALUES = 50_000_000
_LOOKED_AT = 1024  # rows of the pool that a surrogate sees at once


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
    """Chooses the examples of a round, in the main process for all."""
    outputs = self.surrogate_outputs(number)
    if self.placement.is_main:
      self.log.add(
          self.strategy(*outputs, size, rng, self.log.all()))
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
      if response is not None and not self.requeries_store:
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
    inputs, logits = ends(network)
    both = keras.Model(inputs, [penultimate(network), logits])
    parts = [both.predict(np.asarray(self.pool[start:start + _LOOKED_AT]),
                          batch_size=256, verbose=0)
             for start in range(0, len(self.pool), _LOOKED_AT)]
    features, logits = map(np.concatenate, zip(*parts, strict=True))
    probabilities = ops.convert_to_numpy(
        ops.softmax(np.asarray(logits, np.float32)))
    return probabilities, np.asarray(features, np.float32)

  def train(self, student: Student, number: int, seeds: Seeds) -> None:
    """Trains on all responses so far, before a round or after the last."""
    chosen = self.answered()
    is_last = number == self.rounds
    self._drop_checkpoints(number)
    unasked = np.ones(len(self.pool), bool)
    unasked[chosen] = False
    reads_unlabeled = "unlabeled" in self.objective.entries
    self.recipe.fit(
        student, self._entries(chosen),
        "surrogate" if is_last else f"round {number + 1}/{self.rounds}",
        seeds, self.runtime,
        steps=None if is_last else self.round_steps,
        unlabeled=self.pool[unasked] if reads_unlabeled else None,
        checkpoint=self._checkpoint(number),
        complete=self._completion(chosen))

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

  def _entries(self, chosen: np.ndarray) -> dict[str, Any]:
    entries = {"labeled": self.pool[chosen]}
    if self.labels is not None:
      entries["labels"] = self.labels[chosen]
    if self.responses:
      entries |= batches.response_entries(Response.join(self.responses))
    return entries


def streams(*entropy: Any) -> tuple[int, Seeds]:
  """Seeds of the choice of examples, and of a training."""
  choosing, *training = (
      int(child.generate_state(1)[0] >> 1)
      for child in np.random.SeedSequence(entropy).spawn(4))
  return choosing, Seeds(*training)
