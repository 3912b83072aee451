"""Fits of sums of steps to outputs, once the thresholds are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np

from wsl_extraction.networks.step_sum import StepSum

Answers = Callable[[np.ndarray], np.ndarray]


def along_axes(base: np.ndarray, thresholds: Sequence[Sequence[float]],
               answers: Answers, above: Callable[[float], float],
               link: str) -> StepSum:
  """The sum of steps that is right on all rows that differ in one feature.

  Args:
    base: A row [d].
    thresholds: Ascending, for each feature.
    answers: The outputs [n, c] of rows [n, d].
    above: A number just above a threshold.
    link: See `StepSum`.
  """
  feature = np.repeat(np.arange(len(base)), list(map(len, thresholds)))
  threshold = np.array([one for own in thresholds for one in own])
  rows = np.repeat(base[None], 2 * len(feature), axis=0)
  places = np.arange(len(feature))
  rows[places, feature] = threshold
  rows[places + len(feature), feature] = [above(one) for one in threshold]
  outputs = answers(np.concatenate([rows, base[None]]))
  effects = outputs[len(feature):-1] - outputs[:len(feature)]
  passed = base[feature] > threshold
  constant = outputs[-1] - effects[passed].sum(axis=0)
  return StepSum(
      len(base), feature.astype(np.int32), threshold.astype(np.float32),
      constant, effects.reshape(len(feature), -1), np.zeros((0, 2), np.int64),
      np.zeros((0, outputs.shape[1])), link)


def interacting(base: np.ndarray, others: Sequence[np.ndarray],
                used: Sequence[int], known: Set[tuple[int, int]],
                answers: Answers, tolerance: float) -> set[tuple[int, int]]:
  """The pairs of features whose joint change is not the sum of both.

  Args:
    base: A row [d].
    others: Rows [d] to whose numbers features are changed.
    used: The features that have thresholds.
    known: Pairs that need not be looked at.
    answers: The outputs [n, c] of rows [n, d].
    tolerance: What counts as no difference.
  """
  pairs: set[tuple[int, int]] = set()
  for other in others:
    places = [(f, g) for f in used for g in used
              if g < f and (f, g) not in pairs and (f, g) not in known]
    if not places:
      break
    rows = np.repeat(base[None], 1 + len(used) + len(places), axis=0)
    for place, feature in enumerate(used, 1):
      rows[place, feature] = other[feature]
    for place, both in enumerate(places, 1 + len(used)):
      rows[place, list(both)] = other[list(both)]
    outputs = answers(rows)
    moved = dict(zip(used, outputs[1:] - outputs[0], strict=False))
    for (f, g), output in zip(places, outputs[1 + len(used):], strict=True):
      if np.abs(output - outputs[0] - moved[f] - moved[g]).max() > tolerance:
        pairs.add((f, g))
  return pairs


def count_terms(steps: StepSum, pairs: Set[tuple[int, int]]) -> int:
  """The number of coefficients of `with_products`."""
  counts = np.bincount(steps.feature, minlength=steps.features)
  return len(steps.feature) + 1 + sum(
      int(counts[f] * counts[g]) for f, g in pairs)


def with_products(steps: StepSum, pairs: Set[tuple[int, int]],
                  rows: np.ndarray, outputs: np.ndarray) -> StepSum:
  """Least squares of steps and of products of steps of some features.

  Args:
    steps: Has the thresholds.
    pairs: The features whose steps are multiplied.
    rows: float64 [n, d].
    outputs: float64 [n, c] of them.
  """
  own = [np.flatnonzero(steps.feature == feature)
         for feature in range(steps.features)]
  products = np.array([(s, t) for f, g in sorted(pairs) for s in own[f]
                       for t in own[g]], np.int64).reshape(-1, 2)
  z = steps.steps(rows).astype(np.float64)
  design = np.concatenate([
      np.ones((len(rows), 1)), z, z[:, products[:, 0]] * z[:, products[:, 1]]],
      axis=1)
  solution = np.linalg.lstsq(design, outputs, rcond=1e-10)[0]
  m = len(steps.feature)
  return StepSum(steps.features, steps.feature, steps.threshold, solution[0],
                 solution[1:m + 1], products, solution[m + 1:], steps.link)
