"""Extraction of linear classifiers of two classes from labels.

A sign witness is a feature whose change alone changes the label; the weights of
all other features are compared with its weight, by bisection.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.linear import label_queries
from wsl_extraction.attacks.linear.label_queries import Boundary, LabelQueries
from wsl_extraction.attacks.linear.region import Region
from wsl_extraction.attacks.linear.weight_ratios import Ratios
from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.reveals import Label
from wsl_extraction.oracle.spaces import Images, Vectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowdMeek(Attack):
  """Recovers w and b of the label w . x + b > 0, up to a positive factor.

  It begins with a row of each class: the adversary's `witnesses`, or else the
  first of the pool or of random rows. Between them it finds a sign witness and
  a point on the boundary. From there it asks about steps along two axes, which
  compare the ratio of two weights with any number, and so also in a bounded
  space; Lowd and Meek step along one, which has to be unbounded. It is DONE
  only if no label contradicts the result, of fresh rows near the boundary in
  particular. Features are measured by their ranges.

  Attributes:
    width: Each weight is found to this share of itself.
    reach: The largest step in an unbounded space, in halves of a feature's
      range. The least weight that can be told from zero is inverse to it.
    fresh: Rows of the check at the end.
    tries: Rows in which the search for two classes may look.

  References:
    Lowd, Meek. Adversarial Learning. KDD 2005, section 4 and Theorem 2.
  """

  needs: ClassVar = (Label(),)
  space: ClassVar = (Vectors, Images)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.LINEAR

  width: float = 1e-9
  reach: float = 1e6
  fresh: int = 32
  tries: int = 1000

  def __post_init__(self):
    checks.number("LowdMeek.width", self.width, 2.0**-40, below=1)
    checks.number("LowdMeek.reach", self.reach, 1, 1e12)
    for name, least in (("fresh", 8), ("tries", 2)):
      object.__setattr__(self, name, checks.whole(
          f"LowdMeek.{name}", getattr(self, name), least))

  def check(self, oracle, knowledge):
    check_binary(oracle, knowledge, self.name)

  def run(self, oracle, knowledge, rng, runtime):
    region = Region.of(oracle.space, knowledge)
    queries = LabelQueries(oracle, region, runtime.stage)
    ratios, missing, status = None, "", Status.DONE
    try:
      pair = queries.witnesses(knowledge, rng, self.tries)
      if pair is None:
        missing, status = one_class(queries), Status.INCOMPLETE
      else:
        queries.stage = "comparing weights"
        ratios = Ratios(queries, *pair, reach=self.reach)
        ratios.recover(self.width, rng)
        missing = label_queries.check(
            queries, ratios.boundary(), rng, self.fresh)
    except BudgetExceeded:
      status = Status.BUDGET_EXHAUSTED
      missing = (f"the budget ended after {queries.count} rows; give about "
                 f"{_expected(region.features, self.width, self.fresh)}")
    if missing and status is Status.DONE:
      status = Status.INCOMPLETE
    boundary = None if ratios is None else ratios.boundary()
    surrogate, weights = surrogate_of(boundary, queries, oracle.space.shape)
    return Extraction(surrogate, status, weights,
                      _figures(ratios, region), missing)


def check_binary(oracle, knowledge, name: str) -> None:
  """Refuses oracles and witnesses that are not of two classes."""
  if oracle.outputs != 2:
    raise InputError(
        f"{name} is for victims of 2 classes, and this one has "
        f"{oracle.outputs}; take equation solving or retraining")
  budget = oracle.ledger.budget.rows
  if budget is not None and budget < 2:
    raise InputError(f"the budget is {budget} queries; give 2 or more, one for "
                     "a row of each class")
  rows = knowledge.witnesses
  if rows is not None and np.shape(rows)[1:] != oracle.space.shape:
    raise InputError(
        f"witnesses have shape {np.shape(rows)}; give rows [2, "
        f"{', '.join(map(str, oracle.space.shape))}], one of each class")


def one_class(queries: LabelQueries) -> str:
  """A text: all rows had one class."""
  _, positive = queries.asked
  return (f"all {len(positive)} rows had class {int(positive[0])}; give a row "
          "of each class as witnesses, or a pool that has both")


def surrogate_of(boundary: Boundary | None, queries: LabelQueries,
                 shape: tuple[int, ...]):
  """The Keras model of a boundary, and its weights."""
  if boundary is None:
    _, positive = queries.asked
    sign = 1.0 if len(positive) and positive.mean() > 0.5 else -1.0
    weights = LinearWeights.binary(np.zeros(queries.region.features), sign)
  else:
    weights = unit(queries.region.of_inputs(
        np.column_stack([np.zeros_like(boundary.normal), boundary.normal]),
        np.array([0.0, boundary.offset])))
  return weights.to_keras(shape)


def unit(weights: LinearWeights) -> LinearWeights:
  """The same boundary, its normal of length 1."""
  normal = weights.kernel[:, 1] - weights.kernel[:, 0]
  offset = weights.bias[1] - weights.bias[0]
  length = np.linalg.norm(normal) or 1.0
  return LinearWeights.binary(normal / length, float(offset / length))


def _expected(features: int, width: float, fresh: int) -> int:
  return (features * (math.ceil(-math.log2(width)) + 9) + fresh + 60)


def _figures(ratios: Ratios | None, region: Region) -> tuple[Figure, ...]:
  if ratios is None:
    return ()
  zeros, least = int(ratios.is_zero.sum()), ratios.least
  where = "in the range of the oracle" if region.is_limited else (
      f"up to {ratios.farthest:.1e} half ranges away")
  return (
      Figure("features", region.features),
      Figure("reach", ratios.farthest, f"queries {where}"),
      Figure("least_weight", least,
             f"{least:.1e} of the sign witness's can be told from zero; "
             f"{zeros} of {region.features} could not"),
      Figure("zero_weights", zeros),
      Figure("width", ratios.worst,
             f"{ratios.worst:.1e} of itself, the error of a weight at most"
             if math.isfinite(ratios.worst) else ""))
