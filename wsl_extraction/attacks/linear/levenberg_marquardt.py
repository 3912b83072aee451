"""Nonlinear least squares of small models, by Levenberg and Marquardt."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy import linalg

_ZERO = 1e-22  # a mean square that only rounding leaves
_TRIES = 24  # dampings of one step
_STALLED = 1e-3  # an improvement by less, some times in a row, is none
_PATIENCE = 6


class Fit(Protocol):
  """Residuals of a model as a function of its parameters [p]."""

  def residuals(self, parameters: np.ndarray) -> np.ndarray:
    """The residuals, [m]."""
    ...

  def jacobian(self, parameters: np.ndarray) -> np.ndarray:
    """Their derivatives, [m, p]."""
    ...


def minimize(fit: Fit, parameters: np.ndarray, steps: int
             ) -> tuple[np.ndarray, float]:
  """Lowers the mean square of residuals.

  Directions that change no residual are left alone by the damping.

  Args:
    fit: The residuals.
    parameters: Where to begin.
    steps: At most.

  Returns:
    Parameters and their mean square.

  References:
    Marquardt. An Algorithm for Least-Squares Estimation of Nonlinear
      Parameters. 1963.
  """
  residuals = fit.residuals(parameters)
  value, damping, stalled = float((residuals**2).mean()), 0.1, 0
  for _ in range(steps):
    if value < _ZERO or not np.isfinite(value):
      break
    jacobian = fit.jacobian(parameters)
    normal, slope = jacobian.T @ jacobian, jacobian.T @ residuals
    scale = np.trace(normal) / len(normal) or 1.0
    before = value
    for _ in range(_TRIES):
      damped = normal.copy()
      damped[np.diag_indices_from(damped)] += damping * scale
      try:
        step = -linalg.cho_solve(linalg.cho_factor(
            damped, overwrite_a=True, check_finite=False), slope,
            check_finite=False)
      except linalg.LinAlgError:
        damping *= 10
        continue
      moved = fit.residuals(parameters + step)
      new = float((moved**2).mean())
      if new < value:
        parameters, residuals, value = parameters + step, moved, new
        damping = max(damping / 5, 1e-18)
        break
      damping *= 5
    else:
      break
    stalled = stalled + 1 if value > (1 - _STALLED) * before else 0
    if stalled >= _PATIENCE:
      break
  return parameters, value
