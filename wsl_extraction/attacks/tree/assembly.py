"""A tree from the regions of its leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from wsl_extraction.networks.decision_tree import LEAF, DecisionTree
from wsl_extraction.networks.regions import Region, Regions, following


@dataclasses.dataclass(frozen=True, eq=False)
class Assembly:
  """A tree over regions.

  Attributes:
    tree: It; its values [n, 1] are the numbers of regions, -1 at holes.
    doubtful: Parts of the domain that no region covers, or several that differ.
  """

  tree: DecisionTree
  doubtful: Sequence[Region]

  def regions_of(self, rows: np.ndarray) -> np.ndarray:
    """The numbers int [n] of the regions of rows [n, d]."""
    return self.tree(rows)[:, 0].astype(np.int64)

  def with_values(self, values: np.ndarray) -> DecisionTree:
    """The tree with outputs [m, c] of m regions; holes take the first.

    An inner node has the mean of its children.
    """
    tree = self.tree
    places = np.maximum(tree.values[:, 0].astype(np.int64), 0)
    outputs = values[places].astype(np.float64)
    for node in reversed(range(len(places))):  # children come after parents
      if tree.feature[node] != LEAF:
        children = [tree.left[node], tree.right[node]]
        outputs[node] = outputs[children].mean(axis=0)
    return dataclasses.replace(tree, values=outputs)


def assemble(whole: Region, regions: Sequence[Region],
             identities: Sequence[object]) -> Assembly:
  """Builds a tree that is constant on each region.

  A node compares where the fewest regions are cut: none, where they are the
  leaves of a tree. Where regions overlap the later one counts.

  Args:
    whole: All rows.
    regions: Of leaves, at least one.
    identities: Theirs; overlapping regions of one identity are in order.
  """
  stacked = Regions(regions)
  nodes: list[list[float]] = []
  doubtful: list[Region] = []

  def build(region: Region, among: np.ndarray) -> int:
    """Adds the nodes of a part of the domain, and gives the first one."""
    place = len(nodes)
    nodes.append([LEAF, 0, LEAF, LEAF, 0, -1])
    parts = stacked.within(region)
    among = among[parts.present()[among]]
    last = int(among[-1]) if len(among) else -1
    if not len(among) or _covers(regions[last], region):
      nodes[place][-1] = last
      if len({identities[one] for one in among}) != 1:
        doubtful.append(region)
      return place
    feature, threshold, missing_left = _best_cut(region, parts, among)
    left, right = region.cut(feature, threshold, missing_left)
    nodes[place] = [feature, threshold, build(left, among),
                    build(right, among), missing_left, -1]
    return place

  build(whole, np.arange(len(regions)))
  table = np.array(nodes)
  columns = iter(table.T)
  return Assembly(DecisionTree(
      whole.domain.features, next(columns), next(columns), next(columns),
      next(columns), next(columns), table[:, 5:]), doubtful)


def _covers(outer: Region, inner: Region) -> bool:
  """True if every row of `inner` lies in `outer`."""
  numbers = (inner.domain.categories > 0) | (inner.low > inner.high) | (
      (outer.low <= inner.low) & (outer.high >= inner.high))
  return bool(numbers.all() and (outer.members | ~inner.members).all())


def _best_cut(region: Region, parts: Regions,
              among: np.ndarray) -> tuple[int, float, bool]:
  """The comparison that cuts the fewest regions, then the most even one."""
  best, choice = None, None
  for feature, threshold in _cuts(region, parts, among):
    for missing_left in ((False, True) if region.members[feature, -1]
                         else (False,)):
      if any(one.is_empty for one in region.cut(
          feature, threshold, missing_left)):
        continue
      left, right = (side[among] for side in parts.sides(
          feature, threshold, missing_left))
      cost = (int((left & right).sum()), max(int(left.sum()), int(right.sum())))
      if best is None or cost < best:
        best, choice = cost, (feature, threshold, missing_left)
  assert choice is not None, "a region that is not covered has a face in it"
  return choice


def _cuts(region: Region, parts: Regions, among: np.ndarray
          ) -> list[tuple[int, float]]:
  """Features and thresholds at faces of the regions `among`."""
  cuts = []
  for feature, count in enumerate(region.domain.categories):
    if region.members[feature, -1]:
      cuts.append((feature, np.inf))  # NaN apart from all numbers
    if count:
      cuts += [(feature, place + 0.5) for place in range(count - 1)]
      continue
    low, high = region.low[feature], region.high[feature]
    faces = {float(one) for one in parts.high[among, feature]
             if low <= one < high}
    faces |= {_preceding(float(one)) for one in parts.low[among, feature]
              if low < one <= high}
    cuts += [(feature, one) for one in sorted(faces)]
  return cuts


def _preceding(value: float) -> float:
  return -following(-value)
