"""A time limit that reports, and fractions as floats."""

from __future__ import annotations

import fractions
import math
import time
from collections.abc import Callable

from wsl_extraction import checks

_REPORT_EVERY = 1.0

Report = Callable[[float, float], None]


class Clock:
  """Seconds since it was made, and the limit; reports about once a second."""

  def __init__(self, limit: float, report: Report | None = None):
    limit = checks.number("time_limit", limit, above=0)
    self._start, self._limit = time.monotonic(), limit
    self._report, self._said = report, 0.0

  @property
  def seconds(self) -> float:
    return time.monotonic() - self._start

  @property
  def left(self) -> float:
    return self._limit - self.seconds

  def say(self, lower: float, upper: float) -> None:
    """Reports, if it is time."""
    if self._report and self.seconds - self._said >= _REPORT_EVERY:
      self._said = self.seconds
      self._report(lower, upper)


def as_float(number: fractions.Fraction) -> float:
  """The nearest float64; infinite beyond the largest."""
  try:
    return float(number)
  except OverflowError:
    return math.inf if number > 0 else -math.inf


def as_exact(number: float) -> fractions.Fraction | float:
  """A float as the fraction that it is; infinity stays."""
  return fractions.Fraction(number) if math.isfinite(number) else number
