"""Extraction of boosted trees and forests from scores alone.

Their scores, or the logarithms of these, are sums of functions that are
constant between thresholds. Lines along the axes show the thresholds, and where
all trees are stumps, the whole sum.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Status
from wsl_extraction.attacks.tree.leaf_queries import domain_of
from wsl_extraction.attacks.tree.sum_search import SumSearch
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Vectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class AxisSearch(Attack):
  """Extracts a sum of trees: exactly of stumps, nearly of deeper trees.

  Thresholds are found on lines along all axes through a base row, to the last
  bit. If fresh rows show that the sum of steps is not all, trees are deeper:
  more base rows show more thresholds, pairs of features that act together are
  found by changing both, and products of their steps are fitted by least
  squares to random rows. It is DONE if fresh rows are reproduced within
  `tolerance`, else INCOMPLETE.

  Attributes:
    points: Numbers of each feature, evenly spaced, at which a line is looked
      at, and as many of the pool.
    rounds: Where trees are deeper, how often rows that are off are looked at.
    max_terms: Steps and products that are fitted at most.
    tolerance: The largest error on fresh rows, of logits or scores.
    held_out: Fresh rows.
  """

  needs: ClassVar = (Scores(),)
  space: ClassVar = Vectors
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.DECISION_TREE

  points: int = 32
  rounds: int = 8
  max_terms: int = 2000
  tolerance: float = 1e-6
  held_out: int = 256

  def __post_init__(self):
    for name in ("points", "rounds", "max_terms", "held_out"):
      object.__setattr__(self, name, checks.whole(
          f"AxisSearch.{name}", getattr(self, name), 2 if name == "points"
          else 1))
    checks.number("AxisSearch.tolerance", self.tolerance, above=0)

  def check(self, oracle, knowledge):
    budget = oracle.ledger.budget.rows
    if budget is not None and budget < 1:
      raise InputError(f"the budget is {budget} queries; give 1 or more")
    if oracle.outputs < 2 and oracle.reveal.scale is Quantity.PROBABILITIES:
      raise InputError("the score of a single class is always 1; ask for "
                       "logits")

  def run(self, oracle, knowledge, rng, runtime):
    domain = domain_of(oracle.space)
    pool = np.zeros((0, domain.features))
    if knowledge.pool is not None and len(knowledge.pool):
      pool = np.asarray(knowledge.pool.rows, np.float32).astype(np.float64)
    search = SumSearch(self, oracle, domain, pool, rng)
    search.progress = lambda rows: runtime.stage("searching axes", rows)
    missing = ""
    try:
      missing = search.find()
      status = Status.INCOMPLETE if missing else Status.DONE
    except BudgetExceeded:
      status = Status.BUDGET_EXHAUSTED
      missing = "the budget ends before the sum is known; raise it"
    except VictimFailed as error:
      status, missing = Status.INCOMPLETE, str(error)
    return Extraction(search.sum.to_keras(oracle.space.shape), status,
                      search.sum, search.figures(), missing)
