"""Learning-based extraction: ask about some examples, train on the responses.

In rounds, a surrogate of the responses so far helps to choose the next ones.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import ends, penultimate
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.exchanges import AnswersLost
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import Label, Reveal
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.training import batches
from wsl_extraction.training.recipe import Recipe, Seeds
from wsl_extraction.training.student import Student

# Response values to keep in memory; as targets a value takes five bytes.
_MOST_VALUES = 50_000_000
_LOOKED_AT = 1024  # rows of the pool that a surrogate sees at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning(Attack):
  """Queries as many examples of the pool as the budget allows, then trains.

  An objective that reads the data set's labels instead of responses makes it
  the paper's baseline: it asks nothing and takes as many labels as the budget
  has rows.

  With several rounds it is active learning: the budget is divided evenly among
  them, the first asks at random, and before each other one a surrogate is
  trained anew on all responses so far, by which the strategy chooses. Any
  strategy goes with any objective; the unlabelled rest of the pool is learnt
  from in all rounds where the objective reads it.

  Attributes:
    objective: What the surrogate minimises.
    recipe: How it is trained.
    strategy: What to ask about.
    rounds: How often to choose and ask; 1 asks all at once.
    round_steps: Training steps before each round but the first; None is as
      many as the last training has. The optimizer's schedule and the
      objective's ramp are those of the last training, cut off here.
    query_batch_size: Rows sent to the oracle at once.

  References:
    Jagielski et al. 2020, section 4; 4.2 for unlabelled data.
    Pal, Gupta, Shukla, Kanade, Shevade, Ganapathy. ActiveThief: Model
      Extraction Using Active Learning and Unannotated Public Data. AAAI 2020
      (rounds, with a surrogate trained from scratch in each).
  """

  space: ClassVar = Space
  goal: ClassVar = Goal.FIDELITY
  model: ClassVar = Model.NEURAL_NETWORK

  objective: Objective
  recipe: Recipe
  strategy: Strategy = dataclasses.field(default_factory=Random)
  rounds: int = 1
  round_steps: int | None = None
  query_batch_size: int = 256

  def __post_init__(self):
    for name in ("rounds", "round_steps", "query_batch_size"):
      object.__setattr__(self, name, checks.whole(
          f"Learning.{name}", getattr(self, name), 1,
          optional=name == "round_steps"))
    for name, kind, example in (
        ("recipe", Recipe, "a recipe, such as @recipe.Recipe()"),
        ("strategy", Strategy, "a strategy, such as @random.Random()"),
        ("objective", Objective,
         "an objective, such as @distillation.Distillation()")):
      checks.instance(f"Learning.{name}", getattr(self, name), kind, example)
    if self.strategy.needs_surrogate and self.rounds == 1:
      raise InputError(
          f"Learning.strategy {type(self.strategy).__name__} chooses by a "
          "surrogate, of which there is none in the first round; give "
          "Learning.rounds 2 or more, or @random.Random()")

  @property
  def name(self) -> str:
    return f"learning ({' + '.join(self.objective.terms)})"

  @property
  def needs(self) -> tuple[Reveal, ...]:
    """Those of the objective."""
    return self.objective.needs or (Label(),)

  @property
  def queries(self) -> Queries:
    """The pool, or none where the objective reads no responses."""
    return Queries.POOL if self.uses_oracle else Queries.NONE

  @property
  def reads_labels(self) -> bool:
    return "labels" in self.objective.entries

  @property
  def uses_oracle(self) -> bool:
    """True if the objective reads responses."""
    return "targets" in self.objective.entries

  def check(self, oracle, knowledge):
    pool = knowledge.required_pool
    budget = oracle.ledger.budget.rows
    if budget is not None and not 1 <= budget <= len(pool):
      raise InputError(f"the budget is {budget} queries; give a number from 1 "
                       f"to {len(pool)}, the size of the pool")
    count = _count(oracle, len(pool))
    if self.rounds > count:
      raise InputError(f"Learning.rounds is {self.rounds}, more than the "
                       f"{count} queries; give fewer rounds or more queries")
    if self.recipe.crop is not None and isinstance(pool.rows, np.ndarray):
      raise InputError(
          "Recipe.crop is for images that are files still, and these are "
          "decoded already; set Experiment.streamed to True, or use "
          "Recipe.augment")
    parts = self.recipe.accumulate
    self.objective.check(self.recipe.batch_size // parts,
                         self._unlabeled_size(len(pool) - count) // parts)

  def batch_sizes(self, oracle, knowledge):
    size = len(knowledge.required_pool)
    unqueried = size - _count(oracle, size)
    parts = self.recipe.accumulate
    note = f" / {parts}" if parts > 1 else ""
    sizes = {"batch_size": self.recipe.batch_size,
             "unlabeled_batch_size": self._unlabeled_size(unqueried)}
    return {f"Recipe.{name}{note}": size // parts
            for name, size in sizes.items()}

  def _unlabeled_size(self, unqueried: int) -> int:
    """Unlabelled rows in a step, when so many of the pool are left."""
    reads = "unlabeled" in self.objective.entries
    return self.recipe.unlabeled_batch_size if reads and unqueried else 0

  def run(self, oracle, knowledge, rng, runtime):
    # Independent streams: the choice of examples does not depend on how many
    # random numbers training takes.
    sequence = rng.bit_generator.seed_seq
    assert isinstance(sequence, np.random.SeedSequence)  # by `__call__`
    entropy = sequence.entropy
    choosing, seeds = _streams(entropy)
    pool = len(knowledge.required_pool)
    sizes = query_log.sizes(_count(oracle, pool), self.rounds)
    session = _Session(self, oracle, knowledge, runtime, sizes, entropy)
    # First: what cannot be built costs no query.
    student = session.student(seeds)
    if self.rounds > 1:
      penultimate(student.network)
    for number, size in enumerate(sizes):
      if number == len(session.log.chosen):
        session.choose(number, size, np.random.default_rng(
            [choosing, number] if number else choosing))
      session.ask(number)
    session.train(student, self.rounds, seeds)
    surrogate = runtime.placement.on_one_device(student.network)
    lost = len(session.unanswered)
    status = Status.BUDGET_EXHAUSTED if lost else Status.DONE
    missing = f"{lost} responses, as lost answers took the budget"
    return Extraction(surrogate, status, missing=missing if lost else "",
                      figures=(
        Figure("labeled", len(session.answered())),
        Figure("pool", pool),
        Figure("strategy", type(self.strategy).__name__),
        Figure("rounds", self.rounds),
        Figure("parameters", student.network.count_params())))


class _Session:
  """One call of `Learning`: its arguments, and its choices and responses.

  Attributes:
    log: What was chosen so far.
  """

  def __init__(self, attack: Learning, oracle: Oracle, knowledge: Knowledge,
               runtime: Runtime, sizes: Sequence[int], entropy: Any):
    self.attack, self.oracle, self.runtime = attack, oracle, runtime
    self.pool = knowledge.required_pool.rows
    self.labels = knowledge.pool_labels if attack.reads_labels else None
    self.entropy, self.placement = entropy, runtime.placement
    self.log = query_log.QueryLog(runtime.folder, len(self.pool), sizes)
    self.placement.wait()  # all have read it, before one writes
    self.responses: list[Response] = []
    # Positions in the pool that a remote victim has not answered in its budget.
    self.unanswered: set[int] = set()
    # Whether responses are too large to keep, and free when asked for again.
    self.requeries_store = attack.uses_oracle and oracle.remembers and (
        sum(sizes) * oracle.outputs > _MOST_VALUES)

  def student(self, seeds: Seeds) -> Student:
    """An untrained surrogate."""
    return self.attack.recipe.student(
        self.attack.objective, self.oracle.space, self.oracle.outputs, seeds,
        self.runtime)

  def choose(self, number: int, size: int, rng: np.random.Generator) -> None:
    """Chooses the examples of a round, in the main process for all."""
    outputs = self.surrogate_outputs(number)
    if self.placement.is_main:
      self.log.add(
          self.attack.strategy(*outputs, size, rng, self.log.all()))
    self.placement.wait()
    if not self.placement.is_main:
      self.log.read()

  def ask(self, number: int) -> None:
    """Sends the examples of a round to the oracle."""
    if not self.attack.uses_oracle:
      return
    if not self.placement.is_main:
      self.placement.wait()  # until there are responses to be read
    chosen, size = self.log.chosen[number], self.attack.query_batch_size
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
    _, seeds = _streams(self.entropy, number)
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
    attack, chosen = self.attack, self.answered()
    is_last = number == attack.rounds
    self._drop_checkpoints(number)
    unasked = np.ones(len(self.pool), bool)
    unasked[chosen] = False
    reads_unlabeled = "unlabeled" in attack.objective.entries
    attack.recipe.fit(
        student, self._entries(chosen),
        "surrogate" if is_last else f"round {number + 1}/{attack.rounds}",
        seeds, self.runtime,
        steps=None if is_last else attack.round_steps,
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
    is_last = number == self.attack.rounds
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


def _count(oracle: Oracle, pool: int) -> int:
  """The number of examples that are chosen in all."""
  budget = oracle.ledger.budget.rows
  return pool if budget is None else budget


def _streams(*entropy: Any) -> tuple[int, Seeds]:
  """Seeds of the choice of examples, and of a training."""
  choosing, *training = (
      int(child.generate_state(1)[0] >> 1)
      for child in np.random.SeedSequence(entropy).spawn(4))
  return choosing, Seeds(*training)
