"""Learning-based extraction: ask about some examples, train on the responses.

In rounds, a surrogate of the responses so far helps to choose the next ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.knowledge import Knowledge
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
    validation: A share of the budget, 0 <= v < 1, for rows that are asked about
      at random in the first round, are not learnt from, and choose the weights
      of each training: the best by macro-F1, of those at its checkpoints
      (`Recipe.checkpoint_every`). 0 takes the last weights.

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
  validation: float = 0.0

  def __post_init__(self):
    own = type(self).__name__  # as gin files have it
    for name in ("rounds", "round_steps", "query_batch_size"):
      object.__setattr__(self, name, checks.whole(
          f"{own}.{name}", getattr(self, name), 1,
          optional=name == "round_steps"))
    checks.number(f"{own}.validation", self.validation, 0, below=1)
    for name, kind, example in (
        ("recipe", Recipe, "a recipe, such as @recipe.Recipe()"),
        ("strategy", Strategy, "a strategy, such as @random.Random()"),
        ("objective", Objective,
         "an objective, such as @distillation.Distillation()")):
      checks.instance(f"{own}.{name}", getattr(self, name), kind, example)
    if self.validation and not self.uses_oracle:
      raise InputError(f"{own}.validation is {self.validation}, and the "
                       "objective asks the oracle nothing; leave it 0")
    if self.strategy.needs_surrogate and self.rounds == 1:
      raise InputError(
          f"{own}.strategy {type(self.strategy).__name__} chooses by a "
          "surrogate, of which there is none in the first round; give "
          f"{own}.rounds 2 or more, or @random.Random()")

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

  @property
  def chooser(self) -> Any:
    """What chooses the examples."""
    return self.strategy

  def check(self, oracle, knowledge):
    pool = knowledge.required_pool
    budget = oracle.ledger.budget.rows
    if budget is not None and not 1 <= budget <= len(pool):
      raise InputError(f"the budget is {budget} queries; give a number from 1 "
                       f"to {len(pool)}, the size of the pool")
    count = _count(oracle, len(pool))
    if self.rounds > count:
      raise InputError(f"{type(self).__name__}.rounds is {self.rounds}, more "
                       f"than the {count} queries; give fewer rounds or more "
                       "queries")
    if self.validation and not 0 < self._held_back(count) < count:
      raise InputError(
          f"{type(self).__name__}.validation is {self.validation}, which of "
          f"{count} queries leaves {self._held_back(count)} to choose by and "
          "the others to learn from; give both at least one, or 0")
    if self.rounds > count - self._held_back(count):
      raise InputError(f"{type(self).__name__}.rounds is {self.rounds}, more "
                       f"than the {count - self._held_back(count)} queries to "
                       "learn from; give fewer rounds or more queries")
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
    count = _count(oracle, pool)
    held_back = self._held_back(count)
    sizes = query_log.sizes(count - held_back, self.rounds)
    sizes[0] += held_back
    session = Session(
        objective=self.objective, recipe=self.recipe, strategy=self.strategy,
        rounds=self.rounds, round_steps=self.round_steps,
        query_batch_size=self.query_batch_size, oracle=oracle,
        knowledge=knowledge, runtime=runtime, sizes=sizes, entropy=entropy,
        held_back=held_back, resample=self.resampling(knowledge))
    # First: what cannot be built costs no query.
    student = session.student(seeds)
    if self.rounds > 1:
      penultimate(student.network)
    for number, size in enumerate(sizes):
      if number == len(session.log.chosen):
        self.choose(session, number, size, np.random.default_rng(
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
        Figure("strategy", type(self.chooser).__name__),
        Figure("rounds", self.rounds),
        Figure("parameters", student.network.count_params()),
        *self.more_figures(session)))

  def choose(self, session: Session, number: int, size: int,
             rng: np.random.Generator) -> None:
    """Chooses the examples of a round and writes the choice down."""
    session.choose(number, size, rng)

  def resampling(self, knowledge: Knowledge) -> Callable[..., Any] | None:
    """What `Session.resample` is."""
    del knowledge

  def more_figures(self, session: Session) -> tuple[Figure, ...]:
    """Figures beside those that all have."""
    del session
    return ()

  def _held_back(self, count: int) -> int:
    """Of so many queries, those that choose the weights."""
    return int(self.validation * count)


def _count(oracle: Oracle, pool: int) -> int:
  """The number of examples that are chosen in all."""
  budget = oracle.ledger.budget.rows
  return pool if budget is None else budget
