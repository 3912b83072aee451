"""Rows at the kinks that were found, where a wrong activation shows first.

A softplus of large slope is a ReLU but for a sliver around its kink, which rows
that are drawn anywhere never meet.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu import smooth
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.networks.two_layer import TwoLayerNetwork

ROWS = 3  # at each kink
_GROUP = 8  # units that one row serves
_TRIES = 12  # starts, of which the point nearest to the data is taken
_FARTHEST = 1e6
_ENDS = 200  # points of a box, of which two lie on both sides of a kink
# Of a unit's distance: how far the second and the third row lie from the kink.
_ASIDE = -9.0, -3.0


def points(network: TwoLayerNetwork, region: Region, examples: np.ndarray,
           rng: np.random.Generator) -> np.ndarray:
  """Points z [n, d] that lie on the hyperplanes, or just beside them.

  A point on as many hyperplanes as there are dimensions to spare serves as many
  units, so that h units need fewer than 3 h rows.

  Args:
    network: In z.
    region: Where points lie.
    examples: z [m, d] of examples, from which the way to a plane is short.
    rng: Draws starts and distances.
  """
  length = np.linalg.norm(network.normals, axis=1)
  effect = length * np.linalg.norm(network.outer, axis=1)
  units = np.flatnonzero((effect > 0) & (network.distances < _FARTHEST))
  units = units[np.argsort(network.distances[units], kind="stable")]
  size = max(1, min(_GROUP, region.features // 4))
  chosen = []
  for start in range(0, len(units), size):
    group = units[start:start + size]
    for row in range(ROWS):
      chosen += _meet(network, group, region, examples, row, rng)
  return np.concatenate(chosen) if chosen else np.zeros((0, region.features))


def _meet(network: TwoLayerNetwork, group: np.ndarray, region: Region,
          examples: np.ndarray, row: int,
          rng: np.random.Generator) -> list[np.ndarray]:
  """One point for all of a group, or, where there is none, one for each."""
  length = np.linalg.norm(network.normals[group], axis=1)
  normals = network.normals[group] / length[:, None]
  offsets = network.offsets[group] / length
  aside = (-1.0)**row * (row > 0) * 10.0**rng.uniform(
      *_ASIDE, len(group)) * np.maximum(1, np.abs(offsets))
  starts = examples[rng.integers(len(examples), size=_TRIES)]
  inverse = np.linalg.pinv(normals, rcond=1e-8)
  for _ in range(2):  # twice: the first step rounds off
    starts = starts - (starts @ normals.T + offsets - aside) @ inverse.T
  off = np.abs(starts @ normals.T + offsets - aside).max(axis=1)
  far = np.linalg.norm(starts - region.data, axis=1)
  usual = max(1.0, float(np.abs(offsets).max()))
  fit = (off <= 1e-12 * (usual + far)) & region.contains(starts) & (
      far <= 30 * usual)
  if fit.any():
    return [starts[fit][[int(np.argmin(far[fit]))]]]
  if len(group) == 1:
    return [] if region.box is None else _crossed(
        normals[0], float(offsets[0] - aside[0]), region, examples, rng)
  return [one for unit in group for one in _meet(
      network, np.array([unit]), region, examples, row, rng)]


def _crossed(normal: np.ndarray, offset: float, region: Region,
             examples: np.ndarray, rng: np.random.Generator
             ) -> list[np.ndarray]:
  """A point of one hyperplane between two points of the box, if it has any."""
  ends = np.concatenate([
      region.sample(_ENDS, rng), examples, region.points(np.where(
          np.array([normal, -normal]) > 0, *region.box[::-1]))
  ]) if region.box is not None else examples
  before = ends @ normal + offset
  on, off = np.flatnonzero(before > 0), np.flatnonzero(before < 0)
  if not len(on) or not len(off):
    return []
  one, other = rng.choice(on), rng.choice(off)
  share = before[one] / (before[one] - before[other])
  return [(ends[one] + share * (ends[other] - ends[one]))[None]]


def is_curved(answers: LogitQueries, network: TwoLayerNetwork,
              point: np.ndarray) -> bool:
  """Tells whether a kink near z [d], where the network is wrong, is a curve.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  length = np.linalg.norm(network.normals, axis=1)
  distances = np.abs(network.preactivations(point[None])[0]) / np.where(
      length > 0, length, np.nan)
  order = np.argsort(distances)
  unit = int(order[0])
  along = network.normals[unit] / length[unit]
  # The next plane, or the kink of a unit that serves the same row.
  reach = 0.1 * max(1.0, float(np.linalg.norm(point)))
  size = float(np.linalg.norm(point)) + reach
  error = float(answers.errors(
      network(point[None]), np.array([size]))[0])
  return smooth.curves_within(
      lambda t: answers(point + t[:, None] * along), -reach, reach, error)
