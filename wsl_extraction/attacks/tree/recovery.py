"""Recovery of a tree by exploration, and by what it is measured."""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.extraction import Figure
from wsl_extraction.attacks.tree import scales, top_down
from wsl_extraction.attacks.tree.assembly import Assembly
from wsl_extraction.attacks.tree.exploration import Exploration, NotATree
from wsl_extraction.attacks.tree.leaf_queries import LeafQueries, are_certain
from wsl_extraction.attacks.tree.region_search import RegionSearch
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.networks.regions import Domain, following

_PROBED = 4  # rows that are moved by the last bit of all numbers
_ROUNDS = 2  # of corrections, where identities repeat


class Recovery:
  """One extraction: what was found, also if it ends early.

  Attributes:
    exploration: Has the leaves.
  """

  def __init__(self, queries: LeafQueries, domain: Domain, pool: np.ndarray,
               rng: np.random.Generator, *, grouped: bool, held_out: int,
               max_leaves: int, unique_scores: bool):
    """Starts without leaves.

    Args:
      queries: Answers rows.
      domain: All rows.
      pool: Rows [n, d] that tell where the data lie; may be none.
      rng: Draws fresh rows.
      grouped: See `PathFinding`.
      held_out: See `PathFinding`.
      max_leaves: See `PathFinding`.
      unique_scores: See `PathFinding`.
    """
    self._queries, self._domain = queries, domain
    self._pool, self._rng, self._held_out = pool, rng, held_out
    search = RegionSearch(domain, scales.scales(domain, pool),
                          scales.grids(domain, pool))
    self.exploration = Exploration(queries, search, grouped, max_leaves)
    self._unique_scores = unique_scores
    self._agreement: float | None = None
    self._fresh = 0

  def find(self, is_partial: bool) -> str:
    """Finds the tree.

    Args:
      is_partial: Whether rows with absent features are answered.

    Returns:
      What it lacks; empty if nothing.

    Raises:
      BudgetExceeded: The budget does not suffice.
      NotATree: The victim is none.
    """
    self._probe()
    if is_partial:
      assembly = top_down.explore(self._queries, self.exploration)
    else:
      assembly = self.exploration.explore(self._rows(1)[0])
    for _ in range(_ROUNDS):
      self._measure(assembly)
      if self._agreement == 1 and not self.exploration.repeats:
        break
      self.exploration.repeats = self.exploration.repeats or (
          "fresh rows are not answered as the leaves found say: identities "
          "repeat, or the victim is no tree")
      assembly = self.exploration.correct()
    else:
      self._measure(assembly)
    return self._lacking()

  def _lacking(self) -> str:
    if self.exploration.repeats:
      share = 100 * (self._agreement or 0)
      return (f"{self.exploration.repeats}; the copy agrees on {share:.1f}% of "
              f"{self._fresh} fresh rows")
    if self._queries.spread:
      return ("a leaf was answered with several outputs, "
              f"{self._queries.spread:.1e} apart: answers are not the leaf's")
    return "" if self._queries.named else self._doubt()

  def _doubt(self) -> str:
    """A reason not to take scores for names of leaves; empty if none."""
    if self.exploration.leaves == 1:
      return ("every row was answered alike: the victim is constant, or leaves "
              "share their scores")
    if are_certain(self._queries):
      return ("a leaf is certain of its class, and others may be as well, "
              "which scores do not tell apart; no other fault was seen")
    if not len(self._pool) and scales.are_endless(self._domain).any():
      return ("numbers have no range and there is no pool to tell one: rows "
              "far away may have scores that repeat; give one")
    if not self._unique_scores:
      return ("two leaves may have the same scores; none were seen that do, in "
              f"{self._fresh:,} fresh rows. If the victim's leaves all differ, "
              "say so: PathFinding.unique_scores = True")
    return ""

  def _probe(self) -> None:
    """Refuses what is not piecewise constant, after a few rows."""
    rows = self._rows(_PROBED)
    numbers = (self._domain.categories == 0) & ~np.isnan(rows)
    above = np.vectorize(following)(np.where(numbers, rows, 0.0))
    above = np.where(numbers & (above <= self._domain.high), above, rows)
    answers = self._queries(np.concatenate([rows, above]))
    if numbers.any() and all(one != other for one, other in zip(
        answers[:_PROBED], answers[_PROBED:], strict=True)):
      raise NotATree("answers change with the last bit of the inputs: the "
                     "victim is no tree")

  def _rows(self, count: int) -> np.ndarray:
    """Random rows [n, d] in the range of the data, as trees compare them."""
    rows = self._rng.uniform(*scales.ranges(self._domain, self._pool),
                             (count, self._domain.features))
    categories = self._domain.categories
    rows = np.where(categories > 0, np.floor(
        self._rng.random(rows.shape) * np.maximum(categories, 1)), rows)
    rows = rows.astype(np.float32).astype(np.float64)
    if self._domain.missing:
      rows[self._rng.random(rows.shape) < 1 / (2 * rows.shape[1])] = np.nan
    return np.where(categories > 0, rows, np.clip(
        rows, self._domain.low, self._domain.high))

  def _measure(self, assembly: Assembly) -> None:
    """Asks about fresh rows, and how many are in their own region."""
    count = self._held_out * (1 if self._queries.named else 8)
    rows = self._rows(count)
    if len(self._pool) and not self._queries.named:
      rows = np.concatenate([rows, self._rng.permutation(self._pool)[:count]])
    answers = self._queries(rows)
    places = assembly.regions_of(rows)
    identities = self.exploration.identities
    right = [place >= 0 and identities[place] == one
             for place, one in zip(places, answers, strict=True)]
    self._agreement, self._fresh = float(np.mean(right)), len(rows)

  def tree(self) -> DecisionTree:
    """The tree as far as it is known; a constant if nothing is."""
    exploration, values = self.exploration, self._queries.values
    if not exploration.regions:
      return DecisionTree.constant(self._domain.features, next(
          iter(values.values()), np.zeros(self._queries.oracle.outputs)))
    return exploration.assembled().with_values(
        np.stack([values[one] for one in exploration.identities]))

  def figures(self) -> tuple[Figure, ...]:
    """What there is to say of it."""
    leaves = (len(self.exploration.regions) if self.exploration.repeats
              else self.exploration.leaves)
    rows = self._queries.oracle.ledger.rows
    values = [
        Figure("leaves", leaves, f"{leaves:,} found, with "
               f"{self.exploration.search.thresholds:,} thresholds"),
        Figure("rows_per_leaf", rows / max(leaves, 1),
               f"{rows / max(leaves, 1):.0f}"),
        Figure("identities", len(self._queries.values))]
    if self._agreement is not None:
      values.append(Figure(
          "agreement", self._agreement, f"{100 * self._agreement:.1f}% of "
          f"{self._fresh:,} fresh rows"))
    if not self._queries.named:
      values.append(Figure(
          "domain", "if no two leaves have the same scores",
          "all rows, if no two leaves have the same scores"))
    return tuple(values)
