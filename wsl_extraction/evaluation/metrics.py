"""Accuracy, fidelity and the intervals around them.

Pure functions of numpy arrays: they compare what a surrogate answers with the
truth (accuracy) or with what the oracle answers (fidelity), and know neither
the attack nor the victim.

References:
  M. Jagielski, N. Carlini, D. Berthelot, A. Kurakin, N. Papernot, "High
  Accuracy and High Fidelity Extraction of Neural Networks", 2020, section
  3.2.2 (task accuracy and fidelity as an adversary's goals).
"""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
from numpy.typing import ArrayLike

from wsl_extraction.errors import InputError


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A figure and the interval that covers the true one (95% by default).

  Attributes:
    value: The estimate itself.
    low: Lower end of the interval, in the unit of `value`; nan when the data
      allow no interval (a single value has no spread).
    high: Upper end, likewise.
  """

  value: float
  low: float
  high: float


def proportion(
    successes: int, total: int, confidence: float = 0.95) -> Estimate:
  """Estimates a probability from counts, with Wilson's score interval.

  Unlike the textbook interval value +/- z * sqrt(p (1 - p) / n) it never
  leaves 0..1 and keeps its width when every trial succeeds.

  Args:
    successes: How many trials succeeded.
    total: How many trials there were, at least one.
    confidence: Probability that the interval covers the truth, in (0, 1).

  Raises:
    InputError: There are no trials, or more successes than trials.

  References:
    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    Inference", Journal of the American Statistical Association 22, 1927.
  """
  if total < 1:
    raise InputError("no examples to measure on; give at least one")
  if not 0 <= successes <= total:
    raise InputError(
        f"{successes} successes in {total} trials is no proportion")
  z = statistics.NormalDist().inv_cdf((1 + _checked(confidence)) / 2)
  p = successes / total
  centre = (p + z * z / (2 * total)) / (1 + z * z / total)
  spread = math.sqrt(p * (1 - p) / total + (z / (2 * total))**2)
  half = z * spread / (1 + z * z / total)
  # Exact at the ends, where rounding would leave 1e-17 or 1 - 1e-16.
  return Estimate(
      value=p,
      low=0.0 if successes == 0 else centre - half,
      high=1.0 if successes == total else centre + half)


def mean(values: ArrayLike, confidence: float = 0.95) -> Estimate:
  """Estimates an expectation, with Student's t interval.

  Args:
    values: Independent measurements, one a seed for example, [n].
    confidence: Probability that the interval covers the truth, in (0, 1).

  Returns:
    The mean. One value alone has no spread: its low and high are nan, which a
    run's JSON files show as null.

  Raises:
    InputError: There are no values, or one of them is not finite.

  References:
    Student, "The Probable Error of a Mean", Biometrika 6, 1908.
  """
  values = np.asarray(values, np.float64)
  if values.ndim != 1 or values.size == 0:
    raise InputError(
        f"a mean needs a list of at least one value, not shape {values.shape}")
  if not np.isfinite(values).all():
    place = int(np.argmin(np.isfinite(values)))
    raise InputError(f"value {place} is {values[place]}; a mean needs numbers")
  centre = float(values.mean())
  _checked(confidence)
  if values.size == 1:
    return Estimate(centre, math.nan, math.nan)
  half = _t_quantile(values.size - 1, (1 + confidence) / 2) * float(
      values.std(ddof=1)) / math.sqrt(values.size)
  return Estimate(centre, centre - half, centre + half)


def paired_difference(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Estimate:
  """Estimates the expectation of a - b from pairs that share a seed.

  What a pair has in common (its seed, its victim, its split) cancels, so the
  interval is narrower than that of two separate means.

  Args:
    a: Measurements of one method, [n].
    b: Measurements of the other under the same seeds, in the same order, [n].
    confidence: Probability that the interval covers the truth, in (0, 1).

  Raises:
    InputError: The lengths differ, or as for `mean`.
  """
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.shape != b.shape:
    raise InputError(
        f"pairs need as many values on both sides, not {a.shape} and {b.shape}")
  return mean(a - b, confidence)


def among_top(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> np.ndarray:
  """Tells which labels are among the k classes with the highest scores.

  Equal scores rank by class, the lower index first, as a stable sort gives
  and as `argmax` does for k = 1: the answer never depends on chance.

  Args:
    scores: Logits, probabilities or log-probabilities, [n, c].
    labels: Class indices in 0..c-1, integers [n].
    k: How many classes count; where c <= k every label is among them.

  Returns:
    Booleans, [n].

  Raises:
    InputError: A score is NaN, a label is no class, or shapes do not match.
  """
  scores, labels = _matched(scores, labels)
  if k < 1:
    raise InputError(f"top-{k} is undefined; k must be at least 1")
  own = np.take_along_axis(scores, labels[:, None], axis=1)
  earlier = np.arange(scores.shape[1]) < labels[:, None]
  ahead = (scores > own) | ((scores == own) & earlier)
  return ahead.sum(axis=1) < k


def accuracy(scores: ArrayLike, labels: ArrayLike, k: int = 1) -> Estimate:
  """Share of inputs whose true label is among the k best classes.

  Args:
    scores: What the model answers, in any increasing unit, [n, c].
    labels: The data set's labels, integers [n].
    k: How many classes count.

  Raises:
    InputError: As for `among_top`; or there are no inputs.
  """
  hits = among_top(scores, labels, k)
  return proportion(int(hits.sum()), hits.size)


def fidelity(
    scores: ArrayLike, oracle_labels: ArrayLike, k: int = 1) -> Estimate:
  """Share of inputs on which the surrogate agrees with the oracle.

  Top-1 fidelity is the share of inputs with argmax of the surrogate equal to
  the oracle's label, right or wrong. Top-5 fidelity is the share of inputs
  whose oracle LABEL (its first choice) is among the surrogate's five best
  classes; it is 1 by definition when there are five classes or fewer. No data
  set labels enter.

  Args:
    scores: What the surrogate answers, [n, c].
    oracle_labels: The oracle's first choices for the same inputs, [n].
    k: How many of the surrogate's classes count.

  Raises:
    InputError: As for `among_top`; or there are no inputs.

  References:
    Jagielski et al. 2020, section 3.2.2 (fidelity) and Table 2 (top-5).
  """
  return accuracy(scores, oracle_labels, k)


def _matched(
    scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
  """Returns both as arrays, after checking that they belong together."""
  scores, labels = np.asarray(scores), np.asarray(labels)
  if scores.ndim != 2 or labels.shape != scores.shape[:1]:
    raise InputError(
        "scores must be [n, c] and labels [n], not "
        f"{list(scores.shape)} and {list(labels.shape)}")
  if not np.issubdtype(labels.dtype, np.integer):
    raise InputError(f"labels must be integers, not {labels.dtype}")
  if np.isnan(scores).any():
    row = int(np.argmax(np.isnan(scores).any(axis=1)))
    raise InputError(
        f"the scores of input {row} hold NaN; the model has diverged or was "
        "given unusable input")
  strays = (labels < 0) | (labels >= scores.shape[1])
  if strays.any():
    row = int(np.argmax(strays))
    raise InputError(
        f"label {labels[row]} of input {row} is none of the "
        f"{scores.shape[1]} classes")
  return scores, labels


def _checked(confidence: float) -> float:
  if not 0 < confidence < 1:
    raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
  return confidence


def _t_quantile(degrees: int, probability: float) -> float:
  # scipy takes longer to import than all else here takes to run.
  from scipy import special

  return float(special.stdtrit(degrees, probability))
