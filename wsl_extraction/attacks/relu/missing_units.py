"""Units that a network still misses, from where it is wrong."""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu import jacobians
from wsl_extraction.attacks.relu.line_search import LineSearch
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.networks.two_layer import TwoLayerNetwork

# Of the way to the next kink on the line. Across the line kinks can be nearer.
_STEP = 2e-4


def add(answers: LogitQueries, network: TwoLayerNetwork, wrong: np.ndarray,
        rng: np.random.Generator) -> TwoLayerNetwork:
  """Adds the units between 0, where the network is right, and a point.

  What the network does not explain is zero near 0, so that on the way to the
  point it is a sum of units that were all off in the beginning.

  Args:
    answers: The oracle.
    network: Right near 0.
    wrong: float64 [d]: z of a point where it is wrong.
    rng: What decides.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  along = wrong / np.linalg.norm(wrong)
  region, d = answers.region, len(along)
  high = min(region.span(np.zeros(d), along)[1],
             max(3.0, 2 * float(np.linalg.norm(wrong))))

  def unexplained(points: np.ndarray) -> np.ndarray:
    return answers(points) - network(points)

  def errors(outputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.full(len(outputs), _spread(answers)) + 0 * lengths

  search = LineSearch(lambda t: unexplained(t[:, None] * along), errors, rng,
                      True)
  kinks = search(np.linspace(0, 0.99 * high, 8), 1e-7)
  h, k = len(kinks.at), answers.width
  if not h:
    return network
  group = max(1, int(0.7 * jacobians.independent(kinks.jumps)))
  places = jacobians.base_points(kinks.at, group, 0.0, 0.99 * high)[1:]
  walls = np.concatenate([kinks.at, [0.99 * high]])
  steps = _STEP * np.abs(places[:, None] - walls).min(axis=1)
  starts = places[:, None] * along
  base = unexplained(starts)
  directions = jacobians.directions(d, rng)
  points = starts[:, None] + steps[:, None, None] * directions
  outputs = unexplained(points.reshape(-1, d)).reshape(len(places), d, k)
  slopes = (outputs - base[:, None]) / steps[:, None, None]
  coefficients = jacobians.coefficients(
      places[:, None] > kinks.at, kinks.jumps, False)
  unknown = jacobians.Slopes(coefficients, steps).solve(slopes)[0]
  normals = unknown @ directions
  return TwoLayerNetwork.of(
      np.concatenate([network.normals, normals]),
      np.concatenate([network.offsets, -kinks.at * (normals @ along)]),
      np.concatenate([network.outer, kinks.jumps]), network.linear,
      network.constant)


def _spread(answers: LogitQueries) -> float:
  points, outputs = answers.kept()
  errors = answers.errors(outputs, np.linalg.norm(points, axis=1))
  return float(np.quantile(errors, 0.9))
