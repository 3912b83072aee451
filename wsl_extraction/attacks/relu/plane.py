"""A two-layer network on a plane: all of it in a few directions.

The kinks of one line give the last layer, up to the scale of each unit. Slopes
across the line, between its kinks, give the normals in a few directions. Those
tell which way units look, and with them the network is known on a plane through
the line, however many features there are besides.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu import jacobians, signs
from wsl_extraction.attacks.relu.line_search import Kinks, LineSearch
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.refine import refine
from wsl_extraction.networks.two_layer import TwoLayerNetwork

_RESOLUTION = 1e-9
_NOISY = 1e-9
_FOREIGN = 1e9  # errors of rows that no fit explains
_MOST = 3000  # unknowns of the hidden layer up to which they are fitted at once
# Weight decay leaves units of next to no weight, below so much of the largest,
# that switch 100,000 times as far out as the others, while rows are near within
# so many times the others' distance.
_FAINT, _NEAR = 1e-6, 50.0


@dataclasses.dataclass(frozen=True, eq=False)
class PlaneNetwork:
  """The network on the plane z = coordinates @ basis.

  Attributes:
    basis: float64 [q, d], orthonormal; the first is along the line.
    network: With q inputs.
    signs: What was found out about the signs.
    places: float64 [m]: points of the line, in all cells between kinks.
    merged: Kinks that could not be told apart.
    spread: How far from 0 the farthest hyperplane lies, those far off apart;
      1 at least.
    loss: The largest error on all rows in the plane, in units of what answers
      may be off.
    refined: Whether all parameters were fitted to these rows; not those of so
      many units that it would take too long.
  """

  basis: np.ndarray
  network: TwoLayerNetwork
  signs: signs.Signs
  places: np.ndarray
  merged: int
  spread: float
  loss: float
  refined: bool


def recover(answers: LogitQueries, along: np.ndarray, rng: np.random.Generator,
            confirm: bool) -> PlaneNetwork:
  """Asks for a line and what is beside it.

  Args:
    answers: The oracle.
    along: float64 [d]: the line's direction, of length one; it goes through 0.
    rng: What decides.
    confirm: Whether each kink is looked at from both sides. Without it, two
      kinks whose jumps are parallel may be taken for one.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  region, since = answers.region, answers.batches
  low, high = region.span(np.zeros(region.features), along)
  search = LineSearch(lambda t: answers(t[:, None] * along), answers.errors,
                      rng, confirm, answers.noise > _NOISY)
  kinks = search(region.grid(low, high), _resolution(answers))
  basis = _basis(along, _directions(len(kinks.at), answers), rng)
  network, places = _beside(answers, kinks, basis, low, high)
  spread, far_off = _spread(network, kinks)
  answers.near = _NEAR * spread if far_off else np.inf
  known, outputs = answers.kept(since)
  noisy = answers.noise > _NOISY
  solved = signs.solve(network, *(0.3, 0.05) if noisy else ())
  complete = solved.integral or not region.bounded
  if complete:
    _fill(answers, solved.network, basis, min(
        10 * spread, answers.region.radius / 3), rng)
    known, outputs = answers.kept(since)
  known = known @ basis.T
  errors = answers.row_tolerances(outputs, np.linalg.norm(known, axis=1))
  is_refined = network.units * (len(basis) + 1) <= _MOST
  if np.median(np.abs(outputs - solved.network(known)).max(axis=1)
               / errors) > _FOREIGN:
    return PlaneNetwork(basis, solved.network, solved, places,
                        int(kinks.merged.sum()), spread, np.inf, True)
  if noisy and is_refined:
    solved = signs.solve(
        refine(network, known, outputs, errors, True), 0.2, 0.02)
  network = solved.network
  if is_refined:
    network = refine(network, known, outputs, errors, not solved.integral)
  loss = np.abs((outputs - network(known)) / errors[:, None]).max()
  return PlaneNetwork(
      basis, network, solved, _middles(kinks.at, places),
      int(kinks.merged.sum()), spread, float(loss), is_refined)


