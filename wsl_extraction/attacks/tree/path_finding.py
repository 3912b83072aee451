"""Extraction of decision trees from the identities of leaves.

Around a row the region of its leaf is found by moving features to their ends
and halving what lies between; rows beyond its faces lead to other leaves.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.tree.exploration import NotATree
from wsl_extraction.attacks.tree.leaf_queries import LeafQueries, domain_of
from wsl_extraction.attacks.tree.recovery import Recovery
from wsl_extraction.errors import InputError
from wsl_extraction.networks import tree_model
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Label, Scores
from wsl_extraction.oracle.side_reveals import Both, Leaf, Partial
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Table


@dataclasses.dataclass(frozen=True, kw_only=True)
class PathFinding(Attack):
  """Extracts a decision tree, to the last bit of its thresholds.

  With the names of leaves every leaf is one region, and the copy is DONE once
  regions cover all rows without overlap, every row that was asked lies in its
  own, and fresh rows do. Scores serve as names as well, but may repeat: of a
  classifier whose leaves are certain they always do. Where they are seen to,
  or may, the run is INCOMPLETE, its copy right on `agreement` of fresh rows.
  Where rows with absent features are answered by inner nodes (the reveal
  `Partial`), the tree is followed from the root down, which needs fewer rows.

  Attributes:
    grouped: Whether several features are moved at once, known thresholds are
      tried first and rows in known regions are not asked about; False is the
      search as it was published.
    held_out: Fresh rows, uniform in the range of the data, that the copy must
      answer right. Where scores are all that names leaves, eight times as many,
      and as many rows of the pool.
    max_leaves: Leaves that are explored at most.
    unique_scores: Whether it is known that no two leaves have the same scores,
      as of regression trees on quantities. Scores alone cannot show it, so that
      without names of leaves the run is else INCOMPLETE.

  References:
    Tramer, Zhang, Juels, Reiter, Ristenpart. Stealing Machine Learning Models
      via Prediction APIs. USENIX Security 2016, section 4.2, algorithm 1.
  """

  needs: ClassVar = (Both(Leaf(), Label()), Scores())
  space: ClassVar = (Vectors, Table)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.DECISION_TREE

  grouped: bool = True
  held_out: int = 32
  max_leaves: int = 2000
  unique_scores: bool = False

  def __post_init__(self):
    for name in ("grouped", "unique_scores"):
      checks.flag(f"PathFinding.{name}", getattr(self, name))
    for name in ("held_out", "max_leaves"):
      object.__setattr__(self, name, checks.whole(
          f"PathFinding.{name}", getattr(self, name), 1))

  def check(self, oracle, knowledge):
    budget = oracle.ledger.budget.rows
    if budget is not None and budget < 1:
      raise InputError(f"the budget is {budget} queries; give 1 or more")
    if oracle.outputs < 2 and oracle.reveal.scale is Quantity.PROBABILITIES:
      raise InputError("the score of a single class is always 1; ask for "
                       "logits")

  def run(self, oracle, knowledge, rng, runtime):
    is_partial = oracle.reveal.covers(Partial())
    domain = domain_of(oracle.space, missing=False if is_partial else None)
    pool = _pool(knowledge, oracle)
    queries = LeafQueries(oracle, lambda rows: runtime.stage(
        "following paths", rows))
    recovery = Recovery(
        queries, domain, pool, rng, grouped=self.grouped,
        held_out=self.held_out, max_leaves=self.max_leaves,
        unique_scores=self.unique_scores)
    try:
      missing = recovery.find(is_partial)
      status = Status.INCOMPLETE if missing else Status.DONE
    except BudgetExceeded:
      status = Status.BUDGET_EXHAUSTED
      missing = (f"the budget ends after {recovery.exploration.leaves} whole "
                 "leaves; raise it")
    except (VictimFailed, NotATree) as error:
      status, missing = Status.INCOMPLETE, str(error)
    tree = recovery.tree()
    logits = tree.values
    if oracle.reveal.scale is Quantity.PROBABILITIES:
      logits = tree_model.log_scores(logits)
    surrogate = tree_model.keras_model(
        dataclasses.replace(tree, values=logits), oracle.space.shape)
    return Extraction(surrogate, status, tree, recovery.figures(), missing)


def _pool(knowledge: Knowledge, oracle: Oracle) -> np.ndarray:
  """The pool's rows float64 [n, d], as trees compare them."""
  pool = knowledge.pool
  if pool is None or not len(pool):
    return np.zeros((0, oracle.space.features))
  rows = np.asarray(pool.rows).reshape(len(pool), -1)
  return rows.astype(np.float32).astype(np.float64)
