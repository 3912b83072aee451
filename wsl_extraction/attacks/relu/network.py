"""Two-layer ReLU networks with a linear part, as plain arrays."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """x -> relu(x normals^T + offsets) outer + x linear + constant.

  Attributes:
    normals: float64 [h, d].
    offsets: float64 [h].
    outer: float64 [h, K].
    linear: float64 [d, K].
    constant: float64 [K].
  """

  normals: np.ndarray
  offsets: np.ndarray
  outer: np.ndarray
  linear: np.ndarray
  constant: np.ndarray

  @property
  def units(self) -> int:
    return len(self.normals)

  def __call__(self, inputs: np.ndarray) -> np.ndarray:
    """Outputs [n, K] of inputs [n, d]."""
    hidden = np.maximum(self.before(inputs), 0)
    return hidden @ self.outer + inputs @ self.linear + self.constant

  def before(self, inputs: np.ndarray) -> np.ndarray:
    """What the units see [n, h], before the ReLU."""
    return inputs @ self.normals.T + self.offsets

  @property
  def distances(self) -> np.ndarray:
    """How far from 0 each hyperplane lies, [h]; infinity if there is none."""
    length = np.linalg.norm(self.normals, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
      return np.where(length > 0, np.abs(self.offsets) / length, np.inf)

  def flipped(self, which: np.ndarray) -> Network:
    """The same function with some units looking the other way.

    By relu(z) = relu(-z) + z, a flipped unit leaves a linear part.

    Args:
      which: bool [h].
    """
    turn = np.where(which, -1.0, 1.0)
    moved = np.where(which[:, None], self.outer, 0)
    return Network(
        self.normals * turn[:, None], self.offsets * turn, self.outer,
        self.linear + self.normals.T @ moved,
        self.constant + self.offsets @ moved)

  def of_inputs(self, origin: np.ndarray, scale: float) -> Network:
    """The same function of x = origin + scale z."""
    normals, linear = self.normals / scale, self.linear / scale
    return Network(normals, self.offsets - normals @ origin, self.outer,
                   linear, self.constant - origin @ linear)

  def canonical(self) -> Network:
    """The same function with normals of length one, in a fixed order."""
    length = np.linalg.norm(self.normals, axis=1)
    length[length == 0] = 1
    outer = self.outer * length[:, None]
    order = np.argsort(-np.linalg.norm(outer, axis=1), kind="stable")
    return Network((self.normals / length[:, None])[order],
                   (self.offsets / length)[order], outer[order],
                   self.linear, self.constant)
