"""The search for a sum of trees on lines along the axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from wsl_extraction.attacks.extraction import Figure
from wsl_extraction.attacks.tree import additive_fit, axis_lines, scales
from wsl_extraction.networks.regions import Domain, following
from wsl_extraction.networks.step_sum import StepSum
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Quantity

_ROUNDING = 1e-9  # of a sum
_CORNERS = 64  # quadruples of rows by which scores or logits are seen to add up
_WORST = 4  # rows that are looked at in a round
_UNKNOWN = "a part of the sum is missing: "


class Limits(Protocol):
  """The settings of `AxisSearch`, which says what they mean."""

  @property
  def points(self) -> int: ...
  @property
  def rounds(self) -> int: ...
  @property
  def max_terms(self) -> int: ...
  @property
  def tolerance(self) -> float: ...
  @property
  def held_out(self) -> int: ...


class SumSearch:
  """One extraction: what was found, also if it ends early.

  Attributes:
    sum: The sum so far.
    progress: Is told the rows that were charged.
  """

  def __init__(self, limits: Limits, oracle: Oracle, domain: Domain,
               pool: np.ndarray, rng: np.random.Generator):
    """Knows nothing of `oracle` yet.

    Args:
      limits: What may be tried.
      oracle: Answers rows.
      domain: All rows.
      pool: Rows [n, d] that tell where the data lie; may be none.
      rng: Draws rows.
    """
    self.limits, self.oracle, self.domain = limits, oracle, domain
    self.pool, self.rng = pool, rng
    self.progress: Callable[[int], None] = lambda rows: None
    self.link = "logits"
    self.error: float | None = None
    self.agreement: float | None = None
    self.pairs = self.fresh = 0
    d, c = domain.features, oracle.outputs
    self.sum = StepSum(
        d, np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(c),
        np.zeros((0, c)), np.zeros((0, 2), np.int64), np.zeros((0, c)))

  def find(self) -> str:
    """Finds the sum; gives what it lacks, empty if nothing."""
    limits, bases = self.limits, self._rows(_CORNERS)
    if self.oracle.reveal.scale is not Quantity.LOGITS:
      self.link = self._adding()
    base = bases[self._least_certain(bases)]
    low, high = scales.ranges(self.domain, self.pool)
    points = axis_lines.line_points(
        self.domain, low, high, self.pool, limits.points)
    scale = scales.scales(self.domain, self.pool)
    known = axis_lines.thresholds(
        base, points, [[]] * self.domain.features, scale, self.answers)
    self.sum = additive_fit.along_axes(
        base, known, self.answers, following, self.link)
    fresh = self._rows(limits.held_out)
    outputs = self.answers(fresh)
    if self._measured(fresh, outputs):
      return ""
    return self._deeper(points, scale, known, fresh, outputs)

  def _deeper(self, points: list[np.ndarray], scale: np.ndarray,
              known: list[list[float]], rows: np.ndarray,
              outputs: np.ndarray) -> str:
    """Adds products of steps, led by the rows that are farthest off."""
    limits, pairs = self.limits, set()
    for _ in range(limits.rounds):
      off = np.abs(self.sum(rows) - outputs).max(axis=1)
      # Steps that a row does not show are those of rows like it.
      worst = rows[np.argsort(off, kind="stable")[-_WORST:]]
      for base in worst:
        known = axis_lines.thresholds(
            base, points, known, scale, self.answers)
      used = [feature for feature, own in enumerate(known) if own]
      corners = [self.domain.low, self.domain.high, *self._rows(_WORST)]
      for base in worst:
        pairs |= additive_fit.interacting(
            base, corners, used, pairs, self.answers, limits.tolerance)
      self.pairs = len(pairs)
      steps = additive_fit.along_axes(
          worst[-1], known, self.answers, following, self.link)
      terms = additive_fit.count_terms(steps, pairs)
      if terms > limits.max_terms:
        return (f"{_UNKNOWN}trees are deeper than stumps, and {terms:,} steps "
                "and products would have to be fitted; raise "
                "AxisSearch.max_terms")
      more = max(2 * terms - len(rows), limits.held_out)
      added = np.concatenate([self._rows(more // 2), self._in_cells(
          more - more // 2, known)])
      rows = np.concatenate([rows, added])
      outputs = np.concatenate([outputs, self.answers(added)])
      self.sum = additive_fit.with_products(steps, pairs, rows, outputs)
      fresh = self._rows(4 * limits.held_out)
      told = self.answers(fresh)
      if self._measured(fresh, told):
        return ""
      rows, outputs = (np.concatenate(both) for both in (
          (rows, fresh), (outputs, told)))
    return (f"{_UNKNOWN}fresh rows are off by up to {self.error:.1e}; trees "
            "are deeper than two comparisons, or thresholds were not seen")

  def _in_cells(self, count: int, known: list[list[float]]) -> np.ndarray:
    """Rows [n, d] whose numbers lie between random neighbouring thresholds."""
    low, _ = scales.ranges(self.domain, self.pool)
    rows = np.empty((count, self.domain.features))
    for feature, own in enumerate(known):
      numbers = np.array([*(following(one) for one in own),
                          min(low[feature], *own) if own else low[feature]])
      rows[:, feature] = self.rng.choice(numbers, count)
    return np.clip(rows, self.domain.low, self.domain.high)

  def answers(self, rows: np.ndarray) -> np.ndarray:
    """The outputs float64 [n, c] that add up."""
    space = self.oracle.space
    sent = np.clip(rows, space.low, space.high) if space.bounded else rows
    response = self.oracle.query(sent)
    self.progress(self.oracle.ledger.rows)
    return self._linked(response.values.astype(np.float64), self.link)

  def _linked(self, values: np.ndarray, link: str) -> np.ndarray:
    if self.oracle.reveal.scale is Quantity.LOGITS or link == "scores":
      return values
    logs = np.log(np.maximum(values, 1e-300))
    return logs - logs[:, :1]

  def _adding(self) -> str:
    """"scores" or "logits", whichever is more like a sum over features."""
    first, second = self._rows(_CORNERS), self._rows(_CORNERS)
    swapped = self.rng.random(first.shape) < 2 / first.shape[1]
    mixed = [np.where(swapped, first, second), np.where(swapped, second, first)]
    values = self.oracle.query(np.concatenate([first, second, *mixed])).values
    if (values <= 0).any():
      return "scores"
    gaps = {}
    for link in ("logits", "scores"):
      a, b, c, d = np.split(self._linked(values.astype(np.float64), link), 4)
      spread = max(float(np.abs(np.concatenate([a - c, b - c])).max()), 1e-300)
      gap = np.abs(a + b - c - d).max(axis=1) / spread
      gaps[link] = (int((gap > _ROUNDING).sum()), float(np.median(gap)))
    return min(gaps, key=lambda link: gaps[link])

  def _rows(self, count: int) -> np.ndarray:
    """Random rows [n, d]: half uniform in range, half the pool's numbers."""
    low, high = scales.ranges(self.domain, self.pool)
    rows = self.rng.uniform(low, high, (count, self.domain.features))
    if len(self.pool):
      drawn = self.rng.integers(len(self.pool), size=rows.shape)
      mixed = self.pool[drawn, np.arange(rows.shape[1])]
      rows = np.where((np.arange(count) % 2 == 0)[:, None], rows, mixed)
    rows = rows.astype(np.float32).astype(np.float64)
    return np.clip(rows, self.domain.low, self.domain.high)

  def _least_certain(self, rows: np.ndarray) -> int:
    """The row of which logarithms of scores are the most precise."""
    outputs = self.answers(rows)
    return int(np.argmin(np.abs(outputs).max(axis=1)))

  def _measured(self, rows: np.ndarray, outputs: np.ndarray) -> bool:
    copied, self.fresh = self.sum(rows), len(rows)
    self.error = float(np.abs(copied - outputs).max())
    self.agreement = float(
        (copied.argmax(axis=1) == outputs.argmax(axis=1)).mean())
    return self.error <= self.limits.tolerance

  def figures(self) -> tuple[Figure, ...]:
    """What there is to say of it."""
    count = len(self.sum.feature)
    but = f", but for {self.pairs:,} pairs of them" * bool(self.pairs)
    values = [
        Figure("thresholds", count, f"{count:,} found"),
        Figure("adds_up", self.link,
               f"{self.link} are a sum over features{but}"),
        Figure("products", len(self.sum.pairs))]
    if self.error is not None and self.agreement is not None:
      values += [
          Figure("held_out_error", self.error, f"{self.error:.1e} at most on "
                 f"{self.fresh:,} fresh rows"),
          Figure("differs_on_at_most", 1 - 0.05**(1 / self.fresh)),
          Figure("agreement", self.agreement,
                 f"{100 * self.agreement:.1f}% of them have the same class"),
          Figure("domain", "where thresholds show on the lines",
                 "all rows, but for thresholds that no line shows")]
    return tuple(values)
