"""Choosing where to ask, and how precise answers are there."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu import smooth
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.region import Region

_LARGEST = 300.0  # log-ratio of scores; at 700 they vanish
_POINTS = 17  # of a line that may be a curve
# Arithmetic in double precision bends straight lines by less than this.
_STRAIGHT = 1e-13
# The share of an output that rounding is to be, where one may go far out.
_ROUNDED = 1e-13


@dataclasses.dataclass(frozen=True)
class Precision:
  """The precision of answers.

  Attributes:
    relative: At the size of the data.
    missing: Why they are of no use; empty if they are.
  """

  relative: float
  missing: str


def choose_region(answers: LogitQueries, middle: np.ndarray, size: np.ndarray,
                  rng: np.random.Generator) -> Precision:
  """Measures the precision of answers, and sets the region accordingly.

  Args:
    answers: Its region is replaced.
    middle: float64 [d]: the x around which the data lie.
    size: float64 [d]: how far they lie from it.
    rng: What decides.

  Raises:
    BudgetExceeded: The budget ends first.
    Smooth: Answers bend everywhere.
  """
  offset = rng.standard_normal(len(middle)) / np.sqrt(len(middle))
  share = 0.3 if answers.logits else 0.05
  origin = middle + share * size * offset
  answers.region = Region(origin, size, (middle - origin) / size)
  precision = _measure(answers, rng)
  if precision.missing:
    return precision
  if not answers.logits:
    answers.region = dataclasses.replace(
        answers.region, radius=_reach(answers, rng))
  elif answers.resolution:
    zoom = max(1.0, precision.relative / _ROUNDED)
    origin = middle + 0.3 * zoom * size * offset
    answers.growth *= zoom
    answers.region = Region(
        origin, zoom * size, (middle - origin) / (zoom * size), 1 / zoom)
  answers.forget()
  return precision


def _measure(answers: LogitQueries, rng: np.random.Generator) -> Precision:
  """Looks at short straight pieces: how far from straight are answers?"""
  d = answers.region.features
  starts = 0.1 * rng.standard_normal((3, d)) / np.sqrt(d)
  step = 1e-3 * rng.standard_normal((3, d)) / np.sqrt(d)
  points = starts[:, None] + np.arange(3)[:, None] * step[:, None]
  outputs = answers(np.concatenate([points.reshape(-1, d), points[0]]))
  if not np.isfinite(outputs).all():
    return Precision(np.inf, (
        "answers to the data are no finite numbers; mend the victim"
        if answers.logits else "scores of the data vanish; ask for logits"))
  size = float(np.abs(outputs).max()) or 1.0
  again = np.abs(outputs[9:] - outputs[:3]).max()
  if again:
    return Precision(again / size, (
        "one and the same input got different answers, up to "
        f"{again:.1e} apart: the oracle is not deterministic"))
  outputs = outputs[:9].reshape(3, 3, -1)
  bent = outputs[:, 0] - 2 * outputs[:, 1] + outputs[:, 2]
  bent = float(np.median(np.sqrt((bent**2).mean(axis=1) / 6))) / size
  rounded = answers.resolution / size
  if bent > max(_STRAIGHT, 3 * rounded, 3 * answers.noise):
    even = starts[:, None] + np.linspace(0, 2, _POINTS)[:, None] * step[:, None]
    curves = answers(even.reshape(-1, d)).reshape(3, _POINTS, -1)
    if any(smooth.is_curve(curve, 1e-16 * size) for curve in curves):
      raise smooth.Smooth(smooth.message("near the data"))
  if bent > max(1e-5, 3 * rounded, 3 * answers.noise):
    return Precision(bent, (
        f"answers on a straight line of length 0.001 bend by {bent:.1e} of "
        "their size: they are noisy, or of no network of ReLU units"))
  if not rounded:
    answers.noise = max(answers.noise, 3 * bent)
  answers.floor = (answers.noise + rounded) * size
  answers.growth = answers.noise * size
  return Precision(answers.noise + rounded, "")


def _reach(answers: LogitQueries, rng: np.random.Generator) -> float:
  """The smallest difference of scores that can be resolved."""
  rays = rng.standard_normal((3, answers.region.features))
  rays /= np.linalg.norm(rays, axis=1)[:, None]
  rays = np.concatenate([rays, -rays])
  radius, largest = 0.5, 0.0
  while largest < _LARGEST and radius < 1e6:
    radius *= 2
    outputs = np.abs(answers(radius * rays))
    largest = np.nan_to_num(outputs, nan=np.inf).max()
  return radius * min(1.0, max(_LARGEST / largest, 0.25))
