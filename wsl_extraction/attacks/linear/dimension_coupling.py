"""Extraction of halfspaces from labels, a coordinate at a time (DC2)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.linear import label_queries, noisy_bisection
from wsl_extraction.attacks.linear.halfspaces import Lifted, Through
from wsl_extraction.attacks.linear.label_queries import LabelQueries
from wsl_extraction.attacks.linear.lowd_meek import (
    check_binary,
    one_class,
    surrogate_of,
)
from wsl_extraction.attacks.linear.region import Region
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.reveals import Label
from wsl_extraction.oracle.spaces import Images, Vectors

_DOUBT = 1e-3  # of all coordinates together: one is off by more than its share


@dataclasses.dataclass(frozen=True, kw_only=True)
class DimensionCoupling(Attack):
  """Recovers the direction of w from labels w . x > 0, to an error in length.

  A unit vector v grows by a coordinate at a time: in the plane of v and the
  next axis, bisection finds the angle of the projection of w. An affine victim
  w . x + b is one of vectors (x, t) through 0: a query (x, t) is x / t, its
  label turned where t is negative. Where the space is bounded, such points may
  lie outside; then a point on the boundary is searched for first, and queries
  lie around it. Features are measured by halves of their ranges.

  It is DONE only if fresh rows, most of them near the boundary, contradict
  nothing: all of their labels, or with noise the share that noise allows. With
  noise nothing is certain: `error` then holds but for a chance of 1 in 1,000.

  Attributes:
    error: The largest distance of the unit vectors of victim and copy.
    noise: The probability that a label is wrong, each time that it is asked
      for; below 1/2.
    fresh: Rows of the check without noise; with noise as many as it takes.
    tries: Rows in which the search for two classes may look.

  References:
    Chandrasekaran, Chaudhuri, Giacomelli, Jha, Yan. Exploring Connections
      Between Active Learning and Model Extraction. USENIX Security 2020.
    Chen, Hassani, Krause. Near-Optimal Active Learning of Halfspaces via Query
      Synthesis in the Noisy Setting. AAAI 2017 (DC2).
  """

  needs: ClassVar = (Label(),)
  space: ClassVar = (Vectors, Images)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.LINEAR

  error: float = 1e-4
  noise: float = 0.0
  fresh: int = 16
  tries: int = 1000

  def __post_init__(self):
    checks.number("DimensionCoupling.error", self.error, 1e-10, below=1)
    checks.number("DimensionCoupling.noise", self.noise, 0, below=0.5)
    for name, least in (("fresh", 8), ("tries", 2)):
      object.__setattr__(self, name, checks.whole(
          f"DimensionCoupling.{name}", getattr(self, name), least))

  def check(self, oracle, knowledge):
    check_binary(oracle, knowledge, self.name)
    if self.noise and oracle.space.bounded and (
        np.isfinite(oracle.space.low).any()):
      raise InputError(
          "with noise a point on the boundary cannot be found first, as a "
          "bounded space needs; set Experiment.bounded to False, or "
          "DimensionCoupling.noise to 0")

  def run(self, oracle, knowledge, rng, runtime):
    region = Region.of(oracle.space, knowledge)
    queries = LabelQueries(oracle, region, runtime.stage)
    halfspace, missing, status = None, "", Status.DONE
    try:
      if region.is_limited:
        pair = queries.witnesses(knowledge, rng, self.tries)
        if pair is None:
          missing, status = one_class(queries), Status.INCOMPLETE
        else:
          halfspace = Through(queries, *pair)
      else:
        halfspace = Lifted(queries)
      if halfspace is not None:
        queries.stage = "coupling coordinates"
        self._couple(halfspace)
        missing = self._checked(queries, halfspace, rng)
    except BudgetExceeded:
      status = Status.BUDGET_EXHAUSTED
      missing = (f"the budget ended after {queries.count} rows; without noise "
                 f"about {self._rows(region.features)} suffice")
    if missing and status is Status.DONE:
      status = Status.INCOMPLETE
    boundary = None if halfspace is None else halfspace.boundary(self.error)
    surrogate, weights = surrogate_of(boundary, queries, oracle.space.shape)
    return Extraction(surrogate, status, weights, (
        Figure("features", region.features),
        Figure("error", self.error,
               f"{self.error:.0e} of the unit vector (w, b), at most"
               + f", but for a chance of {_DOUBT:g}" * bool(self.noise)),
        Figure("noise", self.noise, f"{self.noise:g} of all labels are wrong"
               if self.noise else "")), missing)

  def _rows(self, features: int) -> int:
    bits = math.log2(math.pi * math.sqrt(features + 1) / (2 * self.error))
    return math.ceil(features * (bits + 1)) + self.fresh

  def _couple(self, halfspace: Lifted | Through) -> None:
    """Finds the halfspace's vector, a coordinate at a time."""
    size = halfspace.size
    width = 2 * self.error / math.sqrt(size)
    vector = np.zeros(size)
    vector[0] = 1.0
    if not self._votes(halfspace, vector):
      vector[0] = -1.0
    halfspace.vector = vector
    for i in range(1, size):
      axis = np.zeros(size)
      axis[i] = 1.0

      def is_above(angle: float, axis=axis) -> bool:
        return halfspace(math.cos(angle) * axis
                         - math.sin(angle) * halfspace.vector)

      if self.noise:
        angle = noisy_bisection.bayesian(
            is_above, width, _DOUBT / size, self.noise, i + 1)
      else:
        angle = noisy_bisection.bisect(is_above, width)
      halfspace.vector = (math.cos(angle) * halfspace.vector
                          + math.sin(angle) * axis)

  def _votes(self, halfspace: Lifted | Through, vector: np.ndarray) -> bool:
    """The side of a vector, by as many votes as noise makes necessary."""
    count = 1 if not self.noise else 2 * math.ceil(
        8 / (1 - 2 * self.noise)**2) + 1
    return sum(halfspace(vector) for _ in range(count)) > count / 2

  def _checked(self, queries: LabelQueries, halfspace: Lifted | Through,
               rng: np.random.Generator) -> str:
    boundary = halfspace.boundary(self.error)
    if not self.noise:
      return label_queries.check(queries, boundary, rng, self.fresh)
    # Twelve standard deviations between right labels and tossed coins: a single
    # coordinate that is off turns a part of the labels only.
    rows = math.ceil(144 / (1 - 2 * self.noise)**2)
    return label_queries.check_noisy(queries, boundary, rng, rows, self.noise)
