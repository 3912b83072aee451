"""Models whose log-ratios are not linear: one against the rest, perceptrons."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.linear.score_queries import Scored


def contrasts(classes: int) -> np.ndarray:
  """Orthonormal columns [K, K - 1] that are orthogonal to equal logits."""
  matrix = np.eye(classes) - 1 / classes
  return np.linalg.svd(matrix)[0][:, :classes - 1]


@dataclasses.dataclass(frozen=True, eq=False)
class OneVsRest:
  """Scores sigmoid(z_k) over their sum, z = x weights, weights [d + 1, K]."""

  columns: np.ndarray
  targets: np.ndarray
  basis: np.ndarray

  @classmethod
  def of(cls, scored: Scored) -> OneVsRest:
    """Fits to the log-ratios of rows."""
    basis = contrasts(scored.scores.shape[1])
    return cls(scored.columns, scored.logs @ basis, basis)

  @staticmethod
  def start(scored: Scored) -> np.ndarray:
    """Weights by which scores were sigmoids of themselves, [p]."""
    scores = np.clip(scored.scores, 1e-12, 1 - 1e-12)
    return np.linalg.lstsq(scored.columns, np.log(scores / (1 - scores)),
                           rcond=None)[0].ravel()

  def _values(self, parameters: np.ndarray) -> np.ndarray:
    return self.columns @ parameters.reshape(self.columns.shape[1], -1)

  def residuals(self, parameters: np.ndarray) -> np.ndarray:
    logits = -np.logaddexp(0, -self._values(parameters))
    return (logits @ self.basis - self.targets).ravel()

  def jacobian(self, parameters: np.ndarray) -> np.ndarray:
    slopes = 1 / (1 + np.exp(np.clip(self._values(parameters), -500, 500)))
    by_value = slopes[:, :, None] * self.basis  # [n, K, K - 1]
    n, width = self.columns.shape
    return np.einsum("ni,nkc->ncik", self.columns, by_value).reshape(
        n * self.basis.shape[1], width * slopes.shape[1])


@dataclasses.dataclass(frozen=True, eq=False)
class Perceptron:
  """Logits relu(x hidden) outer, each with its biases, h hidden units."""

  columns: np.ndarray
  targets: np.ndarray
  basis: np.ndarray
  hidden: int

  @classmethod
  def of(cls, scored: Scored, hidden: int) -> Perceptron:
    """Fits to the log-ratios of rows."""
    basis = contrasts(scored.scores.shape[1])
    return cls(scored.columns, scored.logs @ basis, basis, hidden)

  @staticmethod
  def start(width: int, hidden: int, classes: int, size: float,
            rng: np.random.Generator) -> np.ndarray:
    """Random parameters, whose logits have about this size, [p]."""
    first = rng.standard_normal((width, hidden)) / np.sqrt(width)
    outer = rng.standard_normal((hidden, classes)) * size / np.sqrt(hidden)
    return np.concatenate([first.ravel(), outer.ravel(), np.zeros(classes)])

  @staticmethod
  def unpacked(parameters: np.ndarray, width: int, hidden: int
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """hidden [d + 1, h], outer [h, K] and constant [K]."""
    split = width * hidden
    first = parameters[:split].reshape(width, hidden)
    outer = parameters[split:].reshape(hidden + 1, -1)
    return first, outer[:-1], outer[-1]

  def residuals(self, parameters: np.ndarray) -> np.ndarray:
    first, outer, constant = self.unpacked(
        parameters, self.columns.shape[1], self.hidden)
    units = np.maximum(self.columns @ first, 0)
    logits = units @ outer + constant
    return (logits @ self.basis - self.targets).ravel()

  def jacobian(self, parameters: np.ndarray) -> np.ndarray:
    (n, width), classes = self.columns.shape, len(self.basis)
    first, outer, _ = self.unpacked(parameters, width, self.hidden)
    before = self.columns @ first
    units = np.column_stack([np.maximum(before, 0), np.ones(n)])
    by_unit = (before > 0)[:, :, None] * (outer @ self.basis)  # [n, h, K - 1]
    ratios = self.basis.shape[1]
    jacobian = np.empty((n, ratios, len(parameters)))
    split = width * self.hidden
    jacobian[:, :, :split] = (
        self.columns[:, None, :, None]
        * by_unit.transpose(0, 2, 1)[:, :, None, :]).reshape(n, ratios, split)
    jacobian[:, :, split:] = (
        units[:, None, :, None] * self.basis.T[None, :, None, :]).reshape(
            n, ratios, (self.hidden + 1) * classes)
    return jacobian.reshape(n * ratios, len(parameters))
