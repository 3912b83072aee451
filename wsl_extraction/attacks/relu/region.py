"""The region of queries, in coordinates of size one.

Points are x = origin + scale z, with a scale for each feature. All that follows
the oracle's answers works with z, so that lengths need no unit.
"""

from __future__ import annotations

import dataclasses

import numpy as np

_FAR = 10.0**8.2


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
  """All points z within a radius, or a box.

  Attributes:
    origin: float64 [d]: the x of z = 0.
    scale: float64 [d]: the x-length of z-length one, of each feature.
    radius: The largest length of z.
    data: The z of the middle of the data.
    unit: The z-length of the size of the data.
    box: The lowest and highest x of each feature, each [d], or None.
  """

  origin: np.ndarray
  scale: np.ndarray
  data: np.ndarray
  unit: float = 1.0
  radius: float = _FAR
  box: tuple[np.ndarray, np.ndarray] | None = None

  @property
  def features(self) -> int:
    return len(self.origin)

  @property
  def bounded(self) -> bool:
    """True if some units may never switch inside."""
    return self.box is not None or self.radius < _FAR

  def inputs(self, points: np.ndarray) -> np.ndarray:
    """x of z [n, d]."""
    return self.origin + self.scale * points

  def points(self, inputs: np.ndarray) -> np.ndarray:
    """z of x [n, d]."""
    return (inputs - self.origin) / self.scale

  def contains(self, points: np.ndarray) -> np.ndarray:
    """bool [n]: which z [n, d] lie inside."""
    inside = np.linalg.norm(points, axis=1) <= self.radius * (1 + 1e-9)
    if self.box is not None:
      x, (low, high) = self.inputs(points), self.box
      slack = 1e-9 * (high - low)
      inside &= ((x >= low - slack) & (x <= high + slack)).all(axis=1)
    return inside

  def span(self, start: np.ndarray, along: np.ndarray) -> tuple[float, float]:
    """The range of t in which start + t along, of unit length, lies inside."""
    middle = -start @ along
    half = self.radius**2 - start @ start + middle**2
    half = np.sqrt(max(half, 0.0))
    low, high = middle - half, middle + half
    if self.box is not None:
      with np.errstate(divide="ignore"):
        ends = np.array([
            (side - self.inputs(start)) / (self.scale * along)
            for side in self.box])
      ends = np.sort(ends, axis=0)
      low, high = max(low, ends[0].max()), min(high, ends[1].min())
    return float(low), float(high)

  def room(self, point: np.ndarray) -> float:
    """The distance that every feature of z [d] may move, both ways."""
    room = float(self.radius - np.linalg.norm(point))
    if self.box is not None:
      x, (low, high) = self.inputs(point), self.box
      room = min(room, float(
          (np.minimum(x - low, high - x) / self.scale).min()))
    return max(room, 0.0)

  def grid(self, low: float, high: float) -> np.ndarray:
    """First probes of a line from `low` to `high`, denser near 0."""
    far = 10.0 ** np.arange(0.7, 8.3, 1.5)
    near = np.tan(np.linspace(-1, 1, 8) * np.arctan(2.0))
    grid = np.sort(np.concatenate([-far, near, far]))
    grid = grid[(grid > 0.98 * low if low < 0 else grid > low)
                & (grid < 0.98 * high)]
    # The last probe, a pair of rows, has to lie inside too.
    first, last = low + 0.004 * (high - low), high - 0.02 * (high - low)
    if high - low < 2 * _FAR:
      grid = grid[(grid > first) & (grid < last)]
      grid = np.sort(np.concatenate([grid, [first, last]]))
    if len(grid) < 8:
      grid = np.linspace(first, last, 8)
    return grid

  def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points z [n, d] all over: opposite pairs of many lengths, or corners."""
    half = -(-count // 2)
    if self.box is not None:
      low, high = self.box
      shape = half, self.features
      inner = rng.uniform(low, high, shape)
      corner = np.where(rng.random(shape) < rng.random((half, 1)), low, high)
      return self.points(np.concatenate([inner, corner])[:count])
    ray = rng.standard_normal((half, self.features))
    ray /= np.linalg.norm(ray, axis=1)[:, None]
    longest = min(self.radius, 1e6)
    lengths = np.resize(
        np.geomspace(min(0.3 * self.unit, longest), longest, 7), half)
    ray *= lengths[:, None]
    return self.data + np.concatenate([ray, -ray])[:count]
