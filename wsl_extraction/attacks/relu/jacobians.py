"""Jacobians at well-chosen base points, and the normals that they give.

Between the kinks of a line a network is linear. Its slope there, in a direction
q, is the sum of outer_i (normal_i . q) over the units that are on, and of the
linear part: K equations for as many unknowns as there are units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


def independent(outer: np.ndarray) -> int:
  """The rank of outer [h, K]: the outputs that tell units apart."""
  length = np.linalg.norm(outer, axis=1, keepdims=True)
  unit = (outer / np.where(length > 0, length, 1))[length[:, 0] > 0]
  return max(1, int(np.linalg.matrix_rank(unit, tol=1e-6))) if len(
      unit) else outer.shape[1]


def base_points(at: np.ndarray, group: int, low: float,
                high: float) -> np.ndarray:
  """Chooses base points on a line, with few kinks between neighbours.

  Args:
    at: float64 [h]: kinks in order.
    group: The most kinks between two neighbouring base points.
    low: Where the line begins.
    high: Where it ends.

  Returns:
    float64 [m]: places, the first before all kinks, the last behind.
  """
  if not len(at):
    return np.array([max(low, min(0.0, high)) if low * high > 0 else 0.0])
  reach = 3 * max(1.0, np.abs(at).max())
  ends = np.concatenate(
      [[max(at[0] - reach, low)], at, [min(at[-1] + reach, high)]])
  middle = (ends[1:] + ends[:-1]) / 2
  room = np.diff(ends) / np.maximum(np.abs(middle), 1)
  room[0] = room[-1] = np.inf
  fewest = -(-len(at) // group)
  for least in np.sort(np.unique(room))[::-1]:
    chosen = _march(room >= least, group)
    if chosen is not None and len(chosen) <= fewest + 1:
      return middle[chosen]
  return middle[_march(room >= 0, group)]


def _march(allowed: np.ndarray, group: int) -> np.ndarray | None:
  """Steps of at most `group` over the allowed cells, as long as can be."""
  chosen, last = [0], len(allowed) - 1
  while chosen[-1] < last:
    ahead = np.flatnonzero(allowed[chosen[-1] + 1:chosen[-1] + group + 1])
    if not len(ahead):
      return None
    chosen.append(chosen[-1] + 1 + int(ahead[-1]))
  return np.array(chosen)


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes:
  """Unknown slopes of units, from those of the network.

  Attributes:
    coefficients: float64 [m, K, p]: at each base point, what multiplies the p
      unknowns of a direction: outer_i where unit i is on, and the identity for
      the linear part.
    weights: float64 [m]: of the base points.
  """

  coefficients: np.ndarray
  weights: np.ndarray

  def solve(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solves for the unknowns [p, q] of all q directions.

    Args:
      slopes: float64 [m, q, K]: slopes of the network.

    Returns:
      The unknowns, and what they leave [m, q, K].
    """
    m, k, p = self.coefficients.shape
    scale = np.linalg.norm(
        self.coefficients * self.weights[:, None, None], axis=(0, 1))
    scale[scale == 0] = 1
    matrix = (self.coefficients / scale
              * self.weights[:, None, None]).reshape(m * k, p)
    right = (slopes * self.weights[:, None, None]).transpose(0, 2, 1)
    right = right.reshape(m * k, -1)
    answer = np.linalg.lstsq(matrix, right, rcond=1e-12)[0] / scale[:, None]
    predicted = np.einsum("mkp,pq->mqk", self.coefficients, answer)
    return answer, slopes - predicted


def coefficients(on: np.ndarray, outer: np.ndarray,
                 with_linear: bool) -> np.ndarray:
  """[m, K, h or h + K] for patterns `on` bool [m, h] and outer [h, K]."""
  of_units = on[:, None, :] * outer.T
  if not with_linear:
    return of_units
  identity = np.broadcast_to(
      np.eye(outer.shape[1]), (len(on), outer.shape[1], outer.shape[1]))
  return np.concatenate([of_units, identity], axis=2)


def best_bases(candidates: np.ndarray, quality: np.ndarray,
               count: int, first: Sequence[int] = ()) -> np.ndarray:
  """Chooses base points that together tell the unknowns best.

  Greedily enlarges the determinant of the information matrix.

  Args:
    candidates: float64 [n, K, p]: their coefficients.
    quality: float64 [n]: how precise slopes are there.
    count: How many to choose.
    first: Which are chosen in any case, before the others.

  Returns:
    [count] indices.
  """
  n, k, p = candidates.shape
  scaled = candidates * (quality / quality.max())[:, None, None]
  size = np.sqrt((scaled**2).sum((0, 1)) / n)
  size[size == 0] = 1
  scaled = scaled / size
  inverse = np.eye(p) * 1e8
  chosen = []
  for place in range(count):
    spread = np.einsum("nkp,pq->nkq", scaled, inverse, optimize=True)
    gain = np.einsum("nkq,nlq->nkl", spread, scaled, optimize=True)
    gain = np.linalg.slogdet(np.eye(k) + gain)[1]
    gain[chosen] = -np.inf
    one = first[place] if place < len(first) else int(np.argmax(gain))
    chosen.append(one)
    c = scaled[one]
    half = inverse @ c.T
    inverse = inverse - half @ np.linalg.solve(np.eye(k) + c @ half, half.T)
    inverse = (inverse + inverse.T) / 2
  return np.array(chosen)


def directions(d: int, rng: np.random.Generator) -> np.ndarray:
  """A random orthonormal basis [d, d]: cosines of randomly signed entries."""
  from scipy import fft

  basis = fft.dct(np.eye(d), norm="ortho", axis=0)
  return (basis * rng.choice([-1.0, 1.0], d))[rng.permutation(d)]
