"""Learning-based extraction: ask about some examples, train on the responses.

In rounds, a surrogate of the responses so far helps to choose the next ones.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.learning import query_log
from wsl_extraction.attacks.learning.session import Session, streams
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import penultimate
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.reveals import Label, Reveal
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.strategy import Strategy
from wsl_extraction.training.recipe import Recipe


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
    self.recipe.check(oracle.space)
    self.objective.check_space(oracle.space)
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
    choosing, seeds = streams(entropy)
    pool = len(knowledge.required_pool)
    sizes = query_log.sizes(_count(oracle, pool), self.rounds)
    session = Session(
        objective=self.objective, recipe=self.recipe, strategy=self.strategy,
        rounds=self.rounds, round_steps=self.round_steps,
        query_batch_size=self.query_batch_size, oracle=oracle,
        knowledge=knowledge, runtime=runtime, sizes=sizes, entropy=entropy)
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


def _count(oracle: Oracle, pool: int) -> int:
  """The number of examples that are chosen in all."""
  budget = oracle.ledger.budget.rows
  return pool if budget is None else budget
