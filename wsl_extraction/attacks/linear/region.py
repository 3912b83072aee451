"""The region of queries about linear models: units, limits, and rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.oracle.spaces import Space

_SEEN = 1000  # examples of the pool that tell where the data lie


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
  """Points z [n, d], of which a row is x = middle + half z.

  Attributes:
    middle: float64 [d].
    half: Half of the range of each feature, float64 [d], above 0.
    low: The least z of a feature that the oracle takes, [d]; may be infinite.
    high: The largest.
    shape: Of a row.
  """

  middle: np.ndarray
  half: np.ndarray
  low: np.ndarray
  high: np.ndarray
  shape: tuple[int, ...]

  @classmethod
  def of(cls, space: Space, knowledge: Knowledge) -> Region:
    """The range of the space; where it has none, that of the pool, else 1."""
    d = space.features
    low, high = (
        np.broadcast_to(np.asarray(end, np.float64), space.shape).ravel()
        for end in (space.low, space.high))
    least, most = low.copy(), high.copy()
    pool = knowledge.pool
    if pool is not None and len(pool):
      rows = np.asarray(pool.rows[:_SEEN], np.float64).reshape(-1, d)
      least = np.where(np.isfinite(low), low, rows.min(axis=0))
      most = np.where(np.isfinite(high), high, rows.max(axis=0))
    known = np.isfinite(least) & np.isfinite(most) & (least < most)
    with np.errstate(invalid="ignore"):
      middle = np.where(known, least / 2 + most / 2, np.where(
          np.isfinite(least), least, 0.0))
      half = np.where(known, most / 2 - least / 2, 1.0)
    unlimited = np.full(d, np.inf)
    if not space.bounded:
      return cls(middle, half, -unlimited, unlimited, space.shape)
    return cls(middle, half, (low - middle) / half, (high - middle) / half,
               space.shape)

  @property
  def features(self) -> int:
    """d."""
    return len(self.middle)

  @property
  def is_limited(self) -> bool:
    """True if the oracle refuses points that lie far away."""
    return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

  def rows(self, points: np.ndarray) -> np.ndarray:
    """Rows [n, *shape] of points [n, d]."""
    clipped = np.clip(points, self.low, self.high)
    rows = self.middle + self.half * clipped
    # Rounding must not carry a row across the limits.
    rows = np.clip(rows, self.middle + self.half * self.low,
                   self.middle + self.half * self.high)
    return rows.reshape(-1, *self.shape)

  def points(self, rows: np.ndarray) -> np.ndarray:
    """Points [n, d] of rows [n, *shape]."""
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    return (flat - self.middle) / self.half

  def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points where the data lie, uniform in -1..1 as far as limits allow."""
    points = rng.uniform(-1, 1, (n, self.features))
    return np.clip(points, self.low, self.high)

  def shrunk(self, origin: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The points origin + t steps [n, d], t the largest of 0..1 in limits."""
    with np.errstate(divide="ignore", invalid="ignore"):
      room = np.where(steps > 0, (self.high - origin) / steps,
                      (self.low - origin) / steps)
    room = np.where(steps == 0, np.inf, room)
    share = np.clip(room.min(axis=1, initial=1.0), 0, 1)
    return origin + share[:, None] * steps

  def of_inputs(self, kernel: np.ndarray, bias: np.ndarray,
                link: str = "softmax") -> LinearWeights:
    """z kernel [d, c] + bias [c] as a model of rows."""
    kernel = kernel / self.half[:, None]
    return LinearWeights(kernel, bias - self.middle @ kernel, link)
