"""Learning-based extraction: ask about some examples, train on the answers.

In rounds, a surrogate of the answers so far helps to choose the next examples.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from wsl_extraction.attacks import rounds
from wsl_extraction.attacks.attack import (
    Attack,
    Extraction,
    Status,
    Surroundings,
)
from wsl_extraction.data import transfer
from wsl_extraction.data.datasets import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.objectives import training
from wsl_extraction.objectives.objective import (
    Objective,
    Student,
    ends,
    penultimate,
)
from wsl_extraction.oracle import Access, Oracle, Response
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning(Attack):
  """Queries as many examples of the pool as the budget allows, then trains.

  An objective that reads the data set's labels instead of responses makes it
  the paper's baseline: it asks nothing and takes as many labels as the budget
  has rows.

  With several rounds it is active learning: the budget is divided evenly among
  them, the first asks at random, and before each other one a surrogate is
  trained anew on all answers so far, by which the strategy chooses. Any
  strategy goes with any objective; the unlabelled rest of the pool is learnt
  from in all rounds where the objective reads it.

  Attributes:
    objective: What the surrogate minimises.
    network: Called with input_shape, num_classes, value_range and seed; gives
      a network that maps images to logits.
    optimizer: Called without arguments; gives a Keras optimizer.
    steps: Training steps.
    batch_size: Labelled images in a step.
    unlabeled_batch_size: Unlabelled images in a step, where the objective
      reads any; they come from the part of the pool that was not asked about.
    augment: Called with seed; gives the layer through which all images of a
      training batch go; None leaves them alone.
    strategy: What to ask about.
    rounds: How often to choose and ask; 1 asks all at once.
    round_steps: Training steps before each round but the first; None is as
      many as the last training has. The optimizer's schedule and the
      objective's ramp are those of the last training, cut off here.
    query_batch_size: Rows sent to the oracle at once.
    checkpoint_every: Steps between two checkpoints, at most.

  References:
    Jagielski et al. 2020, section 4; 4.2 for unlabelled data.
    Pal, Gupta, Shukla, Kanade, Shevade, Ganapathy. ActiveThief: Model
      Extraction Using Active Learning and Unannotated Public Data. AAAI 2020
      (rounds, with a surrogate trained from scratch in each).
  """

  objective: Objective
  network: Callable[..., keras.Model]
  optimizer: Callable[[], keras.optimizers.Optimizer]
  steps: int
  batch_size: int = 64
  unlabeled_batch_size: int = 64
  augment: Callable[..., keras.layers.Layer] | None = None
  strategy: Strategy = dataclasses.field(default_factory=Random)
  rounds: int = 1
  round_steps: int | None = None
  query_batch_size: int = 256
  checkpoint_every: int = 100

  def __post_init__(self):
    for name in ("steps", "batch_size", "rounds", "round_steps",
                 "query_batch_size", "checkpoint_every"):
      value = getattr(self, name)
      if name == "round_steps" and value is None:
        continue
      if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"Learning.{name} is {value!r}; give a whole number, "
                         "1 or more")
    rest = self.unlabeled_batch_size
    if not isinstance(rest, int) or isinstance(rest, bool) or rest < 0:
      raise InputError(f"Learning.unlabeled_batch_size is {rest!r}; give a "
                       "whole number, 0 or more")
    if not isinstance(self.strategy, Strategy):
      raise InputError(f"Learning.strategy is {self.strategy!r}; give a "
                       "strategy, such as @random.Random()")
    if self.strategy.needs_surrogate and self.rounds == 1:
      raise InputError(
          f"Learning.strategy {type(self.strategy).__name__} chooses by a "
          "surrogate, of which there is none in the first round; give "
          "Learning.rounds 2 or more, or @random.Random()")
    if not isinstance(self.objective, Objective):
      raise InputError(f"Learning.objective is {self.objective!r}; give an "
                       "objective, such as @distillation.Distillation()")
    for name in ("network", "optimizer", "augment"):
      given = getattr(self, name)
      optional = name == "augment" and given is None
      if not optional and (not callable(given) or isinstance(
          given, keras.layers.Layer)):
        raise InputError(f"Learning.{name} is {getattr(self, name)!r}; give a "
                         "reference without parentheses, such as "
                         "@resnet_v2.resnet_v2")

  @property
  def name(self) -> str:
    return f"learning ({' + '.join(self.objective.terms)})"

  @property
  def requires(self) -> Access:
    return Access.parse(self.objective.access)

  @property
  def reads_labels(self) -> bool:
    return "labels" in self.objective.needs

  @property
  def asks(self) -> bool:
    return "targets" in self.objective.needs

  def check(self, oracle, pool):
    budget = oracle.ledger.budget
    if budget is not None and not 1 <= budget <= len(pool):
      raise InputError(f"the budget is {budget} queries; give a number from 1 "
                       f"to {len(pool)}, the size of the pool")
    count = self._count(oracle, pool)
    if self.rounds > count:
      raise InputError(f"Learning.rounds is {self.rounds}, more than the "
                       f"{count} queries; give fewer rounds or more queries")
    self.objective.check(self.batch_size, self.unlabeled(len(pool) - count))

  def run(self, oracle, pool, seed, surroundings):
    # Independent streams: the choice of examples does not depend on how many
    # random numbers training takes.
    choosing, *of_training = _streams(seed)
    sizes = rounds.sizes(self._count(oracle, pool), self.rounds)
    run = _Run(self, oracle, pool, surroundings, sizes)
    # First: what cannot be built costs no query.
    student = run.student(of_training)
    if self.rounds > 1:
      penultimate(student.network)
    for number, size in enumerate(sizes):
      if number == len(run.asked.chosen):
        rng = np.random.default_rng([choosing, number] if number else choosing)
        run.asked.add(self.strategy(
            *run.seen(number, seed), size, rng, run.asked.all()))
      run.ask(number)
    run.train(student, self.rounds, of_training)
    return Extraction(student.network, oracle.ledger.spent, Status.DONE,
                      {"labeled": len(run.asked.all()), "pool": len(pool),
                       "strategy": type(self.strategy).__name__,
                       "rounds": self.rounds,
                       "parameters": student.network.count_params()})

  def _count(self, oracle: Oracle, pool: Examples) -> int:
    """How many examples are chosen in all."""
    budget = oracle.ledger.budget
    return len(pool) if budget is None else budget

  def unlabeled(self, rest: int) -> int:
    """Unlabelled images in a step, when `rest` of the pool are left."""
    reads = "unlabeled" in self.objective.needs
    return self.unlabeled_batch_size if reads and rest else 0


def _streams(*seed: int) -> list[int]:
  """Seeds for choosing, building, ordering and augmenting."""
  return [int(child.generate_state(1)[0] >> 1)
          for child in np.random.SeedSequence(seed).spawn(4)]


class _Run:
  """One call of the attack: what it was given, and what it found out."""

  def __init__(self, attack: Learning, oracle: Oracle, pool: Examples,
               surroundings: Surroundings, sizes: Sequence[int]):
    self.attack, self.oracle, self.pool = attack, oracle, pool
    self.surroundings = surroundings
    self.asked = rounds.Asked(surroundings.folder, len(pool), sizes)
    self.answers: list[Response] = []

  def student(self, seeds: Sequence[int]) -> Student:
    """An untrained surrogate, ready to be trained."""
    attack, (building, _, augmenting) = self.attack, seeds
    try:
      network = attack.network(
          input_shape=self.oracle.input_shape,
          num_classes=self.oracle.num_classes,
          value_range=self.surroundings.value_range, seed=building)
      augment = attack.augment(seed=augmenting) if attack.augment else None
      optimizer = attack.optimizer()
    except (TypeError, ValueError) as error:  # the user chose the parameters
      raise InputError("Learning's network, augment or optimizer cannot be "
                       f"made: {error}; mend its parameters") from error
    student = Student(
        network, attack.objective, seed=building + 1, augment=augment)
    student.compile(optimizer, **self.surroundings.compile_options)
    return student

  def ask(self, number: int) -> None:
    """Sends the examples of a round to the oracle."""
    if not self.attack.asks:
      return
    images = self.pool.images[self.asked.chosen[number]]
    size = self.attack.query_batch_size
    self.answers += [self.oracle.query(images[start:start + size])
                     for start in range(0, len(images), size)]

  def seen(self, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [m, c] and features [m, f] of the pool, by a surrogate.

    Uniform and none (f = 0) in the first round, before there is one.
    """
    classes = self.oracle.num_classes
    if not number:
      return (np.broadcast_to(1 / classes, (len(self.pool), classes)),
              np.zeros((len(self.pool), 0)))
    _, *of_training = _streams(seed, number)
    student = self.student(of_training)
    self.train(student, number, of_training)
    images, logits = ends(student.network)
    looking = keras.Model(images, [penultimate(student.network), logits])
    features, logits = looking.predict(
        self.pool.images, batch_size=256, verbose=0)
    probabilities = ops.convert_to_numpy(ops.softmax(np.float32(logits)))
    return probabilities, np.float32(features)

  def train(self, student: Student, number: int, seeds: Sequence[int]) -> None:
    """Trains on all answers so far, before round `number` or after the last."""
    attack, chosen = self.attack, self.asked.all()
    last = number == attack.rounds
    self._drop_checkpoints(number)
    rest = np.ones(len(self.pool), bool)
    rest[chosen] = False
    unlabeled = attack.unlabeled(np.count_nonzero(rest))
    steps = attack.steps if last else attack.round_steps or attack.steps
    training.fit(
        student,
        transfer.batches(
            self._entries(chosen), steps, attack.batch_size, seeds[1],
            self.pool.images[rest & bool(unlabeled)], unlabeled),
        steps, checkpoint_every=attack.checkpoint_every,
        checkpoint=self._checkpoint(number),
        callbacks=self.surroundings.callbacks(
            "surrogate" if last else f"round {number + 1}/{attack.rounds}",
            steps, attack.objective.images(attack.batch_size, unlabeled)))

  def _checkpoint(self, number: int) -> pathlib.Path | None:
    """Where the training before round `number`, or the last, is kept."""
    last = number == self.attack.rounds
    name = "checkpoint.npz" if last else f"round_{number + 1}.npz"
    return self.surroundings.folder and self.surroundings.folder / name

  def _drop_checkpoints(self, number: int) -> None:
    """Drops those before earlier rounds, which have chosen."""
    for old in range(1, number):
      if path := self._checkpoint(old):
        path.unlink(missing_ok=True)

  def _entries(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
    entries = {"labeled": self.pool.images[chosen]}
    if self.attack.reads_labels:
      entries["labels"] = self.pool.labels[chosen]
    if self.answers:
      entries |= transfer.response_entries(
          Response.join(self.answers), self.oracle.num_classes)
    return entries
