"""Thresholds of a piecewise constant function, on lines along the axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.attacks.tree.searches import midpoint
from wsl_extraction.networks.regions import Domain, following

Answers = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Gap:
  """Two numbers of a feature between which the outputs change."""

  feature: int
  low: float
  high: float
  at_low: bytes
  at_high: bytes


def line_points(domain: Domain, low: np.ndarray, high: np.ndarray,
                pool: np.ndarray, count: int) -> list[np.ndarray]:
  """For each feature, ascending numbers at which its line is looked at.

  The ends of the domain, `count` numbers evenly spaced, and as many between
  those of the pool, which lie close where the data does.

  Args:
    domain: All rows.
    low: Where evenly spaced numbers begin, [d].
    high: Where they end.
    pool: Rows [n, d]; may be none.
    count: The numbers of either kind.
  """
  points = []
  for feature in range(domain.features):
    numbers = [np.linspace(low[feature], high[feature], count)]
    if len(pool):
      numbers.append(np.quantile(pool[:, feature], np.linspace(0, 1, count)))
    inner = np.concatenate(numbers).astype(np.float32).astype(np.float64)
    ends = domain.low[feature], domain.high[feature]
    points.append(np.unique(np.clip(np.concatenate([inner, ends]), *ends)))
  return points


def thresholds(base: np.ndarray, points: Sequence[np.ndarray],
               known: Sequence[Sequence[float]], scale: np.ndarray,
               answers: Answers) -> list[list[float]]:
  """The thresholds that lines through a row show, ascending, by feature.

  Between two numbers of equal outputs no threshold is looked for.

  Args:
    base: A row [d].
    points: See `line_points`.
    known: Thresholds that were found before; their effect here is looked at.
    scale: Of each feature, [d].
    answers: The outputs [n, c] of rows [n, d].
  """
  found = [set(map(float, own)) for own in known]
  numbers = [np.unique(np.concatenate([
      own, [one for t in known[feature] for one in (t, following(t))]]))
             for feature, own in enumerate(points)]
  places = [(feature, float(one)) for feature, own in enumerate(numbers)
            for one in own]
  outputs = _told(base, places, answers)
  gaps = [_Gap(f, low, high, one, other)
          for (f, low), (g, high), one, other in zip(
              places, places[1:], outputs, outputs[1:], strict=False)
          if f == g and one != other]
  while gaps:
    middles = [midpoint(gap.low, gap.high, float(scale[gap.feature]))
               for gap in gaps]
    open_ = []
    for gap, middle in zip(gaps, middles, strict=True):
      if middle is None:
        found[gap.feature].add(gap.low)
      else:
        open_.append((gap, middle))
    told = _told(base, [(gap.feature, middle) for gap, middle in open_],
                 answers)
    gaps = []
    for (gap, middle), output in zip(open_, told, strict=True):
      if output != gap.at_low:
        gaps.append(dataclasses.replace(gap, high=middle, at_high=output))
      if output != gap.at_high:
        gaps.append(dataclasses.replace(gap, low=middle, at_low=output))
  return [sorted(own) for own in found]


def _told(base: np.ndarray, places: Sequence[tuple[int, float]],
          answers: Answers) -> list[bytes]:
  """The outputs, as bytes, of rows with one feature changed."""
  if not places:
    return []
  rows = np.repeat(base[None], len(places), axis=0)
  features, values = zip(*places, strict=True)
  rows[np.arange(len(places)), list(features)] = values
  return [row.tobytes() for row in np.ascontiguousarray(answers(rows))]
