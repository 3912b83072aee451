"""Gauss-Newton on all rows at once, for networks of few parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from wsl_extraction.networks.two_layer import TwoLayerNetwork


def refine(network: TwoLayerNetwork, points: np.ndarray, outputs: np.ndarray,
           errors: np.ndarray, with_linear: bool, rounds: int | None = None,
           ridge: float = 1e-11) -> TwoLayerNetwork:
  """Fits all parameters to what is known, from a good start.

  The Jacobian of the residuals is never formed: its Gram matrix is made of
  small products, since the K outputs share units and rows.

  Args:
    network: With d inputs, h units, K outputs.
    points: float64 [n, d].
    outputs: float64 [n, K].
    errors: float64 [n]: how far each row may be off; weighs it.
    with_linear: Whether the linear part is fitted too.
    rounds: At most so many steps; None is fewer where they take seconds.
    ridge: Of the scaled Gram matrix; holds the scale of each unit, on which
      the function does not depend.
  """
  best, least, damping = network, np.inf, ridge
  system: _System | None = None
  parameters = network.normals.size + network.outer.size
  for _ in range(rounds or (30 if parameters < 2500 else 12)):
    wrong = (outputs - network(points)) / errors[:, None]
    size = np.abs(wrong).max(axis=1)
    # Not the mean of squares: a row behind a kink that is not yet in its place
    # is off by far more than the others, and misleads.
    usual = max(3.0, 3 * float(np.median(size)))
    loss = float(np.mean(np.minimum(size, 1e3 + size / 1e3)))
    if loss < least:
      settled = size.max(initial=0) < 5 or loss > 0.999 * least
      best, least = network, loss
      if settled:
        break
      trust = np.sqrt(np.minimum(1, usual / np.maximum(size, 1e-300)))
      residuals = wrong * trust[:, None]
      system = _System(network, points, trust / errors, with_linear)
      damping = max(damping / 100, ridge)
    elif system is None or damping > 1e-3:
      break
    else:
      # Units that were taken to be on the wrong side of a row mislead.
      damping *= 1000
    network = system.moved(residuals, damping)
  return best


class _System:
  """The normal equations at one network."""

  def __init__(self, network: TwoLayerNetwork, points: np.ndarray,
               weights: np.ndarray, with_linear: bool):
    n, d = points.shape
    self.network = network
    self.on = on = network.preactivations(points) > 0
    ones = np.column_stack([points, np.ones(n)]) * weights[:, None]
    self.extended = ones if with_linear else ones[:, d:]
    self.active = network.preactivations(points) * on * weights[:, None]
    self.width = ones.shape[1]
    self.moving = (on[:, :, None] * ones[:, None, :]).reshape(
        n, on.shape[1] * self.width)
    self.factored: dict[float, Any] = {}

  def factor(self, ridge: float):
    h, k = self.network.outer.shape
    d1 = self.width
    outer = self.network.outer
    e = self.extended.shape[1]
    sizes = k * h, h * d1, k * e
    a, m, x = np.cumsum([0, *sizes])[:3]
    gram = np.zeros((sum(sizes),) * 2)
    weights = np.repeat(outer, d1, axis=0)  # [h * d1, K]
    inner = self.moving.T @ self.moving
    together = np.repeat(np.repeat(outer @ outer.T, d1, 0), d1, 1)
    gram[m:m + h * d1, m:m + h * d1] = inner * together
    same, cross = self.active.T @ self.active, self.active.T @ self.moving
    lift = self.extended.T @ self.moving
    tied = self.active.T @ self.extended
    flat = self.extended.T @ self.extended
    for i in range(k):
      u = slice(a + i * h, a + (i + 1) * h)
      v = slice(x + i * e, x + (i + 1) * e)
      gram[u, u], gram[v, v], gram[u, v] = same, flat, tied
      gram[v, u] = tied.T
      gram[u, m:m + h * d1] = cross * weights[:, i]
      gram[m:m + h * d1, u] = gram[u, m:m + h * d1].T
      gram[v, m:m + h * d1] = lift * weights[:, i]
      gram[m:m + h * d1, v] = gram[v, m:m + h * d1].T
    diagonal = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    gram /= diagonal[:, None] * diagonal
    while True:
      try:
        np.fill_diagonal(gram, 1 + ridge)
        return scipy.linalg.cho_factor(gram, lower=True), diagonal
      except np.linalg.LinAlgError:
        ridge *= 100

  def moved(self, wrong: np.ndarray, ridge: float) -> TwoLayerNetwork:
    """One step, from weighted residuals [n, K]."""
    if ridge not in self.factored:
      self.factored[ridge] = self.factor(ridge)
    factor, network = self.factored[ridge], self.network
    h, k = network.outer.shape
    d1 = self.width
    pulled = (self.moving.T @ wrong).reshape(h, d1, k)
    right = np.concatenate([
        (self.active.T @ wrong).T.ravel(),
        np.einsum("hdk,hk->hd", pulled, network.outer).ravel(),
        (self.extended.T @ wrong).T.ravel()])
    lower, diagonal = factor
    step = scipy.linalg.cho_solve(lower, right / diagonal) / diagonal
    outer, normals, lifted = np.split(step, [h * k, h * k + h * d1])
    normals, lifted = normals.reshape(h, d1), lifted.reshape(k, -1).T
    linear = network.linear + lifted[:-1] if len(lifted) > 1 else network.linear
    return TwoLayerNetwork.of(
        network.normals + normals[:, :-1], network.offsets + normals[:, -1],
        network.outer + outer.reshape(k, h).T, linear,
        network.constant + lifted[-1])
