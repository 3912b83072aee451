"""The oracle's answers as outputs of a piecewise linear function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsl_extraction.attacks.relu.input_domain import InputDomain
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Quantity

# Answers less precise than this get inputs that single precision can hold.
_SINGLE = 1e-9
# A line shows no unit whose jump is below so many errors of the slope there.
_OVERLOOKED = 2000.0


class LogitQueries:
  """Asks the oracle about points z [n, d], and remembers the answers.

  Scores become the logarithms of their ratios to the first class, which are
  differences of logits.

  Attributes:
    domain: The inputs that the oracle tells apart.
    region: Where points lie.
    width: The outputs of a row, K; fewer where `reduce` found that they depend
      on each other.
    basis: float64 [outputs, K], orthonormal, that reduces them; None where all
      are kept.
    outside: The largest share of an answer's length outside of the basis.
    noise: How far an output of size one may be off.
    floor: How far any output may be off.
    growth: How much farther it may be off for each unit of length of z.
    near: The length of z beyond which units that no line shows may be behind.
    rows: How many rows were asked.
    resolution: The unit of the last decimal, where answers are rounded.
  """

  def __init__(self, oracle: Oracle, region: Region, batch: int,
               domain: InputDomain,
               progress: Callable[[int], None] = lambda rows: None):
    """Asks `oracle`, `batch` rows at a time; tells `progress` the rows."""
    self.domain = domain
    self.oracle, self.region, self.batch = oracle, region, batch
    self.progress = progress
    self.logits = oracle.reveal.scale is Quantity.LOGITS
    self.width = oracle.outputs - (not self.logits)
    self.resolution = 0.0
    self.basis: np.ndarray | None = None
    self.outside = 0.0
    # A sum of d numbers is off by about the square root of d.
    many = max(1.0, np.sqrt(region.features) / 8)
    self.noise, self.floor, self.growth = 2.0**-50 * many, 0.0, 0.0
    self.near = np.inf
    self.rows = 0
    self._points, self._outputs = [], []

  def __call__(self, points: np.ndarray, keep: bool = True) -> np.ndarray:
    """Outputs float64 [n, K]; NaN for infinite logits and vanishing scores.

    Args:
      points: float64 [n, d].
      keep: Whether to remember them.

    Raises:
      BudgetExceeded: Not all of them can be had.
    """
    parts = []
    for start in range(0, len(points), self.batch):
      inputs = self.domain.nearest(
          self.region.inputs(points[start:start + self.batch]))
      if self.noise > _SINGLE and self.domain.step is None:
        inputs = inputs.astype(np.float32).astype(np.float64)
      response = self.oracle.query(self.domain.sent(inputs).reshape(
          -1, *self.oracle.space.shape))
      self.resolution = response.resolution
      self.rows += len(inputs)
      self.progress(self.rows)
      parts.append(self._reduced(self._read(response.values)))
      if keep:
        self._points.append(self.region.points(inputs))
        self._outputs.append(parts[-1])
    return np.concatenate(parts) if parts else np.zeros((0, self.width))

  def nearest(self, points: np.ndarray) -> np.ndarray:
    """The nearest points [..., d] that can be asked."""
    return self.region.points(self.domain.nearest(self.region.inputs(points)))

  @property
  def step(self) -> float:
    """The z-distance of neighbouring points in a box; 0 for real inputs."""
    if self.domain.step is None:
      return 0.0
    return float((self.domain.step / self.region.scale).max())

  def forget(self) -> None:
    """Keeps none of the rows so far."""
    self._points, self._outputs = [], []

  def _read(self, values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float64:
      self.noise = max(self.noise, float(np.finfo(values.dtype).eps))
    values = values.astype(np.float64)
    if self.logits:
      return np.where(np.isfinite(values), values, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
      logs = np.where(values > 1e-290, np.log(values), np.nan)
    return logs[:, 1:] - logs[:, :1]

  def reduce(self, points: np.ndarray, share: float) -> None:
    """Looks for outputs that depend on others, and keeps a basis of all.

    A layer of h units gives outputs of rank h + 1 at most, however many they
    are. Forgets what was asked before.

    Args:
      points: float64 [n, d] of rows to ask.
      share: Singular values below so much of the largest are none.

    Raises:
      BudgetExceeded: Not all of them can be had.
    """
    outputs = self(points, keep=False)
    outputs = outputs[np.isfinite(outputs).all(axis=1)]
    length = np.linalg.norm(outputs, axis=1, keepdims=True)
    outputs = outputs / np.where(length > 0, length, 1)
    values, vectors = np.linalg.svd(outputs, full_matrices=False)[1:]
    rank = int((values > share * values[:1].sum()).sum())
    if 0 < rank <= 0.9 * min(outputs.shape):
      self.basis, self.width = vectors[:rank].T, rank
      self.forget()

  def expanded(self, outputs: np.ndarray) -> np.ndarray:
    """All outputs of a row, from those that are kept [..., K]."""
    return outputs if self.basis is None else outputs @ self.basis.T

  def _reduced(self, outputs: np.ndarray) -> np.ndarray:
    if self.basis is None:
      return outputs
    reduced = outputs @ self.basis
    off = np.linalg.norm(outputs - reduced @ self.basis.T, axis=1)
    size = np.linalg.norm(outputs, axis=1)
    self.outside = max(self.outside, float(np.nanmax(
        off / np.maximum(size, 1e-300), initial=0)))
    return reduced

  def errors(self, outputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Error bounds of rows: [n].

    Far out, large numbers may cancel in a small output.

    Args:
      outputs: float64 [n, K].
      lengths: float64 [n] of the points z.
    """
    return (self.noise * np.abs(outputs).max(axis=1) + self.floor
            + self.growth * lengths)

  def row_tolerances(self, outputs: np.ndarray,
                     lengths: np.ndarray) -> np.ndarray:
    """`errors`, and what units do that no line shows: how little rows weigh."""
    behind = np.where(lengths > self.near, _OVERLOOKED, 1.0)
    return self.errors(outputs, lengths) * behind

  @property
  def batches(self) -> int:
    """The number of kept batches."""
    return len(self._points)

  def kept(self, since: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points and outputs that were kept and are numbers.

    Args:
      since: Leaves out so many batches.
    """
    points = np.concatenate(self._points[since:])
    outputs = np.concatenate(self._outputs[since:])
    known = np.isfinite(outputs).all(axis=1)
    return points[known], outputs[known]
