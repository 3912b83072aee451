"""The region of a leaf around a row of it."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.attacks.tree import searches
from wsl_extraction.networks.regions import Domain, Region, following

Inside = Callable[[np.ndarray], Sequence[bool]]


class RegionSearch:
  """Finds the faces of leaves, and remembers thresholds.

  Attributes:
    domain: All rows.
  """

  def __init__(self, domain: Domain, scale: np.ndarray,
               grids: tuple[np.ndarray, np.ndarray]):
    """Knows no threshold yet.

    Args:
      domain: All rows.
      scale: Of each feature's numbers, [d].
      grids: Numbers at which thresholds are expected; see `scales.grids`.
    """
    self.domain, self._scale, self._grids = domain, scale, grids
    self._thresholds: list[list[float]] = [[] for _ in scale]

  @property
  def thresholds(self) -> int:
    """The number of different thresholds that were found."""
    return sum(map(len, self._thresholds))

  def region(self, row: np.ndarray, inside: Inside, grouped: bool) -> Region:
    """The region of the leaf of a row [d].

    Args:
      row: It.
      inside: Tells of rows [n, d] whether they lie in the leaf.
      grouped: Whether several features are moved at once, and thresholds that
        are known are tried first.
    """
    rounds = self._rounds(row)
    search = searches.leaving if grouped else searches.one_by_one
    outside = searches.side_by_side(
        inside, [search(row, moves) for moves in rounds])
    moves = [(feature, value, feature in leaves)
             for alternatives, leaves in zip(rounds, outside, strict=True)
             for feature, value in alternatives.items()]
    return self._with_faces(row, inside, grouped, moves)

  def face(self, row: np.ndarray, feature: int, end: float,
           reuse: bool) -> searches.Search[float]:
    """The search for a threshold between a row's number and another one.

    Args:
      row: A row [d] of the leaf.
      feature: Which number of it.
      end: The other one, of which a row lies outside.
      reuse: Whether thresholds that are known are tried first.
    """
    return searches.threshold(
        row, feature, end, self._thresholds[feature] if reuse else (),
        float(self._scale[feature]),
        (float(self._grids[0][feature]), float(self._grids[1][feature])))

  def note(self, feature: int, threshold: float) -> None:
    """Remembers a threshold."""
    known = self._thresholds[feature]
    place = bisect.bisect_left(known, threshold)
    if known[place:place + 1] != [threshold]:
      known.insert(place, threshold)

  def _with_faces(self, row: np.ndarray, inside: Inside, grouped: bool,
                  moves: Sequence[tuple[int, float, bool]]) -> Region:
    """The region, once it is known which moves of features leave it."""
    region = self.domain.point(row)
    low, high = region.low.copy(), region.high.copy()
    members = region.members.copy()
    starts: dict[int, np.ndarray] = {}
    ends = []
    for feature, value, leaves in moves:
      other = searches.moved(row, {feature: value})
      if self.domain.categories[feature] or np.isnan(value):
        members[feature, int(self.domain.codes(other)[feature])] = not leaves
      elif leaves:
        ends.append((feature, value))
      else:
        low[feature] = min(low[feature], value)
        high[feature] = max(high[feature], value)
        starts[feature] = other
    # A row without the number shows no face, unless one end is inside.
    starts = {feature: starts.get(feature, row) if np.isnan(row[feature])
              else row for feature, _ in ends}
    ends = [(feature, end) for feature, end in ends
            if not np.isnan(starts[feature][feature])]
    found = searches.side_by_side(inside, [
        self.face(starts[feature], feature, end, grouped)
        for feature, end in ends])
    for (feature, end), threshold in zip(ends, found, strict=True):
      if end > starts[feature][feature]:
        high[feature] = threshold
      else:
        low[feature] = following(threshold)
      self.note(feature, threshold)
    return Region(self.domain, low, high, members)

  def _rounds(self, row: np.ndarray) -> list[dict[int, float]]:
    """Moves to all other ends and categories: one for each feature a round."""
    alternatives = [self._alternatives(feature, float(row[feature]))
                    for feature in range(self.domain.features)]
    return [{feature: values[place]
             for feature, values in enumerate(alternatives)
             if place < len(values)}
            for place in range(max(map(len, alternatives)))]

  def _alternatives(self, feature: int, value: float) -> list[float]:
    count = int(self.domain.categories[feature])
    values = list(map(float, range(count))) if count else [
        float(self.domain.low[feature]), float(self.domain.high[feature])]
    if self.domain.missing:
      values.append(np.nan)
    return [one for one in dict.fromkeys(values)
            if one != value and not (np.isnan(one) and np.isnan(value))]
