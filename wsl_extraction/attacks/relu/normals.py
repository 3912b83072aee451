"""The normals of all units, from Jacobians at as few base points as can be."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu import jacobians
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.plane import PlaneNetwork
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.oracle.ledger import BudgetExceeded

_CONDITION = 150.0  # beyond which another base point is taken
_NUMBERS = 12_000_000  # that the candidates' coefficients may fill
_CROSSED = 0.95  # of the way to a unit's kink


@dataclasses.dataclass(frozen=True, eq=False)
class Bases:
  """Base points z of Jacobians.

  Attributes:
    points: float64 [m, d].
    before: float64 [m, h]: what units see there, before the ReLU.
    steps: float64 [m]: how far to go from there.
    coefficients: float64 [m, K, p]: see `jacobians.Slopes`.
  """

  points: np.ndarray
  before: np.ndarray
  steps: np.ndarray
  coefficients: np.ndarray


def choose(sketch: PlaneNetwork, answers: LogitQueries,
           rng: np.random.Generator) -> Bases:
  """Chooses base points in the plane of a sketch.

  Where all units are known they may lie anywhere in the plane, where the
  nearest kink is far; otherwise on the line, which crosses no other unit.
  """
  network, region = sketch.network, answers.region
  complete = sketch.signs.integral or not region.bounded
  where = np.zeros((len(sketch.places), len(sketch.basis)))
  where[:, 0] = sketch.places
  careful = 1e3
  if complete:
    where = np.concatenate([where, _anywhere(
        network, region, sketch.spread, rng)])
    careful = 5.0
  before = network.preactivations(where)
  usual = np.sqrt((network.normals**2).mean(axis=1))
  room = np.array([region.room(z) for z in where @ sketch.basis])
  room = np.minimum(room, 1e3 * np.maximum(
      1, np.linalg.norm(where, axis=1)))
  steps = np.minimum(
      (np.abs(before) / usual).min(axis=1, initial=np.inf) / careful,
      0.5 * room)
  size = np.maximum(1, np.linalg.norm(where, axis=1))
  best = np.argsort(-steps / size, kind="stable")
  k, p = answers.width, network.units + answers.width
  most = max(_NUMBERS // (k * p), 2 * p // k + 10)
  line = np.arange(len(sketch.places))[:max(most - 400, most // 2)]
  best = np.union1d(best[:min(400, most)], line)
  where, before, steps, size = (
      array[best] for array in (where, before, steps, size))
  coefficients = jacobians.coefficients(
      before > 0, network.outer, not sketch.signs.integral)
  ends = [int(where[:, 0].argmin()), int(where[:, 0].argmax())]
  apart = np.isfinite(answers.near) and not sketch.signs.integral
  chosen = _enough(coefficients, steps / size, network, answers,
                   ends if apart else [])
  return Bases(where[chosen] @ sketch.basis, before[chosen], steps[chosen],
               coefficients[chosen])


def _anywhere(network: TwoLayerNetwork, region: Region, spread: float,
              rng: np.random.Generator) -> np.ndarray:
  where = rng.standard_normal((1500, network.normals.shape[1]))
  length = min(30 * spread, region.radius / 3)
  return where * (length / np.linalg.norm(where, axis=1))[:, None]


def _enough(coefficients: np.ndarray, quality: np.ndarray,
            network: TwoLayerNetwork, answers: LogitQueries,
            first: list[int]) -> np.ndarray:
  """As few base points as determine the unknowns well.

  A unit far off is on near 0 and off at an end of the line, or the other way
  round. Where a linear part is unknown too, both ends are `first`: they tell
  the two apart, and little of all other units.
  """
  p = coefficients.shape[2]
  rank = jacobians.independent(network.outer)
  fewest = -(-(network.units + (rank if p > network.units else 0)) // rank)
  most = fewest + 2
  if answers.noise > 1e-12:
    fewest, most = fewest + 1, fewest + max(2, fewest // 2)
  order = jacobians.best_bases(
      coefficients, quality, min(most, len(coefficients)), first)
  if rank == 1:
    return order[:fewest]
  if first:
    return order
  for count in range(fewest, len(order)):
    some = (coefficients * quality[:, None, None])[order[:count]]
    some = some.reshape(-1, p)
    some = some / np.maximum(np.linalg.norm(some, axis=0), 1e-300)
    values = np.linalg.svd(some, compute_uv=False)
    if values[-1] > values[0] / _CONDITION:
      return order[:count]
  return order


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
  """Jacobians that were had, and what they give.

  Attributes:
    network: On all of z; in directions that were not had, as in the sketch.
    share: Of the directions that were had before the budget ended.
    bases: The base points.
    weights: float64 [m] of the base points.
    directions: float64 [q, d].
    slopes: float64 [m, q, K].
  """

  network: TwoLayerNetwork
  share: float
  bases: Bases
  weights: np.ndarray
  directions: np.ndarray
  slopes: np.ndarray

  def normals_of(self, outer: np.ndarray) -> np.ndarray:
    """The normals [h, d] for other weights [h, K] of the last layer.

    Only where no linear part is unknown and no direction is missing.
    """
    coefficients = jacobians.coefficients(self.bases.before > 0, outer, False)
    unknown = jacobians.Slopes(coefficients, self.weights).solve(self.slopes)[0]
    return unknown @ self.directions


def measure(answers: LogitQueries, sketch: PlaneNetwork, bases: Bases,
            rng: np.random.Generator, keep: bool) -> Measured:
  """Asks for the Jacobians and solves for the network.

  Args:
    answers: The oracle.
    sketch: What is known of the network.
    bases: From where to ask.
    rng: Draws the directions.
    keep: Whether the rows are remembered.
  """
  directions = jacobians.directions(answers.region.features, rng)
  start, slopes = _slopes(answers, bases, directions, keep)
  had = slopes.shape[1]
  weights = bases.steps / answers.row_tolerances(
      start, np.linalg.norm(bases.points, axis=1))
  system = jacobians.Slopes(bases.coefficients, weights)
  unknown = system.solve(slopes)[0]
  steps = np.repeat(bases.steps[:, None], had, axis=1)
  for _ in range(6):
    crossed = _crossed(unknown, bases, steps)
    if not crossed.any():
      break
    steps[crossed] /= 5
    m, j = np.nonzero(crossed)
    try:
      outputs = answers(
          bases.points[m] + steps[m, j][:, None] * directions[j], keep)
    except BudgetExceeded:
      had = min(had, j.min())
      break
    slopes[m, j] = (outputs - start[m]) / steps[m, j][:, None]
    unknown = system.solve(slopes)[0]
  network = _whole(sketch, unknown[:, :had], directions[:had])
  return Measured(network, had / len(directions), bases, weights,
                  directions[:had], slopes[:, :had])


def _slopes(answers: LogitQueries, bases: Bases, directions: np.ndarray,
            keep: bool) -> tuple[np.ndarray, np.ndarray]:
  """Outputs [m, K] at base points, slopes [m, q, K] in q directions."""
  m, d = bases.points.shape
  start = answers(bases.points, keep)
  parts, done, size = [], 0, max(1, answers.batch // m)
  while done < d:
    some = directions[done:done + size]
    points = bases.points[:, None] + bases.steps[:, None, None] * some
    try:
      outputs = answers(points.reshape(-1, d), keep)
    except BudgetExceeded:
      if size == 1:
        break
      size //= 2
      continue
    outputs = outputs.reshape(m, len(some), -1)
    parts.append((outputs - start[:, None]) / bases.steps[:, None, None])
    done += len(some)
  if not parts:
    return start, np.zeros((m, 0, answers.width))
  return start, np.concatenate(parts, axis=1)


def _crossed(unknown: np.ndarray, bases: Bases,
             steps: np.ndarray) -> np.ndarray:
  """bool [m, q]: which rows lie behind a kink."""
  crossed = np.zeros(steps.shape, bool)
  h = bases.before.shape[1]
  for m, before in enumerate(bases.before):
    change = unknown[:h] * steps[m]
    # Upwards it takes a unit on, downwards one off: the others go away.
    toward = -change * np.sign(before)[:, None]
    crossed[m] = (toward > _CROSSED * np.abs(before)[:, None]).any(axis=0)
  return crossed


def _whole(sketch: PlaneNetwork, unknown: np.ndarray,
           directions: np.ndarray) -> TwoLayerNetwork:
  network, h = sketch.network, sketch.network.units
  normals = unknown[:h] @ directions
  linear = sketch.basis.T @ network.linear
  if unknown.shape[0] > h:
    linear = (unknown[h:] @ directions).T
  if len(directions) < directions.shape[1]:
    # The plane is known, what is outside only as far as it was asked for.
    inside = sketch.basis.T @ sketch.basis
    outside = np.eye(len(inside)) - inside
    normals = network.normals @ sketch.basis + normals @ outside
    linear = sketch.basis.T @ network.linear + outside @ linear
  return TwoLayerNetwork.of(normals, network.offsets, network.outer, linear,
                            network.constant)
