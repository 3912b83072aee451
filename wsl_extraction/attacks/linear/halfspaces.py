"""Halfspaces through 0, made of the labels of an affine victim."""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.linear.label_queries import Boundary, LabelQueries

_FAR = 2.0**-60  # the least t of a vector (x, t)
_INSIDE = 1 / 16  # by so much witnesses are moved away from the limits


class Lifted:
  """The halfspace w . x + b t > 0 of vectors (t, x), from labels at x / t.

  Attributes:
    size: d + 1.
    vector: The unit vector (b, w), as far as it is known.
  """

  def __init__(self, queries: LabelQueries):
    self._queries = queries
    self.size = queries.region.features + 1
    self.vector = np.eye(self.size)[0]

  def __call__(self, vector: np.ndarray) -> bool:
    """True if a vector [d + 1] lies inside."""
    t = vector[0] if abs(vector[0]) > _FAR else _FAR
    positive = bool(self._queries(vector[None, 1:] / t)[0])
    return positive == (t > 0)

  def boundary(self, error: float) -> Boundary:
    """The hyperplane, if the vector is off by `error` at most."""
    offset, normal = self.vector[0], self.vector[1:].copy()
    squared = normal @ normal
    origin = -offset * normal / squared if squared else np.zeros_like(normal)
    return Boundary(normal, float(offset), origin,
                    np.full(len(normal), error / np.sqrt(self.size)),
                    error * (1 + float(np.linalg.norm(origin))))


class Through:
  """The halfspace w . x > 0 of steps x from a point on the boundary.

  Attributes:
    size: d.
    vector: The unit vector w, as far as it is known.
  """

  def __init__(self, queries: LabelQueries, negative: np.ndarray,
               positive: np.ndarray):
    """Bisects between a point of either class."""
    self._queries = queries
    self.size = queries.region.features
    self.vector = np.eye(self.size)[0]
    region = queries.region
    inside = np.clip(np.zeros(self.size), region.low, region.high)
    moved = [end + _INSIDE * (inside - end) for end in (negative, positive)]
    labels = queries(np.array(moved))
    a, b = moved if labels[1] and not labels[0] else (negative, positive)
    while np.abs(b - a).max() > 2.0**-48:
      middle = (a + b) / 2
      if (middle == a).all() or (middle == b).all():
        break
      if queries(middle[None])[0]:
        b = middle
      else:
        a = middle
    self._origin = (a + b) / 2

  def __call__(self, vector: np.ndarray) -> bool:
    """True if a vector [d] lies inside."""
    region = self._queries.region
    ends = [region.shrunk(self._origin, sign * vector[None])[0]
            for sign in (1.0, -1.0)]
    lengths = [np.abs(end - self._origin).sum() for end in ends]
    forward = lengths[0] >= lengths[1]
    return bool(self._queries(
        ends[0 if forward else 1][None])[0]) == forward

  def boundary(self, error: float) -> Boundary:
    """The hyperplane, if the vector is off by `error` at most."""
    return Boundary(
        self.vector.copy(), float(-self.vector @ self._origin), self._origin,
        np.full(self.size, error / np.sqrt(self.size)), 2.0**-44)
