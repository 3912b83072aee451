"""Exploration of a tree, leaf by leaf, from the identities of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_extraction.attacks.tree.assembly import Assembly, assemble
from wsl_extraction.attacks.tree.leaf_queries import Identity, LeafQueries
from wsl_extraction.attacks.tree.region_search import RegionSearch
from wsl_extraction.networks.regions import Region, Regions

_CORRECTIONS = 24  # regions that are explored again at once
_PINPOINTS = 8  # leaves of a single number, beyond which nothing is a tree


class NotATree(Exception):
  """The answers are those of no tree; the text says what was seen."""


class Exploration:
  """Finds the regions of leaves; later ones overrule earlier ones.

  As long as no identity was seen outside of its region, an identity is taken
  for one leaf. After that, `repeats` is True and nothing is certain.

  Attributes:
    queries: The oracle's answers.
    search: Finds regions.
    domain: All rows.
    regions: Of the leaves that were explored.
    identities: Theirs.
    repeats: What shows that an identity belongs to several leaves; empty if
      nothing does.
  """

  def __init__(self, queries: LeafQueries, search: RegionSearch,
               grouped: bool, max_leaves: int):
    """Starts without leaves.

    Args:
      queries: Answers rows.
      search: Finds regions.
      grouped: Whether several features are moved at once, and rows in known
        regions are not asked about.
      max_leaves: Explored at most.
    """
    self.queries, self.search, self.domain = queries, search, search.domain
    self.regions: list[Region] = []
    self.identities: list[Identity] = []
    self._starts: list[np.ndarray] = []
    self.repeats = ""
    self._grouped, self._max_leaves = grouped, max_leaves
    self._pinpoints = 0
    self._stacked: Regions | None = None

  @property
  def leaves(self) -> int:
    """The number of different identities that were explored."""
    return len(set(self.identities))

  def explore(self, start: np.ndarray) -> Assembly:
    """Finds leaves from a first row [d] until they cover all rows.

    Raises:
      BudgetExceeded: The budget does not suffice.
      NotATree: The victim is none, or has too many leaves.
    """
    self.queries(start[None])
    while True:
      explored = set(self.identities)
      unknown = next((one for one in self.queries.first
                      if one not in explored), None)
      if unknown is not None:
        self._add(self.queries.first[unknown])
        continue
      assembly = self.assembled()
      if assembly.doubtful:
        row = assembly.doubtful[0].row()
        stray = row, self.queries(row[None])[0]
        if stray[1] not in explored:
          continue
      else:
        stray = next(iter(self._strays(assembly)), None)
      if stray is None:
        return assembly
      self._explain(*stray)
      if self.repeats:
        return assembly

  def correct(self) -> Assembly:
    """Explores again where rows are not answered as their region says.

    For identities of several leaves: regions may be wrong, and rows outside of
    all regions of their identity are explored feature by feature.
    """
    assembly = self.assembled()
    most = len(self.regions) + _CORRECTIONS // (3 if self.queries.named else 1)
    while strays := self._strays(assembly):
      start = len(self.regions)
      for row, one in strays:
        held = any(region.contains(row[None])[0] and other == one
                   for region, other in zip(
                       self.regions[start:], self.identities[start:],
                       strict=True))
        if not held and len(self.regions) < most:
          self._add(row)
      assembly = self.assembled()
      if len(self.regions) >= most:
        break
    return assembly

  def assembled(self) -> Assembly:
    """The tree over the regions so far."""
    return assemble(self.domain.whole(), self.regions, self.identities)

  def put(self, one: Identity, region: Region, row: np.ndarray) -> None:
    """Adds a region, found from a row [d] of it."""
    self.identities.append(one)
    self.regions.append(region)
    self._starts.append(row)

  def _strays(self, assembly: Assembly) -> list[tuple[np.ndarray, Identity]]:
    """Rows whose identity is not that of their region, with the identity."""
    rows, identities = self.queries.asked()
    return [(row, one) for row, one, place in zip(
        rows, identities, assembly.regions_of(rows), strict=True)
            if place < 0 or self.identities[place] != one]

  def _explain(self, row: np.ndarray, one: Identity) -> None:
    """Explores a row outside of its identity's region: a larger one, or two."""
    place = self.identities.index(one)
    start = self._starts[place]
    # Of a row with missing values it is not always seen which numbers belong
    # to its leaf; any other region is whole.
    if np.isnan(start).sum() > np.isnan(row).sum():
      region = self._region(row)
      if region.contains(start[None])[0]:
        self.regions[place], self._starts[place] = region, row
        self._stacked = None
        return
    name = f"leaf {one}" if self.queries.named else "one score"
    self.repeats = (f"{name} was answered for rows of several boxes: "
                    "identities repeat")

  def _add(self, row: np.ndarray) -> None:
    if len(self.regions) >= self._max_leaves:
      raise NotATree(f"more than {self._max_leaves:,} leaves; raise "
                     "PathFinding.max_leaves")
    region = self._region(row)
    self.put(self.queries(row[None])[0], region, row)
    self._stacked = None
    is_number = (self.domain.categories == 0) & ~np.isnan(row) & (
        self.domain.low < self.domain.high)
    pinned = region.low[is_number] == region.high[is_number]
    if not self.queries.named and len(pinned) and pinned.all():
      self._pinpoints += 1
      if self._pinpoints >= _PINPOINTS:
        raise NotATree("answers change with the last bit of a number: the "
                       "victim is no tree")

  def _inside(self, one: Identity, rows: np.ndarray) -> Sequence[bool]:
    """Tells of rows [n, d] whether they have that identity.

    Those in known regions are not asked about.
    """
    if self.repeats or not self._grouped or not self.regions:
      return [answer == one for answer in self.queries(rows)]
    self._stacked = self._stacked or Regions(self.regions)
    held = self._stacked.contain(rows)
    answers = [self.identities[int(place)] == one
               for place in held.argmax(axis=1)]
    open_ = np.flatnonzero(~held.any(axis=1))
    if len(open_):
      for place, answer in zip(open_, self.queries(rows[open_]), strict=True):
        answers[place] = answer == one
    return answers

  def _region(self, row: np.ndarray) -> Region:
    """The region of a row's leaf."""
    one = self.queries(row[None])[0]
    return self.search.region(row, lambda rows: self._inside(one, rows),
                              self._grouped and not self.repeats)
