"""ReLU networks of one hidden layer: hyperplanes, jumps and a linear part."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.networks.relu_network import ReluNetwork


@dataclasses.dataclass(frozen=True, eq=False)
class TwoLayerNetwork(ReluNetwork):
  """x -> relu(x normals^T + offsets) outer + x linear + constant.

  Unit i switches on the hyperplane normal_i . x + offset_i = 0, where the
  network's slope along normal_i jumps by outer_i.

  Attributes:
    linear: As in `ReluNetwork`, but always there; zeros for none.
  """

  linear: np.ndarray = dataclasses.field(kw_only=True)

  @classmethod
  def of(cls, normals: np.ndarray, offsets: np.ndarray, outer: np.ndarray,
         linear: np.ndarray, constant: np.ndarray) -> TwoLayerNetwork:
    """Makes one of normals [h, d], [h], [h, K], [d, K] and [K], float64.

    Raises:
      OverflowError: A number of it is NaN or infinite.
    """
    for array in (normals, offsets, outer, linear, constant):
      if not np.isfinite(array).all():
        raise OverflowError("numbers of a network overflow")
    return cls((normals.T, outer), (offsets, constant), linear=linear)

  @property
  def normals(self) -> np.ndarray:
    """The normal vectors of the hyperplanes, [h, d]."""
    return self.weights[0].T

  @property
  def offsets(self) -> np.ndarray:
    """The offsets of the hyperplanes, [h]."""
    return self.biases[0]

  @property
  def outer(self) -> np.ndarray:
    """The weights of the last layer, [h, K]."""
    return self.weights[1]

  @property
  def constant(self) -> np.ndarray:
    """The biases of the last layer, [K]."""
    return self.biases[1]

  @property
  def units(self) -> int:
    """The number of hidden units, h."""
    return self.outer.shape[0]

  def preactivations(self, inputs: np.ndarray) -> np.ndarray:
    """The inputs of the ReLUs, [n, h]."""
    return inputs @ self.normals.T + self.offsets

  @property
  def distances(self) -> np.ndarray:
    """The distances of the hyperplanes from 0, [h]; infinite for no normal."""
    length = np.linalg.norm(self.normals, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
      return np.where(length > 0, np.abs(self.offsets) / length, np.inf)

  def flipped(self, which: np.ndarray) -> TwoLayerNetwork:
    """The same function with some units looking the other way.

    By relu(z) = relu(-z) + z, a flipped unit leaves a linear part.

    Args:
      which: bool [h].
    """
    turn = np.where(which, -1.0, 1.0)
    moved = np.where(which[:, None], self.outer, 0)
    return self.of(
        self.normals * turn[:, None], self.offsets * turn, self.outer,
        self.linear + self.normals.T @ moved,
        self.constant + self.offsets @ moved)

  def of_inputs(self, origin: np.ndarray,
                scale: np.ndarray | float) -> TwoLayerNetwork:
    """The same function of x = origin + scale z, scale a number or [d]."""
    scale = np.broadcast_to(scale, origin.shape)
    normals, linear = self.normals / scale, self.linear / scale[:, None]
    return self.of(normals, self.offsets - normals @ origin, self.outer,
                   linear, self.constant - origin @ linear)

  def canonical(self) -> TwoLayerNetwork:
    """The same function with normals of length one, in a fixed order."""
    length = np.linalg.norm(self.normals, axis=1)
    length[length == 0] = 1
    outer = self.outer * length[:, None]
    order = np.argsort(-np.linalg.norm(outer, axis=1), kind="stable")
    return self.of((self.normals / length[:, None])[order],
                   (self.offsets / length)[order], outer[order],
                   self.linear, self.constant)
