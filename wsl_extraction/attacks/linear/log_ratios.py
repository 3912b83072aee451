"""Linear models from logarithms of score ratios: exact, or within intervals.

log(p_k / p_j) of a softmax is affine in the input. Exact scores give one linear
equation a ratio; rounded scores give an interval for each.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.linear.score_queries import Scored

# Weight of the penalty on squared weights: it decides where too few scores are
# known.
RIDGE = 1e-2
_CENTRE = 0.1  # weight of an interval's middle, beside 1 for its ends
_STEPS = 60


def fitted(scored: Scored, resolution: float = 0.0) -> np.ndarray:
  """Weights [d + 1, K] by least squares, their mean over the classes 0.

  Args:
    scored: Rows, as many as there are weights of a class at least.
    resolution: A score of 0 counts as half of it.
  """
  logs = scored.logs
  if resolution:
    logs = np.log(np.maximum(scored.scores, resolution / 2))
  logs = logs - logs.mean(axis=1, keepdims=True)
  return np.linalg.lstsq(scored.columns, logs, rcond=None)[0]


def within_intervals(scored: Scored, resolution: float,
                     ridge: float = RIDGE) -> np.ndarray:
  """Weights [d + 1, K] whose scores round to those that are known.

  A score p that was rounded stands for all within half a unit. With t the most
  likely class, log(p_k / p_t) then lies in an interval, which has no lower end
  where p_k is rounded to 0. Squared distances from the intervals, in their half
  widths, are added to small ones from their middles and to a penalty: a convex
  function with a quadratic piece between any ends, which Newton's method
  minimises.

  Args:
    scored: Rows, any number.
    resolution: The unit of the last decimal.
    ridge: The factor of the penalty.
  """
  bounds = _Intervals(scored, resolution)
  columns = scored.columns
  width, classes = columns.shape[1], scored.scores.shape[1]
  weights = np.zeros((width, classes))
  value = bounds.value(columns @ weights)
  for _ in range(_STEPS):
    gradient, curvature = bounds.derivatives(columns @ weights)
    slope = columns.T @ gradient + ridge * weights
    hessian = _hessian(columns, curvature)
    hessian[np.diag_indices_from(hessian)] += ridge
    step = -np.linalg.solve(hessian, slope.T.ravel()).reshape(
        classes, width).T
    decrease = -float((slope * step).sum())
    size, objective = 1.0, value + ridge / 2 * (weights**2).sum()
    if decrease < 1e-9 * max(objective, 1):
      break
    while size > 1e-6:
      moved = weights + size * step
      new = bounds.value(columns @ moved)
      if new + ridge / 2 * (moved**2).sum() <= objective - 1e-4 * size * (
          decrease):
        break
      size /= 2
    else:
      break
    weights, value = moved, new
  return weights - weights.mean(axis=1, keepdims=True)


class _Intervals:
  """The distances of logits from the intervals of their ratios."""

  def __init__(self, scored: Scored, resolution: float):
    scores, rows = scored.scores, np.arange(len(scored))
    low = np.maximum(scores - resolution / 2, 0)
    high = scores + resolution / 2
    self._rows, self._top = rows, scores.argmax(axis=1)
    with np.errstate(divide="ignore"):
      self._low = np.log(low / high[rows, self._top][:, None])
      self._high = np.log(high / np.maximum(
          low[rows, self._top], resolution / 4)[:, None])
    two_ends = np.isfinite(self._low)
    half = np.where(two_ends, (self._high - self._low) / 2, 1.0)
    self._middle = np.where(two_ends, (self._high + self._low) / 2, 0)
    self._weight = np.where(two_ends, _CENTRE / half**2, 0)
    self._steep = 1 / half**2
    for array in (self._weight, self._steep):
      array[rows, self._top] = 0

  def _gaps(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the intervals, and from their middles, [n, K] each."""
    ratios = logits - logits[self._rows, self._top][:, None]
    outside = np.maximum(ratios - self._high, 0) - np.maximum(
        self._low - ratios, 0)
    return outside, ratios - self._middle

  def value(self, logits: np.ndarray) -> float:
    outside, inside = self._gaps(logits)
    return float((self._steep * outside**2 + self._weight * inside**2).sum()
                 / 2)

  def derivatives(self, logits: np.ndarray
                  ) -> tuple[np.ndarray, np.ndarray]:
    """The gradient [n, K] and the Hessian [n, K, K] by the logits."""
    rows, top = self._rows, self._top
    outside, inside = self._gaps(logits)
    slope = self._steep * outside + self._weight * inside
    bend = self._steep * (outside != 0) + self._weight
    classes = logits.shape[1]
    hessian = np.zeros((len(rows), classes, classes))
    hessian[:, range(classes), range(classes)] = bend
    hessian[rows, :, top] -= bend
    hessian[rows, top, :] -= bend
    hessian[rows, top, top] += bend.sum(axis=1)
    slope[rows, top] = -slope.sum(axis=1)
    return slope, hessian


def _hessian(columns: np.ndarray, curvature: np.ndarray) -> np.ndarray:
  """The sum over rows of curvature [K, K] times outer products, class first."""
  width, classes = columns.shape[1], curvature.shape[1]
  hessian = np.empty((classes, width, classes, width))
  for i in range(classes):
    for j in range(i + 1):
      block = columns.T @ (curvature[:, i, j, None] * columns)
      hessian[i, :, j], hessian[j, :, i] = block, block.T
  return hessian.reshape(classes * width, classes * width)
