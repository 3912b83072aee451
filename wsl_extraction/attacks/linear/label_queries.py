"""Labels of points, and the check of a boundary that was computed from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.linear.region import Region
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle

_LARGEST_BATCH = 64  # rows of the search for a second class


class LabelQueries:
  """Asks for labels of points z, and remembers them.

  Attributes:
    region: Where points lie.
    stage: The words for what is being done.
    count: The points that were asked about.
  """

  def __init__(self, oracle: Oracle, region: Region,
               progress: Callable[[str, int], None]):
    self.region, self.stage = region, "looking for two classes"
    self._oracle, self._progress = oracle, progress
    self._points, self._positive = [], []
    self.count = 0

  def __call__(self, points: np.ndarray) -> np.ndarray:
    """True [n] for points [n, d] of class 1.

    Raises:
      BudgetExceeded: Not all of them can be had; none was asked.
    """
    response = self._oracle.query(self.region.rows(points))
    positive = response.top_classes == 1
    self._points.append(np.array(points))
    self._positive.append(positive)
    self.count += len(positive)
    self._progress(self.stage, self.count)
    return positive

  @property
  def asked(self) -> tuple[np.ndarray, np.ndarray]:
    """All points [n, d] so far, and their labels [n]."""
    if not self._points:
      return np.zeros((0, self.region.features)), np.zeros(0, bool)
    return np.concatenate(self._points), np.concatenate(self._positive)

  def witnesses(self, knowledge: Knowledge, rng: np.random.Generator,
                most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A point of class 0 and one of class 1; None if there seem to be none.

    Tries the adversary's own witnesses, then its pool, then random points.

    Args:
      knowledge: Its rows.
      rng: Of the random ones.
      most: The points that are tried.

    Raises:
      BudgetExceeded: The budget ends first.
    """
    parts = [] if knowledge.witnesses is None else [
        self.region.points(knowledge.witnesses)]
    size = max(sum(map(len, parts)), 2)
    if knowledge.pool is not None and len(knowledge.pool):
      parts.append(self.region.points(np.asarray(
          knowledge.pool.rows[:max(most // 2, 1)], np.float64)))
    points = np.concatenate([*parts, self.region.sample(most, rng)])[:most]
    start = 0
    while start < len(points):
      left = self._oracle.ledger.left()
      if left is not None and not left:
        raise BudgetExceeded("the budget is spent")
      batch = points[start:start + min(
          size, _LARGEST_BATCH, len(points) if left is None else left)]
      self(batch)
      start, size = start + len(batch), 2 * size
      seen, positive = self.asked
      if positive.any() and not positive.all():
        return seen[np.argmin(positive)], seen[np.argmax(positive)]
    return None


@dataclasses.dataclass(frozen=True, eq=False)
class Boundary:
  """The hyperplane normal . z + offset = 0, and how far it may be off.

  Attributes:
    normal: float64 [d]; class 1 lies in its direction.
    offset: A number.
    origin: A point on it, [d].
    errors: Bounds on the errors of `normal`, [d].
    error: A bound on the error of the value at `origin`.
  """

  normal: np.ndarray
  offset: float
  origin: np.ndarray
  errors: np.ndarray
  error: float

  def values(self, points: np.ndarray) -> np.ndarray:
    """The side and distance of points [n, d], in units of the normal."""
    return (points - self.origin) @ self.normal

  def tolerance(self, points: np.ndarray) -> np.ndarray:
    """How far `values` may be off, [n]."""
    # Sums of d products are rounded, here and by the victim.
    size = np.abs(points) @ np.abs(self.normal) + abs(self.offset)
    rounding = 2.0**-51 * len(self.normal) * size
    return np.abs(points - self.origin) @ self.errors + self.error + rounding

  def contradicted(self, points: np.ndarray, positive: np.ndarray
                   ) -> np.ndarray:
    """True [n] where a label cannot be that of this boundary."""
    values = self.values(points)
    return ((values > 0) != positive) & (
        np.abs(values) > self.tolerance(points))


def check(queries: LabelQueries, boundary: Boundary, rng: np.random.Generator,
          rows: int) -> str:
  """Asks about fresh points on both sides of a boundary, and far from it.

  Also holds it against all labels that were asked for before.

  Args:
    queries: Asked, if `rows` is above 0.
    boundary: What was computed.
    rng: Of the points.
    rows: How many are asked, three in four of them near the boundary.

  Returns:
    What contradicts it; empty if nothing does.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  queries.stage = "checking fresh points"
  if not np.isfinite(boundary.errors).all():
    return ("the weight of a feature has no end beside that of another: the "
            "victim is not linear, or the two differ by more than 1e12 times")
  points, positive = queries.asked
  wrong = int(boundary.contradicted(points, positive).sum())
  if wrong:
    return (f"{wrong} of the {len(points)} labels that it was computed from "
            "are not those of one hyperplane: the victim is not linear, or "
            "does not always answer alike")
  if not rows:
    return ""
  fresh = _fresh(queries, boundary, rng, rows)
  wrong = int(boundary.contradicted(fresh, queries(fresh)).sum())
  return "" if not wrong else (
      f"{wrong} of {rows} fresh rows, most of them near the boundary, lie on "
      "its other side: the victim is not linear, or computes in lower "
      "precision than the width of the search")


def check_noisy(queries: LabelQueries, boundary: Boundary,
                rng: np.random.Generator, rows: int, noise: float) -> str:
  """The same where each label is wrong with probability `noise`.

  Labels far enough from the boundary may be wrong as often as noise allows, and
  four standard deviations more.

  Returns:
    What contradicts the boundary; empty if nothing does.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  queries.stage = "checking fresh points"
  asked = queries.asked
  fresh = _fresh(queries, boundary, rng, rows)
  for what, points, positive in (
      ("labels that it was computed from", *asked),
      ("labels of fresh rows", fresh, queries(fresh))):
    values = boundary.values(points)
    clear = np.abs(values) > boundary.tolerance(points)
    wrong, count = int(((values > 0) != positive)[clear].sum()), clear.sum()
    if wrong > noise * count + 4 * np.sqrt(noise * (1 - noise) * count):
      return (f"{wrong} of {count} {what} are wrong, and noise of {noise:g} "
              "explains fewer: the victim is not linear, or noise is larger")
  return ""


def _fresh(queries: LabelQueries, boundary: Boundary, rng: np.random.Generator,
           rows: int) -> np.ndarray:
  """Points [rows, d], three in four of them near the boundary."""
  region, normal = queries.region, boundary.normal
  unit = normal / np.linalg.norm(normal)
  steps = region.sample(rows - rows // 4, rng) - boundary.origin
  # Not up to the limits: there must be room on both sides.
  near = region.shrunk(
      boundary.origin, 0.95 * (steps - np.outer(steps @ unit, unit)))
  axis = np.argmax(np.abs(normal) * np.minimum(np.minimum(
      region.high - boundary.origin, boundary.origin - region.low), 1))
  side = np.where(np.arange(len(near)) % 2, 1.0, -1.0)
  near[:, axis] += 4 * side * boundary.tolerance(near) / normal[axis]
  fresh = np.concatenate([near, region.sample(rows // 4, rng)])
  return region.points(region.rows(fresh))
