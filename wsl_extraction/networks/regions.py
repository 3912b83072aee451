"""Regions of rows: products of one set of values for each feature.

Trees compare in single precision, so that the numbers of a feature are a finite
ordered set: its interval is closed on both sides. Beside the interval a missing
value may belong to the set. Of a categorical column the set is any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
  """The rows that a tree may be asked about.

  Attributes:
    low: The least number of each feature, float32 numbers as float64 [d].
    high: The largest.
    categories: int [d], the number of categories; 0 of numbers.
    missing: Whether values may be missing, which is NaN.
  """

  low: np.ndarray
  high: np.ndarray
  categories: np.ndarray
  missing: bool = False

  @property
  def features(self) -> int:
    """The number of features, d."""
    return len(self.low)

  def whole(self) -> Region:
    """All of it."""
    width = int(self.categories.max(initial=0)) + 1
    members = np.arange(width) < self.categories[:, None]
    members[:, -1] = self.missing
    return Region(self, self.low, self.high, members)

  def point(self, row: np.ndarray) -> Region:
    """The region of one row [d]."""
    whole = self.whole()
    members = np.zeros_like(whole.members)
    is_nan, code = np.isnan(row), self.codes(row)
    listed = is_nan | (self.categories > 0)
    members[np.flatnonzero(listed), code[listed]] = True
    empty = listed
    return Region(self, np.where(empty, np.inf, row),
                  np.where(empty, -np.inf, row), members)

  def codes(self, rows: np.ndarray) -> np.ndarray:
    """Columns of `Region.members` [..., d]; the last one for NaN."""
    last = int(self.categories.max(initial=0))
    return np.where(np.isnan(rows) | (self.categories == 0), last,
                    rows).astype(np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
  """One set of values for each feature.

  Attributes:
    domain: The rows that there are.
    low: The least number [d]; above `high` where there is none.
    high: The largest.
    members: bool [d, k + 1], the categories; in the last column, NaN.
  """

  domain: Domain
  low: np.ndarray
  high: np.ndarray
  members: np.ndarray

  @property
  def is_empty(self) -> bool:
    """True if no row lies in it."""
    return bool((~self._present).any())

  @property
  def _present(self) -> np.ndarray:
    return self.members.any(axis=1) | (
        (self.domain.categories == 0) & (self.low <= self.high))

  def contains(self, rows: np.ndarray) -> np.ndarray:
    """bool [n]: the rows [n, d] that lie in it."""
    return Regions([self]).contain(rows)[:, 0]

  def cut(self, feature: int, threshold: float,
          missing_left: bool) -> tuple[Region, Region]:
    """The parts on either side of a comparison; each may be empty."""
    parts = []
    for is_left in (True, False):
      low, high = self.low.copy(), self.high.copy()
      members = self.members.copy()
      if self.domain.categories[feature]:
        places = np.arange(members.shape[1] - 1)
        members[feature, :-1] &= (places <= threshold) == is_left
      elif is_left:
        high[feature] = min(high[feature], threshold)
      else:
        low[feature] = max(low[feature], following(threshold))
      members[feature, -1] &= missing_left == is_left
      parts.append(Region(self.domain, low, high, members))
    return parts[0], parts[1]

  def row(self) -> np.ndarray:
    """A row [d] in the middle of it."""
    with np.errstate(over="ignore", invalid="ignore"):
      middle = (self.low + self.high) / 2
      middle = middle.astype(np.float32).astype(np.float64)
      middle = np.minimum(np.maximum(middle, self.low), self.high)
    is_number = (self.domain.categories == 0) & (self.low <= self.high)
    category = np.where(self.members[:, :-1].any(axis=1),
                        self.members[:, :-1].argmax(axis=1)
                        if self.members.shape[1] > 1 else 0, np.nan)
    return np.where(is_number, middle, category)

  def share(self, low: np.ndarray, high: np.ndarray) -> float:
    """The share of rows uniform in a box, none missing, that lie in it.

    Args:
      low: The least number of each feature, finite [d].
      high: The largest.
    """
    width = np.where(high > low, high - low, 1.0)
    numbers = np.where(high > low, np.clip(
        np.minimum(self.high, high) - np.maximum(self.low, low), 0, None)
        / width, (self.low <= low) & (low <= self.high))
    categories = self.domain.categories
    listed = self.members[:, :-1].sum(axis=1) / np.maximum(categories, 1)
    return float(np.where(categories > 0, listed, numbers).prod())


class Regions:
  """Several regions of one domain, to compare with many rows at once."""

  def __init__(self, regions: Sequence[Region]):
    """Stacks the arrays of `regions`, at least one."""
    self.domain = regions[0].domain
    self.low = np.stack([one.low for one in regions])
    self.high = np.stack([one.high for one in regions])
    self.members = np.stack([one.members for one in regions])

  def contain(self, rows: np.ndarray) -> np.ndarray:
    """bool [n, m]: the regions in which rows [n, d] lie."""
    domain = self.domain
    listed = np.isnan(rows) | (domain.categories > 0)
    rows = rows[:, None]
    numbers = (self.low <= rows) & (rows <= self.high)
    code = domain.codes(rows[:, 0])
    among = np.moveaxis(self.members[:, np.arange(domain.features), code], 0, 1)
    return np.asarray(np.where(listed[:, None], among, numbers).all(axis=2))

  def within(self, region: Region) -> Regions:
    """The intersections with a region; some may be empty."""
    parts = object.__new__(Regions)
    parts.domain = self.domain
    parts.low = np.maximum(self.low, region.low)
    parts.high = np.minimum(self.high, region.high)
    parts.members = self.members & region.members
    return parts

  def present(self) -> np.ndarray:
    """bool [m]: those that are not empty."""
    numbers = (self.domain.categories == 0) & (self.low <= self.high)
    return np.asarray((self.members.any(axis=2) | numbers).all(axis=1))

  def sides(self, feature: int, threshold: float,
            missing_left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Tells which have rows on the left of a comparison, and on the right.

    Returns:
      bool [m] twice.
    """
    low, high = self.low[:, feature], self.high[:, feature]
    members = self.members[:, feature]
    if self.domain.categories[feature]:
      places = np.arange(members.shape[1] - 1) <= threshold
      left = (members[:, :-1] & places).any(axis=1)
      right = (members[:, :-1] & ~places).any(axis=1)
    else:
      left = (low <= high) & (low <= threshold)
      right = (low <= high) & (high > threshold)
    missing = members[:, -1]
    if missing_left:
      return left | missing, right
    return left, right | missing


def following(value: float) -> float:
  """The next float32 number above one; infinity above the largest."""
  if value >= LARGEST:
    return np.inf
  return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def ordinal(value: float) -> int:
  """The place of a float32 number in the order of all of them; 0 of zero."""
  bits = int(np.float32(value).view(np.int32))
  return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def of_ordinal(place: int) -> float:
  """The float32 number at a place; see `ordinal`."""
  number = np.uint32(abs(place)).view(np.float32)
  return -float(number) if place < 0 else float(number)
