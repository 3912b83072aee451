"""Path finding from the root down, by rows with absent features.

A row stops at the first node that compares a feature that it lacks. The node of
a row stays the same while other features are added, and changes with that one:
groups of features tell which, then values of it tell the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.attacks.tree import searches
from wsl_extraction.attacks.tree.assembly import Assembly
from wsl_extraction.attacks.tree.exploration import Exploration
from wsl_extraction.attacks.tree.leaf_queries import Identity, LeafQueries
from wsl_extraction.networks.regions import Region, following


def explore(queries: LeafQueries, exploration: Exploration) -> Assembly:
  """Finds all leaves below the root.

  Args:
    queries: The oracle's answers, of nodes.
    exploration: Gets the regions of the leaves.

  References:
    Tramer et al. 2016, section 4.2, algorithm 2.
  """
  domain = exploration.domain
  pending = [(np.full(domain.features, np.nan), domain.whole())]
  while pending:
    row, region = pending.pop()
    node = queries(row[None])[0]
    feature = _compared_again(queries, row, region, node)
    if feature is None:
      feature = _compared(queries, row, region, node)
    if feature is None:
      exploration.put(node, region, row)
      continue
    parts = _parts(queries, exploration, row, region, feature)
    pending += [(searches.moved(row, {feature: value}), part)
                for value, part in parts]
  return exploration.assembled()


def _compared_again(queries: LeafQueries, row: np.ndarray, region: Region,
                    node: Identity) -> int | None:
  """A present feature that leads rows of the region to another node.

  A feature may be compared several times on a path. The rows that reach a node
  are a product of sets, as those of a leaf are.

  Args:
    queries: The oracle's answers.
    row: A row whose present numbers are the least of the region.
    region: Of which all rows should reach the node.
    node: That of the row.
  """
  alternatives = {}
  for feature in np.flatnonzero(~np.isnan(row)):
    if region.domain.categories[feature]:
      values = np.flatnonzero(region.members[feature, :-1]).astype(float)
    else:
      values = [float(region.high[feature])]
    alternatives[int(feature)] = [one for one in values if one != row[feature]]
  for place in range(max(map(len, alternatives.values()), default=0)):
    moves = {feature: values[place]
             for feature, values in alternatives.items() if place < len(values)}
    leaving = searches.side_by_side(
        _at(queries, node), [searches.leaving(row, moves)])[0]
    if leaving:
      return leaving[0]
  return None


def _compared(queries: LeafQueries, row: np.ndarray, region: Region,
              node: Identity) -> int | None:
  """The absent feature that the node of a row compares; None at a leaf."""
  middle, absent = region.row(), np.flatnonzero(np.isnan(row))

  def stays(features: Sequence[int]) -> bool:
    return queries(searches.moved(
        row, {one: middle[one] for one in features})[None])[0] == node

  group = absent.tolist()
  if not group or stays(group):
    return None
  while len(group) > 1:
    half = group[:len(group) // 2]
    group = group[len(half):] if stays(half) else half
  return group[0]


def _parts(queries: LeafQueries, exploration: Exploration, row: np.ndarray,
           region: Region, feature: int) -> list[tuple[float, Region]]:
  """The parts of a region by a feature, with a value in each of them."""
  if exploration.domain.categories[feature]:
    places = np.flatnonzero(region.members[feature, :-1])
    nodes = queries(np.array([
        searches.moved(row, {feature: float(one)}) for one in places]))
    parts = []
    for node in dict.fromkeys(nodes):
      members = region.members.copy()
      members[feature] = False
      held = places[[one == node for one in nodes]]
      members[feature, held] = True
      parts.append((float(held[0]), Region(
          region.domain, region.low, region.high, members)))
    return parts
  low, high = float(region.low[feature]), float(region.high[feature])
  bounds = _thresholds(queries, exploration, row, feature, low, high)
  parts = []
  for bound in [*bounds, high]:
    lows, highs = region.low.copy(), region.high.copy()
    lows[feature], highs[feature] = low, bound
    parts.append((low, Region(region.domain, lows, highs, region.members)))
    low = following(bound)
  return parts


def _thresholds(queries: LeafQueries, exploration: Exploration,
                row: np.ndarray, feature: int, low: float, high: float
                ) -> list[float]:
  """Ascending thresholds of a feature, between which the node is the same.

  The rows that reach a node by this feature are an interval, so that equal
  nodes at both ends have none between them.
  """
  start, end = (searches.moved(row, {feature: value}) for value in (low, high))
  bounds = []
  while queries(start[None]) != queries(end[None]):
    found = searches.side_by_side(
        _at(queries, queries(start[None])[0]),
        [exploration.search.face(start, feature, high, reuse=False)])[0]
    exploration.search.note(feature, found)
    bounds.append(found)
    start = searches.moved(row, {feature: following(found)})
  return bounds


def _at(queries: LeafQueries, node: Identity
        ) -> Callable[[np.ndarray], list[bool]]:
  """Tells of rows whether they reach a node."""
  return lambda rows: [answer == node for answer in queries(rows)]
