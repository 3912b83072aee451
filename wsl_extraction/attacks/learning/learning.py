"""Learning-based extraction: ask about some examples, train on the answers.

In rounds, a surrogate of the answers so far helps to choose the next examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from wsl_extraction.attacks.attack import Attack, Extraction, Status
from wsl_extraction.attacks.learning import learner, query_log
from wsl_extraction.data.datasets import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import penultimate
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.reveals import Access
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
    crop: How images that are files still are cropped for training, such as
      `crops.InceptionCrop()`; None gives them as they are asked about.
    accumulate: The equal parts in which a step's batch goes through the
      network, for devices that cannot hold it at once. Gradients are averaged
      over the parts; batch normalisation sees one part at a time.
    rematerialize: Works activations out again for the gradient instead of
      keeping them: less memory, about a third more arithmetic, the same
      results.
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
  crop: Any = None
  accumulate: int = 1
  rematerialize: bool = False
  strategy: Strategy = dataclasses.field(default_factory=Random)
  rounds: int = 1
  round_steps: int | None = None
  query_batch_size: int = 256
  checkpoint_every: int = 100

  def __post_init__(self):
    for name in ("steps", "batch_size", "accumulate", "rounds", "round_steps",
                 "query_batch_size", "checkpoint_every"):
      optional = name == "round_steps"
      _check_count(name, getattr(self, name), 1, optional)
    _check_count("unlabeled_batch_size", self.unlabeled_batch_size, 0)
    for name, kind, example in (
        ("strategy", Strategy, "a strategy, such as @random.Random()"),
        ("objective", Objective,
         "an objective, such as @distillation.Distillation()")):
      if not isinstance(given := getattr(self, name), kind):
        raise InputError(f"Learning.{name} is {given!r}; give {example}")
    if self.crop is not None and (
        isinstance(self.crop, type) or not hasattr(self.crop, "draw")):
      raise InputError(f"Learning.crop is {self.crop!r}; give a crop with "
                       "parentheses, such as @crops.InceptionCrop()")
    if not isinstance(self.rematerialize, bool):
      raise InputError(f"Learning.rematerialize is {self.rematerialize!r}; "
                       "give True or False")
    for name in ("network", "optimizer", "augment"):
      self._check_reference(name, optional=name == "augment")
    self._check_together()

  def _check_reference(self, name: str, optional: bool):
    given = getattr(self, name)
    if optional and given is None:
      return
    if not callable(given) or isinstance(given, keras.layers.Layer):
      raise InputError(f"Learning.{name} is {given!r}; give a reference "
                       "without parentheses, such as @resnet_v2.resnet_v2")

  def _check_together(self):
    if self.strategy.needs_surrogate and self.rounds == 1:
      raise InputError(
          f"Learning.strategy {type(self.strategy).__name__} chooses by a "
          "surrogate, of which there is none in the first round; give "
          "Learning.rounds 2 or more, or @random.Random()")
    for name in ("batch_size", "unlabeled_batch_size"):
      if (size := getattr(self, name)) % self.accumulate:
        raise InputError(
            f"Learning.{name} is {size}, which Learning.accumulate, "
            f"{self.accumulate}, does not divide; change one of them")

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
    if self.crop is not None and isinstance(pool.images, np.ndarray):
      raise InputError(
          "Learning.crop is for images that are files still, and these are "
          "decoded already; set Experiment.streamed to True, or use "
          "Learning.augment")
    self.objective.check(
        self.batch_size // self.accumulate,
        self.unlabeled(len(pool) - count) // self.accumulate)

  def batch_sizes(self, oracle, pool):
    rest = len(pool) - self._count(oracle, pool)
    part = f" / {self.accumulate}" if self.accumulate > 1 else ""
    sizes = {"batch_size": self.batch_size,
             "unlabeled_batch_size": self.unlabeled(rest)}
    return {f"Learning.{name}{part}": size // self.accumulate
            for name, size in sizes.items()}

  def run(self, oracle, pool, seed, surroundings):
    # Independent streams: the choice of examples does not depend on how many
    # random numbers training takes.
    choosing, *of_training = learner.streams(seed)
    sizes = query_log.sizes(self._count(oracle, pool), self.rounds)
    run = learner.Learner(self, oracle, pool, surroundings, sizes)
    # First: what cannot be built costs no query.
    student = run.student(of_training)
    if self.rounds > 1:
      penultimate(student.network)
    for number, size in enumerate(sizes):
      if number == len(run.asked.chosen):
        rng = np.random.default_rng([choosing, number] if number else choosing)
        run.choose(number, size, rng, seed)
      run.ask(number)
    run.train(student, self.rounds, of_training)
    surrogate = surroundings.placement.alone(student.network)
    return Extraction(surrogate, oracle.ledger.spent, Status.DONE,
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


def _check_count(name: str, value: Any, least: int,
                 optional: bool = False) -> None:
  if optional and value is None:
    return
  if not isinstance(value, int) or isinstance(value, bool) or value < least:
    raise InputError(f"Learning.{name} is {value!r}; give a whole number, "
                     f"{least} or more")
