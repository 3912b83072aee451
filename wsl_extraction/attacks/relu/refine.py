"""Gauss-Newton on all rows at once, for networks of few parameters."""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu.normal_equations import NormalEquations
from wsl_extraction.networks.two_layer import TwoLayerNetwork


def refine(network: TwoLayerNetwork, points: np.ndarray, outputs: np.ndarray,
           errors: np.ndarray, with_linear: bool, rounds: int | None = None,
           ridge: float = 1e-11) -> TwoLayerNetwork:
  """Fits all parameters to what is known, from a good start.

  The Jacobian of the residuals is never formed; see `normal_equations`.

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
  system: NormalEquations | None = None
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
      system = NormalEquations(network, points, trust / errors, with_linear)
      damping = max(damping / 100, ridge)
    elif system is None or damping > 1e-3:
      break
    else:
      # Units that were taken to be on the wrong side of a row mislead.
      damping *= 1000
    network = system.step(residuals, damping)
  return best
