"""Telling a curve from straight pieces, by second differences.

Between kinks a piecewise linear function has second differences of zero, and a
kink has one or two of them, however fine the grid. A curve has neighbours that
are alike as soon as the grid is fine enough.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_POINTS = 17
_LEVELS = 12
_ALIKE = 0.5  # the change between neighbours, as a share
_MOST = 0.75  # of all neighbours
_CLEAR = 20.0  # errors of an answer that a second difference has to exceed


class Smooth(Exception):
  """The function bends everywhere."""


def message(what: str) -> str:
  """The line about a victim whose answers `what` are curved."""
  return (f"answers {what} bend smoothly: the victim's activation is smooth "
          "(GELU, SiLU, tanh, softplus, ...) and not a ReLU, whose networks "
          "alone are extracted this way; learn from responses instead")


def is_curve(outputs: np.ndarray, error: float) -> bool:
  """Tells whether values on an even grid are those of a smooth curve.

  Args:
    outputs: float64 [n, K], n at least 5.
    error: The most that each may be off.
  """
  if not np.isfinite(outputs).all():
    return False
  bends = outputs[2:] - 2 * outputs[1:-1] + outputs[:-2]
  size = np.linalg.norm(bends, axis=1)
  change = np.linalg.norm(np.diff(bends, axis=0), axis=1)
  larger = np.maximum(size[1:], size[:-1])
  alike = (change <= _ALIKE * larger) & (
      np.minimum(size[1:], size[:-1])
      > _CLEAR * error * np.sqrt(outputs.shape[1]))
  return bool(alike.mean() >= _MOST)


def curves_within(ask: Callable[[np.ndarray], np.ndarray], low: float,
                  high: float, error: float, levels: int = _LEVELS) -> bool:
  """Looks for a curve around the sharpest bend of a range, ever closer.

  Args:
    ask: float64 [n] places to outputs [n, K].
    low: Where the range begins.
    high: Where it ends.
    error: The most that an output may be off.
    levels: How often to look closer, by a factor of 4 each time.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  for _ in range(levels):
    places = np.linspace(low, high, _POINTS)
    if not (np.diff(places) > 8 * np.spacing(np.abs(places).max())).all():
      return False
    outputs = ask(places)
    if is_curve(outputs, error):
      return True
    bends = np.linalg.norm(
        outputs[2:] - 2 * outputs[1:-1] + outputs[:-2], axis=1)
    sharpest = int(np.argmax(np.nan_to_num(bends))) + 1
    if bends[sharpest - 1] <= _CLEAR * error:
      return False
    low, high = places[max(sharpest - 2, 0)], places[
        min(sharpest + 2, _POINTS - 1)]
  return False
