"""Classifiers solved from scores: the rows that are asked, and the fits."""

from __future__ import annotations

import math

import numpy as np

from wsl_extraction.attacks.linear import fitted_models, log_ratios
from wsl_extraction.attacks.linear.levenberg_marquardt import minimize
from wsl_extraction.attacks.linear.score_queries import Scored, ScoreQueries
from wsl_extraction.attacks.linear.solution import TEXTS, Solution
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork

_STEPS = 100
_EXACT = 1e-16  # a mean square of residuals below is that of the right model
_SURPLUS = 2.0  # equations for each unknown of one-against-the-rest
# Equations for each unknown at which a perceptron is first fitted: more take
# longer, with fewer fits end in other networks.
_FIRST, _MOST = 2.0, 4.0
# The standard deviation of log scores that is aimed at: where no row is to
# spare, and the most. With more rows, scores that round to 0 do less harm.
_SPREAD, _WIDEST = 0.5, 1.8
_LOST = 1e-7  # with two classes a smaller score has lost digits


class Solver:
  """Asks for scores, and solves for one kind of classifier after another.

  Attributes:
    fresh_rows: Rows that no solution has seen, once they were asked about.
  """

  def __init__(self, queries: ScoreQueries, rng: np.random.Generator, *,
               rows: int | None, hidden: int, fresh: int, restarts: int,
               intervals: bool):
    self.fresh_rows: Scored | None = None
    self._queries, self._rng = queries, rng
    self._rows, self._hidden, self._fresh = rows, hidden, fresh
    self._restarts, self._intervals = restarts, intervals
    self._train: list[Scored] = []

  @property
  def _asked(self) -> Scored:
    return Scored.join(self._train)

  @property
  def _count(self) -> int:
    return sum(map(len, self._train))

  def solve(self, name: str) -> Solution:
    """Solves for a kind of classifier, from rows so far and new ones."""
    queries, d = self._queries, self._queries.region.features
    classes = queries.outputs
    queries.stage = f"solving for a {TEXTS[name]}"
    if not self._train:
      # Not the middle itself: some scores would be round numbers there.
      self._add(queries.region.sample(1, self._rng) / 16)
    unknowns = {
        "softmax": (classes - 1) * (d + 1), "one_vs_rest": classes * (d + 1),
        "perceptron": (d + 1) * self._hidden + (self._hidden + 1) * classes,
    }[name]
    wanted = self._wanted(name, unknowns)
    if queries.resolution:
      self._ask_spread(wanted)
    elif name == "softmax":
      self._ask_axes()
    self._ask_uniform(wanted)
    self._ask_fresh()
    rows = self._asked
    usable = rows if queries.resolution else rows.take(rows.is_exact)
    unsolvable = "" if len(usable) > 0.5 * min(len(rows), wanted) else (
        f"{len(rows) - len(usable)} of {len(rows)} rows have scores of 0: "
        "labels in disguise; take the retraining attack")
    if unsolvable:
      usable = Scored(rows.points, rows.scores, np.log(
          np.maximum(rows.scores, 1e-6)))
    weights = {"softmax": self._softmax, "one_vs_rest": self._one_vs_rest,
               "perceptron": self._perceptron}[name](usable)
    return Solution(name, weights, unknowns, wanted, len(rows),
                    self._error(weights), unsolvable)

  def _wanted(self, name: str, unknowns: int) -> int:
    width = self._queries.region.features + 1
    classes = self._queries.outputs
    if self._rows is not None:
      return self._rows
    if self._queries.resolution:
      left = self._queries.left
      most = 10 * (width if name == "softmax" else unknowns // (classes - 1))
      return most if left is None else min(
          most, max(self._queries.count + left - self._fresh, 1))
    return {"softmax": width,
            "one_vs_rest": math.ceil(_SURPLUS * unknowns / (classes - 1)),
            "perceptron": math.ceil(unknowns / 2)}[name]

  def _add(self, points: np.ndarray) -> Scored | None:
    """Asks about as many of the points as the budget allows."""
    left = self._queries.left
    points = points if left is None else points[:left]
    if not len(points):
      return None
    self._train.append(self._queries(points))
    return self._train[-1]

  def _ask_uniform(self, wanted: int) -> None:
    count = wanted - self._count
    if count > 0:
      self._add(self._queries.region.sample(count, self._rng))

  def _ask_fresh(self) -> None:
    left = self._queries.left
    count = self._fresh if left is None else min(self._fresh, left)
    if self.fresh_rows is None and count:
      self.fresh_rows = self._queries(
          self._queries.region.sample(count, self._rng))

  def _ask_axes(self) -> None:
    """Asks about a step along each axis, shorter where scores vanish."""
    region, base = self._queries.region, self._train[0]
    for _ in range(8):
      if self._is_precise(base)[0]:
        break
      part = self._add(region.sample(1, self._rng) / 2)
      if part is None:
        return
      base = part
    origin = base.points[0]
    up = np.minimum(region.high - origin, 1.0)
    steps = np.where(up >= 0.5, up, -np.minimum(origin - region.low, 1.0))
    todo, size = np.arange(region.features), 1.0
    for _ in range(5):
      points = np.repeat(origin[None], len(todo), axis=0)
      points[np.arange(len(todo)), todo] += size * steps[todo]
      part = self._add(points)
      if part is None:
        return
      precise = self._is_precise(part)
      todo, size = todo[:len(part)][~precise], size / 8
      if not len(todo):
        return

  def _is_precise(self, scored: Scored) -> np.ndarray:
    two = scored.scores.shape[1] == 2
    return scored.is_exact & (
        (scored.scores.min(axis=1) > _LOST) | (not two))

  def _ask_spread(self, wanted: int) -> None:
    """Asks about orthogonal steps of a size at which rounding hides least.

    Large steps round most scores to 0, small ones leave them alike. One row
    tells how far scores move.
    """
    d, unit = self._queries.region.features, self._queries.resolution
    size, basis = 0.5, self._orthogonal()
    pilot = self._add(size * basis[:1]) if self._count < wanted else None
    if pilot is None:
      return
    logs = np.log(np.maximum(pilot.scores, unit / 2))
    spread = (logs - logs.mean(axis=1, keepdims=True)).std()
    target = min(_SPREAD * (wanted / (d + 1))**0.8, _WIDEST)
    size = float(np.clip(size * target / max(spread, 1e-3), 0.01, 1.0))
    basis = basis[1:]
    while self._count < wanted:
      if not len(basis):
        basis = self._orthogonal()
      if self._add(size * basis[:wanted - self._count]) is None:
        return
      basis = basis[:0]

  def _orthogonal(self) -> np.ndarray:
    """Orthogonal steps [d, d] of the length of uniform ones in -1..1."""
    d = self._queries.region.features
    matrix = np.linalg.qr(self._rng.standard_normal((d, d)))[0]
    return matrix * math.sqrt(d / 3)

  def _softmax(self, rows: Scored) -> LinearWeights:
    unit = self._queries.resolution
    weights = log_ratios.within_intervals(rows, unit) if (
        unit and self._intervals) else log_ratios.fitted(rows, unit)
    return self._queries.region.of_inputs(weights[:-1], weights[-1])

  def _one_vs_rest(self, rows: Scored) -> LinearWeights:
    rows = self._floored(rows)
    fit = fitted_models.OneVsRest.of(rows)
    parameters, _ = minimize(fit, fit.start(rows), _STEPS)
    weights = parameters.reshape(rows.columns.shape[1], -1)
    return self._queries.region.of_inputs(
        weights[:-1], weights[-1], "one_vs_rest")

  def _floored(self, rows: Scored) -> Scored:
    unit = self._queries.resolution
    return rows if not unit else Scored(rows.points, rows.scores, np.log(
        np.maximum(rows.scores, unit / 2)))

  def _perceptron(self, rows: Scored) -> ReluNetwork:
    rows = self._floored(rows)
    width, classes = rows.columns.shape[1], self._queries.outputs
    size = float(rows.centred.std()) or 1.0
    best, least = None, math.inf
    for attempt in range(self._restarts):
      self._queries.stage = f"fitting a perceptron, attempt {attempt + 1}"
      parameters = fitted_models.Perceptron.start(
          width, self._hidden, classes, size, self._rng)
      for share in (_FIRST, _MOST):
        count = math.ceil(share * len(parameters) / (classes - 1))
        chosen = self._rng.permutation(len(rows))[:count]
        fit = fitted_models.Perceptron.of(rows.take(chosen), self._hidden)
        parameters, value = minimize(fit, parameters, _STEPS)
        if value < _EXACT * max(size, 1)**2 or count >= len(rows):
          break
      whole = fitted_models.Perceptron.of(rows, self._hidden)
      value = float((whole.residuals(parameters)**2).mean())
      if value < least:
        best, least = parameters, value
      if least < _EXACT * max(size, 1)**2:
        break
    assert best is not None
    first, outer, constant = fitted_models.Perceptron.unpacked(
        best, width, self._hidden)
    region = self._queries.region
    hidden = first[:-1] / region.half[:, None]
    return ReluNetwork(
        (hidden, outer), (first[-1] - region.middle @ hidden, constant))

  def _error(self, weights: LinearWeights | ReluNetwork) -> float:
    fresh = self.fresh_rows
    if fresh is None:
      return math.inf
    rows = self._queries.region.rows(fresh.points).reshape(len(fresh), -1)
    logits = weights.logits(rows) if isinstance(weights, LinearWeights) else (
        weights(rows))
    return self._queries.error(fresh, logits)