def _spread(network: TwoLayerNetwork, kinks: Kinks) -> tuple[float, bool]:
  """Distances of hyperplanes, split into near and far, and if any are far."""
  jumps, at = np.linalg.norm(kinks.jumps, axis=1), np.abs(kinks.at)
  faint = jumps < _FAINT * jumps.max(initial=0)
  spread = float(max(1.0, network.distances[~faint].max(initial=0)))
  # Of the faint ones hardly more is known than where they cross the line.
  far_off = faint & (at > 2 * _NEAR * spread)
  return max(spread, at[faint & ~far_off].max(initial=0)), far_off.any()


def _resolution(answers: LogitQueries) -> float:
  return max(_RESOLUTION, 100 * answers.noise)


def _directions(units: int, answers: LogitQueries) -> int:
  """The number of directions beside the line that are worth their rows."""
  k, d = answers.width, answers.region.features
  wanted = 10
  if k > 1:
    wanted = max(wanted, int(np.ceil(1.25 * units / k)) + 3)
  return min(wanted, d - 1)


def _basis(along: np.ndarray, count: int,
           rng: np.random.Generator) -> np.ndarray:
  columns = np.column_stack(
      [along, rng.standard_normal((len(along), count))])
  basis = np.linalg.qr(columns)[0].T
  basis[0] = along
  return basis


def _beside(answers: LogitQueries, kinks: Kinks, basis: np.ndarray, low: float,
            high: float) -> tuple[TwoLayerNetwork, np.ndarray]:
  """Normals and linear part in the directions of `basis`, from base points."""
  k, h = answers.width, len(kinks.at)
  group = max(1, int(0.7 * jacobians.independent(kinks.jumps)))
  places = jacobians.base_points(kinks.at, group, low, high)
  distance = _apart(places, kinks.at, low, high)
  share = 5e-5 if answers.noise < 1e-12 else min(
      5e-3, 30 * np.sqrt(answers.noise))
  steps = share * distance
  starts = places[:, None] * basis[0]
  points = np.concatenate(
      [starts[:, None], starts[:, None] + steps[:, None, None] * basis[1:]], 1)
  outputs = answers(points.reshape(-1, basis.shape[1]))
  lengths = np.linalg.norm(points.reshape(-1, basis.shape[1]), axis=1)
  errors = answers.errors(outputs, lengths).reshape(len(places), -1)
  errors = errors.max(axis=1) / steps
  outputs = outputs.reshape(len(places), len(basis), k)
  slopes = (outputs[:, 1:] - outputs[:, :1]) / steps[:, None, None]
  coefficients = jacobians.coefficients(
      places[:, None] > kinks.at, kinks.jumps, True)
  unknown = jacobians.Slopes(coefficients, 1 / errors).solve(slopes)[0]
  normals = np.column_stack([np.ones(h), unknown[:h]])
  linear = np.column_stack([kinks.slopes[0], unknown[h:]]).T
  return TwoLayerNetwork.of(
      normals, -kinks.at, kinks.jumps, linear, kinks.values[0]), places


def _middles(at: np.ndarray, places: np.ndarray) -> np.ndarray:
  """Base points, and the middles of all cells between kinks."""
  return np.concatenate([places, (at[1:] + at[:-1]) / 2])


def _apart(places, at, low, high):
  walls = np.concatenate([at, [low, high]])
  return np.abs(places[:, None] - walls).min(axis=1)


def _fill(answers: LogitQueries, network: TwoLayerNetwork, basis: np.ndarray,
          longest: float, rng: np.random.Generator) -> None:
  """Asks for rows all over the plane, away from all kinks."""
  h, k = network.outer.shape
  q = len(basis)
  unknown = (h * (k + q) + k * (q + 1)) / k
  more = 0.8 if answers.noise < 1e-12 else 2.0
  count = int(np.ceil(more * unknown)) + 8
  z = rng.standard_normal((4 * count, q))
  z /= np.linalg.norm(z, axis=1)[:, None]
  z *= np.resize(np.geomspace(min(1.0, longest / 10), longest, 3),
                 len(z))[:, None]
  z = z[answers.region.contains(z @ basis)]
  if h:
    room = np.abs(network.preactivations(z)) / np.linalg.norm(
        network.normals, axis=1)
    z = z[np.argsort(-room.min(axis=1) / np.linalg.norm(z, axis=1))]
  answers(z[:count] @ basis)
