"""Normal equations of a two-layer network, solved in blocks.

The K outputs share hidden units and rows, so that the Gram matrix of the last
layer is one block of h + d + 1 unknowns, K times over. It is eliminated, which
leaves a system in the h (d + 1) unknowns of the hidden layer alone:

  C - sum_k B_k^T S^-1 B_k = (M^T M - X^T S^-1 X) * (outer outer^T),

where M are the rows [x, 1] of each unit that is on, X their products with the
last layer's inputs, and * is elementwise over pairs of units. So a thousand
outputs cost no more than ten.

References:
  Golub, Pereyra. The Differentiation of Pseudo-Inverses and Nonlinear Least
    Squares Problems Whose Variables Separate. SIAM J. Numer. Anal. 1973.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from wsl_extraction.networks.two_layer import TwoLayerNetwork


class NormalEquations:
  """The normal equations at one network."""

  def __init__(self, network: TwoLayerNetwork, points: np.ndarray,
               weights: np.ndarray, with_linear: bool):
    """Prepares the blocks.

    Args:
      network: With d inputs, h units, K outputs.
      points: float64 [n, d].
      weights: float64 [n] of the rows.
      with_linear: Whether the linear part is unknown too.
    """
    d = points.shape[1]
    self.network = network
    before = network.preactivations(points)
    self.on = before > 0
    self.rows = np.column_stack([points, np.ones(len(points))])
    self.rows *= weights[:, None]
    self.active = np.where(self.on, before, 0) * weights[:, None]
    last = [self.active, self.rows if with_linear else self.rows[:, d:]]
    self.last = np.column_stack(last)  # the inputs of the last layer
    self.solvers: dict[float, Any] = {}

  def step(self, residuals: np.ndarray, ridge: float) -> TwoLayerNetwork:
    """The network after one step, from weighted residuals [n, K].

    Args:
      residuals: What is to be explained.
      ridge: Of the scaled system; holds the scale of each unit, on which the
        function does not depend.
    """
    if ridge not in self.solvers:
      self.solvers[ridge] = _Solver(self, ridge)
    solver, network = self.solvers[ridge], self.network
    explained = self.last.T @ residuals
    left = residuals - self.last @ solver.last(explained)
    normals = solver.hidden(self.pulled(left))
    outer = solver.last(explained - self.last.T @ self.moved(normals))
    h, d = network.units, network.dimension
    lifted = outer[h:]
    linear = network.linear + lifted[:-1] if len(lifted) > 1 else network.linear
    return TwoLayerNetwork.of(
        network.normals + normals[:, :d], network.offsets + normals[:, d],
        network.outer + outer[:h], linear, network.constant + lifted[-1])

  def moved(self, normals: np.ndarray) -> np.ndarray:
    """The change of outputs [n, K] by a change [h, d + 1] of the units."""
    return (self.on * (self.rows @ normals.T)) @ self.network.outer

  def pulled(self, residuals: np.ndarray) -> np.ndarray:
    """The transpose of `moved`: [n, K] to [h, d + 1]."""
    return (self.on * (residuals @ self.network.outer.T)).T @ self.rows


class _Solver:
  """The factored blocks for one ridge."""

  def __init__(self, system: NormalEquations, ridge: float):
    self.system, self.ridge = system, ridge
    gram = system.last.T @ system.last
    self.factor, self.size = _factored(gram, ridge)
    # The diagonal of M^T M, for every unit, scaled by what it does.
    effect = (system.network.outer**2).sum(axis=1)
    self.scale = np.sqrt(np.maximum(
        (system.on.T @ system.rows**2) * effect[:, None], 1e-300))
    self.schur = self._schur()

  def last(self, right: np.ndarray) -> np.ndarray:
    """Solves for the last layer, [h + e, K]."""
    return scipy.linalg.cho_solve(
        (self.factor, True), right / self.size[:, None]) / self.size[:, None]

  def hidden(self, right: np.ndarray) -> np.ndarray:
    """Solves for the hidden layer, [h, d + 1]."""
    return scipy.linalg.cho_solve(
        (self.schur, True), (right / self.scale).ravel()
    ).reshape(right.shape) / self.scale

  def _schur(self) -> np.ndarray:
    """The Cholesky factor of the Schur complement."""
    system, outer = self.system, self.system.network.outer
    moving = (system.on[:, :, None] * system.rows[:, None, :]).reshape(
        len(system.rows), -1)
    half = scipy.linalg.solve_triangular(
        self.factor, (system.last.T @ moving) / self.size[:, None], lower=True)
    matrix = moving.T @ moving
    matrix -= half.T @ half
    del moving, half
    h, d1 = self.scale.shape
    blocks = matrix.reshape(h, d1, h, d1)  # in place
    blocks *= (outer @ outer.T)[:, None, :, None]
    blocks /= self.scale[:, :, None, None]
    blocks /= self.scale
    diagonal = np.diag(matrix).copy()
    ridge = self.ridge
    while True:
      np.fill_diagonal(matrix, diagonal + ridge)
      try:
        return scipy.linalg.cholesky(matrix, lower=True)
      except np.linalg.LinAlgError:
        ridge = max(100 * ridge, 1e-16)


def _factored(gram: np.ndarray,
              ridge: float) -> tuple[np.ndarray, np.ndarray]:
  """The Cholesky factor of a scaled Gram matrix, and the scale."""
  size = np.sqrt(np.maximum(np.diag(gram), 1e-300))
  scaled = gram / (size[:, None] * size)
  while True:
    np.fill_diagonal(scaled, 1 + ridge)
    try:
      return scipy.linalg.cholesky(scaled, lower=True), size
    except np.linalg.LinAlgError:
      ridge = max(100 * ridge, 1e-16)
