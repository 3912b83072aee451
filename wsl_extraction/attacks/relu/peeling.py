"""The hyperplanes of units that a ray crossed, from rows around one point.

Where m <= K units that the network misses are on, a row shows how far each is
beyond its kink: what is not explained is a sum of their m known vectors. So d
rows around a point give m normals together.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu import jacobians
from wsl_extraction.attacks.relu.climbing import Climb
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.networks.two_layer import TwoLayerNetwork

_ROOM = 0.15  # of the way to the next kink that one feature moves
_FARTHEST = 0.05  # of the box
_TRIES = 4
_NARROWEST = 0.15  # of the longest piece of a ray: where rows are asked


def add(answers: LogitQueries, network: TwoLayerNetwork, start: np.ndarray,
        along: np.ndarray, climb: Climb, allowed: float
        ) -> TwoLayerNetwork | None:
  """The network with units that a ray crossed, or None.

  Args:
    answers: The oracle.
    network: Explains the start.
    start: float64 [d]: z where the ray begins.
    along: float64 [d]: the ray is start + t along.
    climb: Its kinks.
    allowed: What counts as zero.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  count = _piece(climb)
  if not count:
    return None
  ends = np.append(climb.at, climb.end)
  place = (ends[count - 1] + ends[count]) / 2
  point = answers.nearest(start + place * along)
  outer = climb.jumps[:count]
  room = (ends[count] - ends[count - 1]) / 2 * np.abs(along).mean()
  return _around(answers, network, point, outer, min(
      _ROOM * room, _FARTHEST), allowed)


def add_at(answers: LogitQueries, network: TwoLayerNetwork, point: np.ndarray,
           allowed: float) -> TwoLayerNetwork | None:
  """The network with the one unit that a row shows to be missing, or None.

  Where no ray leads to it: a unit that is on in a thin corner only.

  Args:
    answers: The oracle.
    network: Wrong at the point, for want of one unit.
    point: float64 [d]: z.
    allowed: What counts as zero.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  left = answers(point[None]) - network(point[None])
  return _around(answers, network, point, left, answers.step or 1e-4, allowed)


def _around(answers: LogitQueries, network: TwoLayerNetwork, point: np.ndarray,
            outer: np.ndarray, step: float, allowed: float
            ) -> TwoLayerNetwork | None:
  """The network with units of known `outer` [m, K] that are on at a point."""
  if answers.step:
    step = max(np.floor(step / answers.step), 1.0) * answers.step
  count = len(outer)
  size = np.linalg.norm(outer, axis=1)
  inverse = np.linalg.pinv(outer / size[:, None]) / size

  def beyond(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far units are beyond their kinks [n, m], and rows that do not fit."""
    left = answers(points) - network(points)
    far = left @ inverse
    off = np.abs(left - far @ outer).max(axis=1)
    low = (far * size).min(axis=1) < 4 * allowed
    return far, (off > 8 * allowed) | low

  base, wrong = beyond(point[None])
  if wrong[0]:
    return None
  d = len(point)
  steps = np.where(point + step <= 1, step, -step)
  slopes, missing = np.zeros((d, count)), np.arange(d)
  for attempt in range(_TRIES):
    moves = steps[missing] * (-1.0)**attempt * (
        1 if answers.step else 0.5**attempt)
    points = np.repeat(point[None], len(missing), axis=0)
    points[np.arange(len(missing)), missing] += moves
    inside = ((points >= 0) & (points <= 1)).all(axis=1)
    points = np.clip(points, 0, 1)
    far, wrong = beyond(points[inside])
    fit = np.flatnonzero(inside)[~wrong]
    slopes[missing[fit]] = (far[~wrong] - base) / moves[fit, None]
    missing = np.delete(missing, fit)
    if not len(missing):
      break
    if len(missing) > d // 2 and answers.step:
      return None
  if len(missing):
    return None
  return TwoLayerNetwork.of(
      np.concatenate([network.normals, slopes.T]),
      np.concatenate([network.offsets, base[0] - point @ slopes]),
      np.concatenate([network.outer, outer]), network.linear,
      network.constant)


def _piece(climb: Climb) -> int:
  """The number of kinks before the point: as many as leave it room."""
  if not len(climb.at):
    return 0
  most = max(1, int(0.7 * climb.jumps.shape[1]))
  while most > 1 and jacobians.independent(climb.jumps[:most]) < min(
      most, len(climb.at)):
    most -= 1
  gaps = np.diff(np.append(climb.at, climb.end))[:most]
  if not gaps.max(initial=0) > 0:
    return 0
  return int(np.flatnonzero(gaps >= _NARROWEST * gaps.max())[-1]) + 1
