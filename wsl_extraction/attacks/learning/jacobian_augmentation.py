"""Papernot's attack: a few seeds, moved along the copy's own derivatives."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.learning.row_log import RowLog
from wsl_extraction.attacks.learning.session import streams
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.objectives.stolen_labels import StolenLabels
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import Label, Reveal
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.runtime.gradients import log_odds_gradients
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training import batches
from wsl_extraction.training.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class JacobianAugmentation(Attack):
  """Doubles a small set of rows rho times, each time near the copy's boundary.

  S_0 holds `seeds` rows of the pool, chosen at random. In round r = 0..rho-1 a
  substitute F is trained on S_r and its responses, and

    S_(r+1) = S_r and {clip(x + lambda_r sign(dF_O(x)/dx)) for x in S_r},

  with O(x) the oracle's class and lambda_r = lambda (-1)^floor(r / flip_after).
  The last training, on S_rho, gives the copy. Each substitute is trained from
  scratch. The oracle is asked about seeds 2^rho rows, less those that come out
  equal to one before, which are not asked about again. With a reservoir, from
  round `reservoir_after` on only that many rows of S_r, drawn at random, are
  moved.

  The aim is a copy whose adversarial examples fool the oracle too
  (`evaluation.adversarial`); agreement on test rows need not rise.

  Attributes:
    recipe: How a substitute is trained.
    objective: What it minimises.
    seeds: Rows of the pool to begin with.
    rho: Rounds of augmentation.
    step: lambda, as a share of the range of values.
    flip_after: Rounds after which the sign of lambda changes; None never.
    reservoir: The most rows that a round moves once there is a reservoir; None
      moves all.
    reservoir_after: Rounds that move all rows first.
    round_steps: Training steps of substitutes but the last; None is as many.
    query_batch_size: Rows sent to the oracle at once.

  References:
    Papernot, McDaniel, Goodfellow, Jha, Celik, Swami. Practical Black-Box
      Attacks against Machine Learning. AsiaCCS 2017, Algorithm 1.
    Papernot, McDaniel, Goodfellow. Transferability in Machine Learning. 2016,
      Algorithm 1 (periodic step, reservoir).
  """

  space: ClassVar = (Images, Vectors)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FIDELITY
  model: ClassVar = Model.NEURAL_NETWORK

  recipe: Recipe
  objective: Objective = dataclasses.field(default_factory=StolenLabels)
  seeds: int = 100
  rho: int = 6
  step: float = 0.1
  flip_after: int | None = 3
  reservoir: int | None = None
  reservoir_after: int = 3
  round_steps: int | None = None
  query_batch_size: int = 256

  def __post_init__(self):
    own = "JacobianAugmentation"
    for name, least, optional in (
        ("seeds", 1, False), ("rho", 0, False), ("flip_after", 1, True),
        ("reservoir", 1, True), ("reservoir_after", 0, False),
        ("round_steps", 1, True), ("query_batch_size", 1, False)):
      checks.whole(f"{own}.{name}", getattr(self, name), least,
                   optional=optional)
    checks.number(f"{own}.step", self.step, above=0)
    for name, kind, example in (
        ("recipe", Recipe, "a recipe, such as @recipe.Recipe()"),
        ("objective", Objective, "an objective, such as "
         "@stolen_labels.StolenLabels()")):
      checks.instance(f"{own}.{name}", getattr(self, name), kind, example)
    if {"labels", "unlabeled"} & self.objective.entries or (
        "targets" not in self.objective.entries):
      raise InputError(
          f"{own}.objective {type(self.objective).__name__} does not learn from"
          " responses alone; give @stolen_labels.StolenLabels() or "
          "@distillation.Distillation()")

  @property
  def needs(self) -> tuple[Reveal, ...]:
    return self.objective.needs or (Label(),)

  @property
  def sizes(self) -> list[int]:
    """The rows that each round asks about, seeds first, rho + 1 numbers."""
    sizes = [self.seeds]
    for number in range(self.rho):
      held = sum(sizes)
      is_limited = self.reservoir is not None and (
          number >= self.reservoir_after)
      sizes.append(min(held, self.reservoir or held) if is_limited else held)
    return sizes

  def step_size(self, number: int) -> float:
    """lambda_r of round r, as a share of the range of values."""
    flips = 0 if self.flip_after is None else number // self.flip_after
    return self.step * (-1)**flips

  def check(self, oracle, knowledge):
    pool = knowledge.required_pool
    if self.seeds > len(pool):
      raise InputError(f"JacobianAugmentation.seeds is {self.seeds}, more than "
                       f"the pool of {len(pool)}; lower it or raise Split.pool")
    budget, needed = oracle.ledger.budget.rows, sum(self.sizes)
    if budget is not None and needed > budget:
      raise InputError(
          f"{self.seeds} seeds and {self.rho} rounds take {needed} queries, "
          f"more than the budget of {budget}; lower seeds or rho, or give a "
          "reservoir")
    self.recipe.check(oracle.space)
    self.objective.check_space(oracle.space)
    self.objective.check(self.recipe.batch_size // self.recipe.accumulate, 0)

  def batch_sizes(self, oracle, knowledge):
    return {"Recipe.batch_size": self.recipe.batch_size}

  def run(self, oracle, knowledge, rng, runtime):
    pool = knowledge.required_pool.rows
    log = RowLog(runtime, self.sizes, oracle.space)
    responses: list[Response] = []
    for number in range(self.rho + 1):
      draws = np.random.default_rng(rng.spawn(1)[0].integers(2**63))
      if number == len(log.rows):
        log.add(self._seeds(pool, draws) if not number else self._moved(
            oracle, log, responses, number - 1, rng, runtime, draws))
      responses.append(self._asked(oracle, log.rows[number]))
    network = self._substitute(
        oracle, log, responses, self.rho, rng, runtime)
    rows = sum(map(len, log.rows))
    repeated = sum(self.sizes) - rows
    return Extraction(
        runtime.placement.on_one_device(network), Status.DONE, figures=(
            Figure("rows", rows, f"{rows:,}, {self.seeds} seeds and "
                   f"{rows - self.seeds:,} made of them" + (
                       f"; {repeated} came out equal" if repeated else "")),
            Figure("rho", self.rho),
            Figure("parameters", network.count_params())))

  def _seeds(self, pool, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.permutation(len(pool))[:self.seeds]
    return np.asarray(pool[chosen])

  def _moved(self, oracle: Oracle, log: RowLog, responses: list[Response],
             number: int, rng: np.random.Generator, runtime: Runtime,
             draws: np.random.Generator) -> np.ndarray:
    """New rows of round r = `number`, by a substitute of those so far."""
    network = self._substitute(oracle, log, responses, number, rng, runtime)
    rows = np.concatenate(log.rows).astype(np.float32)
    classes = np.concatenate([one.top_classes for one in responses])
    if self.sizes[number + 1] < len(rows):
      chosen = reservoir(len(rows), self.sizes[number + 1], draws)
      rows, classes = rows[chosen], classes[chosen]
    low, high = oracle.space.value_range
    signs = np.sign(log_odds_gradients(network, rows, classes))
    moved = rows + np.float32(self.step_size(number) * (high - low)) * signs
    if oracle.space.bounded:
      moved = np.clip(moved, oracle.space.low, oracle.space.high)
    return moved.astype(np.float32)

  def _substitute(self, oracle: Oracle, log: RowLog, responses: list[Response],
                  number: int, rng: np.random.Generator, runtime: Runtime):
    """A network trained on all rows so far, before round `number`."""
    sequence = rng.bit_generator.seed_seq
    assert isinstance(sequence, np.random.SeedSequence)  # by `__call__`
    _, seeds = streams(sequence.entropy, number)
    is_last = number == self.rho
    rows = np.concatenate(log.rows)
    student = self.recipe.student(self.objective, oracle.space, oracle.outputs,
                                  seeds, runtime, rows)
    name = "checkpoint.npz" if is_last else f"round_{number + 1}.npz"
    self.recipe.fit(
        student, {"labeled": rows,
                  **batches.response_entries(Response.join(responses))},
        "surrogate" if is_last else f"round {number + 1}/{self.rho + 1}",
        seeds, runtime, steps=None if is_last else self.round_steps,
        checkpoint=runtime.folder and runtime.folder / name)
    return student.network

  def _asked(self, oracle: Oracle, rows: np.ndarray) -> Response:
    return Response.join([
        oracle.query(rows[start:start + self.query_batch_size])
        for start in range(0, len(rows), self.query_batch_size)])


def reservoir(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
  """`size` of `count` positions, each subset equally likely, in one pass.

  The first `size` are taken; position i then takes a random one's place with
  probability size / (i + 1).

  References:
    Vitter. Random Sampling with a Reservoir. 1985, Algorithm R.
  """
  chosen = np.arange(min(size, count))
  for position in range(size, count):
    place = int(rng.integers(position + 1))
    if place < size:
      chosen[place] = position
  return chosen
