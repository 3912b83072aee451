"""Extraction inside a box, of real inputs or whole pixels.

The linear part at one point is all that a network of no units knows. Whatever
else the oracle does is explained unit by unit: a ray leads from a row that is
explained to one that is not, crosses the units that are missing, and d rows
around a point behind them give their hyperplanes. Units that never switch in
the box stay part of the linear part.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu import peeling, signs, smooth
from wsl_extraction.attacks.relu.box_rows import LOOSE, BoxRows
from wsl_extraction.attacks.relu.climbing import Ray
from wsl_extraction.attacks.relu.refine import refine
from wsl_extraction.networks.two_layer import TwoLayerNetwork

_WRONG = 30.0  # errors of a fit: a row that a missing unit explains
_INCOMPLETE = 3  # times as many fresh rows where units may be missing
_FIRST_CHECK = 24
_FAILURES = 30  # rays without a unit, after which it gives up
_FITTED = 1300  # unknowns of units that are fitted after every repair
_WORK = 4e11  # operations that all of these may take
_UNITS = 512  # beyond which it gives up
_MOST_FITTED = 4500  # unknowns that are fitted in the end


class BoxSearch(BoxRows):
  """One extraction in a box: its steps, and the network so far."""

  def recover(self) -> str:
    """Recovers what fresh rows show; returns what is missing.

    Raises:
      BudgetExceeded: The budget ends first.
      Smooth: Answers bend everywhere.
    """
    missing = self._measure()
    if missing:
      return missing
    missing = ("no place without a kink was found: too many units, noisy "
               "answers, or another function")
    for _ in range(self.attempts):
      self.stage = "looking for a straight place"
      start = self._base()
      if start is None:
        break
      missing = self._from(start)
      if not missing:
        break
    return missing

  def _from(self, start: np.ndarray) -> str:
    """Explains rows from one base point; returns what is missing."""
    self.start, self.tries = start, {}
    self.stage = "climbing from the base point"
    corner = self.rng.choice([-1.0, 1.0], len(start))
    for sign in (1, -1):
      self._ray(start, sign * corner * (
          self.answers.step or self.rng.uniform(0.4, 0.5, len(corner))))
    return self._explain()

  def _ray(self, start: np.ndarray, along: np.ndarray) -> bool:
    """Adds the units that a ray crosses; tells whether there were any."""
    answers = self.answers
    with np.errstate(divide="ignore", invalid="ignore"):
      ends = np.where(along > 0, (1 - start) / along, np.where(
          along < 0, -start / along, np.inf))
    length = float(ends.min())
    if answers.step:
      length = float(np.floor(length + 1e-6))
    if not 0 < length < np.inf:
      return False
    before, allowed, network = answers.batches, self._allowed(), self.network
    ray = Ray(lambda t: answers(start + t[:, None] * along) - network(
        start + t[:, None] * along), length, bool(answers.step), allowed)
    climb = ray.climb(answers.width)
    return self._accept(peeling.add(
        answers, network, start, along, climb, allowed), before, allowed)

  def _accept(self, more: TwoLayerNetwork | None, before: int,
              allowed: float) -> bool:
    """Takes a network with more units if it explains more rows since."""
    answers, network = self.answers, self.network
    if more is None:
      return False
    points, outputs = answers.kept(before)
    fits = np.abs(outputs - more(points)).max(axis=1) <= 1e3 * allowed
    fitted = np.abs(outputs - network(points)).max(axis=1) <= allowed
    if fits.sum() <= fitted.sum():
      return False
    self.network, self.is_looked = more, False
    self._fit(_FITTED)
    return True

  def _fit(self, most: int, rounds: int = 8) -> None:
    """Fits all parameters to the rows that are explained."""
    network, answers = self.network, self.answers
    d = network.dimension
    if not network.units or network.units * (d + 1) > most:
      return
    points, outputs = answers.kept()
    work = rounds * len(points) * float(network.units * (d + 1))**2
    if most == _FITTED and self.work + work > _WORK:
      return
    self.work += work
    size = float(np.abs(outputs).max(initial=0))
    off = np.abs(outputs - network(points)).max(axis=1)
    fit = off <= max(10 * LOOSE * size, 1e3 * self._noise())
    fitted = refine(network, points[fit], outputs[fit],
                    np.full(int(fit.sum()), self._noise()),
                    bool(np.abs(network.linear).max()), rounds=rounds)
    after = np.abs(outputs[fit] - fitted(points[fit])).max(axis=1)
    if np.quantile(after, 0.9) <= np.quantile(off[fit], 0.9):
      self.network = fitted

  def fit_all(self) -> None:
    """Fits all parameters once more, for larger networks too."""
    self._fit(_MOST_FITTED, 30)

  def _wrong(self) -> tuple[np.ndarray, np.ndarray]:
    """All paid rows, and which of them are not explained."""
    points, outputs = self.answers.kept()
    off = np.abs(outputs - self.network(points)).max(axis=1)
    size = float(np.abs(outputs).max(initial=0)) or 1.0
    limit = _WRONG * self._allowed()
    if self.tolerance > LOOSE:  # of answers that no fit makes precise
      limit = min(limit, 0.5 * self.tolerance * size)
    return points, off > max(limit, 3 * self._noise())

  def _explain(self) -> str:
    """Asks fresh rows, and repairs what they show, until enough are right."""
    clean, count, failures = 0, _FIRST_CHECK, 0
    wanted = int(np.ceil(3 / self.share))  # the rule of three
    while True:
      points, wrong = self._wrong()
      if wrong.any():
        self.stage = "looking for missing units"
        if failures > _FAILURES or self.network.units > _UNITS:
          return (f"{self.network.units} units were found, and {wrong.sum()} "
                  f"of {len(points)} rows are not explained")
        if self._repair(points, wrong):
          failures, clean = 0, 0
        else:
          failures += 1
        continue
      if clean >= wanted * (1 if signs.solve(self.network).integral else (
          _INCOMPLETE)):
        return ""
      self.stage = "checking on fresh rows"
      some = min(count, max(wanted - clean, wanted // 2))
      count *= 2
      self.answers(self.sample(some))
      clean += some

  def _repair(self, points: np.ndarray, wrong: np.ndarray) -> bool:
    """A ray from a row that is explained to one that is not."""
    answers = self.answers
    rows = np.flatnonzero(wrong)
    keys = [np.round(points[row], 9).tobytes() for row in rows.tolist()]
    tried = np.array([self.tries.get(key, 0) for key in keys])
    chosen = int(self.rng.choice(np.flatnonzero(tried == tried.min())))
    row, count = int(rows[chosen]), int(tried[chosen]) + 1
    self.tries[keys[chosen]] = count
    good = points[~wrong]
    if not len(good):
      return False
    start = self.start
    if count > 1:
      # A short way crosses few units, a long one many at once.
      distance = np.linalg.norm(good - points[row], axis=1)
      near = np.argsort(distance)[:1 + 4 * (count - 2)]
      start = good[self.rng.choice(near)]
    along = points[row] - start
    if answers.step:
      start, along = self._whole_way(start, points[row])
      if not along.any() or self._is_wrong(start):
        return False
    if self._ray(start, along):
      return True
    self._refuse_curves(start, along)
    if count < 2 or answers.width == 1:
      return False
    before, allowed = answers.batches, self._allowed()
    return self._accept(peeling.add_at(
        answers, self.network, points[row], allowed), before, allowed)

  def _refuse_curves(self, start: np.ndarray, along: np.ndarray) -> None:
    """Raises `Smooth` if a ray of real inputs that failed is a curve."""
    if self.answers.step or self.is_looked:
      return
    self.is_looked = True  # once after each repair

    def unexplained(t: np.ndarray) -> np.ndarray:
      points = start + t[:, None] * along
      return self.answers(points) - self.network(points)
    if smooth.curves_within(unexplained, 0.0, 1.0, self._noise()):
      raise smooth.Smooth(smooth.message("around the kinks of hidden units"))

  def _whole_way(self, start: np.ndarray, end: np.ndarray
                 ) -> tuple[np.ndarray, np.ndarray]:
    """A start near the one given, and whole steps that lead to the end."""
    along = self._whole(end - start)
    if not along.any():
      return start, along
    used = along != 0
    count = np.round(np.median((end - start)[used] / along[used]))
    inside = np.where(along > 0, end / np.where(used, along, 1), np.where(
        along < 0, (end - 1) / np.where(used, along, 1), np.inf)).min()
    count = max(1.0, min(count, np.floor(inside + 1e-6)))
    start = self.answers.nearest(end - count * along)
    return start, along if ((start >= 0) & (start <= 1)).all() else 0 * along

  def _is_wrong(self, point: np.ndarray) -> bool:
    off = np.abs(self.answers(point[None]) - self.network(point[None])).max()
    return bool(off > self._allowed())
