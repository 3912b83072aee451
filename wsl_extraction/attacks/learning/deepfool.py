"""The shortest perturbations that change a network's class, DeepFool."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from wsl_extraction.runtime.gradients import logit_gradients, together


def perturbations(network: keras.Model, rows: np.ndarray, *,
                  most: int = 10, overshoot: float = 0.02) -> np.ndarray:
  """Lengths of perturbations that take rows beyond a decision boundary.

  From x, with class y = argmax f(x), steps lead to the nearest boundary of the
  network made linear at the point reached: with w_k = grad f_k - grad f_y and
  g_k = f_k - f_y there, the class l of the least |g_k| / |w_k| gives the step
  |g_l| / |w_l|^2 w_l. A row is done when 1 + overshoot times the sum of its
  steps changes its class. For linear networks one step is exact.

  Args:
    network: Maps rows to logits [n, c].
    rows: Real numbers [n, ...].
    most: Steps after which a row keeps what it has come to.
    overshoot: See above.

  Returns:
    Euclidean lengths of the sums of steps, float64 [n]; infinite where all
    gradients vanish.

  References:
    Moosavi-Dezfooli, Fawzi, Frossard. DeepFool: A Simple and Accurate Method
      to Fool Deep Neural Networks. CVPR 2016, Algorithm 2.
  """
  parts = [np.zeros(0)]
  size = together(rows.shape[1:])
  for start in range(0, len(rows), size):
    parts.append(_batch(network, np.asarray(
        rows[start:start + size], np.float32), most, overshoot))
  return np.concatenate(parts)


def _batch(network: keras.Model, rows: np.ndarray, most: int,
           overshoot: float) -> np.ndarray:
  logits = logits_of(network, rows)
  original = logits.argmax(axis=1)
  total = np.zeros((len(rows), rows[0].size))
  stuck = np.zeros(len(rows), bool)
  left, points = np.arange(len(rows)), rows
  for _ in range(most):
    steps = _steps(network, points, logits, original[left])
    stuck[left] = ~np.isfinite(steps).all(axis=1)
    total[left] += np.where(np.isfinite(steps), steps, 0)
    moved = rows[left] + ((1 + overshoot) * total[left]).reshape(
        points.shape).astype(np.float32)
    logits = logits_of(network, moved)
    same = (logits.argmax(axis=1) == original[left]) & ~stuck[left]
    left, points, logits = left[same], moved[same], logits[same]
    if not len(left):
      break
  lengths = np.sqrt((total**2).sum(axis=1))
  lengths[stuck] = np.inf
  return lengths


def _steps(network: keras.Model, points: np.ndarray, logits: np.ndarray,
           original: np.ndarray) -> np.ndarray:
  """Steps [n, d] to the nearest boundary of the linear approximation."""
  n, c = logits.shape
  slopes = logit_gradients(
      network, np.repeat(points, c, axis=0), np.tile(np.arange(c), n))
  slopes = slopes.reshape(n, c, -1).astype(np.float64)
  every = np.arange(n)
  slopes -= slopes[every, original][:, None]
  gaps = np.abs(logits - logits[every, original][:, None])
  lengths = np.sqrt((slopes**2).sum(axis=2))
  with np.errstate(divide="ignore", invalid="ignore"):
    distances = np.where(lengths > 0, gaps / lengths, np.inf)
    distances[every, original] = np.inf
    nearest = distances.argmin(axis=1)
    scale = distances[every, nearest] / lengths[every, nearest]
    return scale[:, None] * slopes[every, nearest]


def logits_of(network: keras.Model, rows: np.ndarray) -> np.ndarray:
  """Logits float64 [n, c], without a compiled function for a single use."""
  size = together(rows.shape[1:])
  return np.concatenate([np.asarray(ops.convert_to_numpy(
      network(rows[start:start + size], training=False)), np.float64)
      for start in range(0, len(rows), size)])
