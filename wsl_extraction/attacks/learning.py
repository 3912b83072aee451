"""Learning-based extraction: ask about some examples, train on the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

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
from wsl_extraction.objectives.objective import Objective, Student
from wsl_extraction.oracle import Access, Oracle, Response
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.strategy import Strategy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning(Attack):
  """Queries as many examples of the pool as the budget allows, then trains.

  An objective that reads the data set's labels instead of responses makes it
  the paper's baseline: it asks nothing and takes as many labels as the budget
  has rows.

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
    query_batch_size: Rows sent to the oracle at once.
    checkpoint_every: Steps between two checkpoints, at most.

  References:
    Jagielski et al. 2020, section 4.
  """

  objective: Objective
  network: Callable[..., keras.Model]
  optimizer: Callable[[], keras.optimizers.Optimizer]
  steps: int
  batch_size: int = 64
  unlabeled_batch_size: int = 64
  augment: Callable[..., keras.layers.Layer] | None = None
  strategy: Strategy = dataclasses.field(default_factory=Random)
  query_batch_size: int = 256
  checkpoint_every: int = 100

  def __post_init__(self):
    for name in ("steps", "batch_size", "query_batch_size", "checkpoint_every"):
      value = getattr(self, name)
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

  def run(self, oracle, pool, seed, surroundings):
    # Independent streams: the choice of examples does not depend on how many
    # random numbers training takes.
    choosing, building, ordering, turning = (
        int(child.generate_state(1)[0] >> 1)
        for child in np.random.SeedSequence(seed).spawn(4))
    # First: what cannot be built costs no query.
    student = self._student(oracle, surroundings, building, turning)
    chosen = self._choose(oracle, pool, choosing)
    entries = {"labeled": pool.images[chosen]}
    if self.reads_labels:
      entries["labels"] = pool.labels[chosen]
    if self.asks:
      entries |= transfer.response_entries(
          self._ask(oracle, entries["labeled"]), oracle.num_classes)
    rest = self._rest(pool, chosen)
    unlabeled = self.unlabeled_batch_size if len(rest) else 0
    training.fit(
        student,
        transfer.batches(entries, self.steps, self.batch_size, ordering, rest,
                         unlabeled),
        self.steps, checkpoint_every=self.checkpoint_every,
        checkpoint=(surroundings.folder / "checkpoint.npz"
                    if surroundings.folder else None),
        callbacks=surroundings.callbacks(
            self.steps, self.objective.images(self.batch_size, unlabeled)))
    return Extraction(student.network, oracle.ledger.spent, Status.DONE,
                      {"labeled": len(chosen), "pool": len(pool),
                       "parameters": student.network.count_params()})

  def _student(self, oracle: Oracle, surroundings: Surroundings,
               building: int, turning: int) -> Student:
    try:
      network = self.network(
          input_shape=oracle.input_shape, num_classes=oracle.num_classes,
          value_range=surroundings.value_range, seed=building)
      augment = self.augment(seed=turning) if self.augment else None
      optimizer = self.optimizer()
    except (TypeError, ValueError) as error:  # the user chose the parameters
      raise InputError("Learning's network, augment or optimizer cannot be "
                       f"made: {error}; mend its parameters") from error
    student = Student(
        network, self.objective, seed=building + 1, augment=augment)
    student.compile(optimizer, **surroundings.compile_options)
    return student

  def _choose(self, oracle: Oracle, pool: Examples, seed: int) -> np.ndarray:
    budget = oracle.ledger.budget
    count = len(pool) if budget is None else budget
    uniform = np.broadcast_to(
        1 / oracle.num_classes, (len(pool), oracle.num_classes))
    return self.strategy(
        uniform, np.zeros((len(pool), 0)), count, np.random.default_rng(seed))

  def _ask(self, oracle: Oracle, images: np.ndarray) -> Response:
    return Response.join([
        oracle.query(images[start:start + self.query_batch_size])
        for start in range(0, len(images), self.query_batch_size)])

  def _rest(self, pool: Examples, chosen: np.ndarray) -> np.ndarray:
    """Images of which nothing is known, none where no objective reads them."""
    rest = np.full(len(pool), "unlabeled" in self.objective.needs)
    rest[chosen] = False
    return pool.images[rest]
