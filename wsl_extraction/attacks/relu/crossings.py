"""Last layers of wide networks, from rows across each unit's hyperplane.

On one line through hundreds of hyperplanes some are so near to each other that
their jumps are hardly known. Elsewhere on its hyperplane each unit has a place
with room on both sides, where four rows give its jump and its place precisely.
"""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.normals import Measured
from wsl_extraction.networks.two_layer import TwoLayerNetwork

_PLACES = 64  # on each hyperplane, of which the roomiest is taken
_LENGTHS = 0.3, 3.0  # of them, from the data
# Of the room: near the kink and far from it, on both sides.
_ARMS = np.array([-0.8, -0.05, 0.05, 0.8])


def improve(answers: LogitQueries, measured: Measured,
            rng: np.random.Generator) -> TwoLayerNetwork:
  """The network with a last layer, offsets and normals that are measured anew.

  Args:
    answers: The oracle.
    measured: Jacobians, and a network that is right but for small errors.
    rng: Draws the places.

  Raises:
    BudgetExceeded: The budget ends first.
  """
  network = measured.network
  length = np.linalg.norm(network.normals, axis=1)
  along = network.normals / np.where(length > 0, length, 1)[:, None]
  places, room = _roomy(network, along, answers, rng)
  arms = room[:, None] * _ARMS
  points = places[:, None] + arms[:, :, None] * along[:, None]
  outputs = answers(points.reshape(-1, network.dimension))
  outputs = outputs.reshape(*arms.shape, -1)
  left = (outputs[:, 1] - outputs[:, 0]) / np.diff(arms[:, :2])
  right = (outputs[:, 3] - outputs[:, 2]) / np.diff(arms[:, 2:])
  jumps = right - left
  # The two lines meet at the kink, in all outputs.
  apart = (outputs[:, 1] - arms[:, 1:2] * left) - (
      outputs[:, 2] - arms[:, 2:3] * right)
  size = np.maximum((jumps**2).sum(axis=1), 1e-300)
  at = (apart * jumps).sum(axis=1) / size
  good = (length > 0) & (room > 0) & (np.abs(at) < 0.05 * room)
  outer = np.where(good[:, None], jumps / np.where(
      length > 0, length, 1)[:, None], network.outer)
  normals = measured.normals_of(outer)
  kinks = places + at[:, None] * along
  offsets = np.where(good, -(normals * kinks).sum(axis=1), network.offsets)
  found = TwoLayerNetwork.of(
      normals, offsets, outer, network.linear, network.constant)
  off = outputs.reshape(-1, outputs.shape[2]) - found(
      points.reshape(-1, network.dimension))
  return TwoLayerNetwork.of(normals, offsets, outer, network.linear,
                            network.constant + np.median(off, axis=0))


def _roomy(network: TwoLayerNetwork, along: np.ndarray, answers: LogitQueries,
           rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """A place [h, d] on each hyperplane, and the way [h] to the next one."""
  region, d = answers.region, network.dimension
  starts = rng.standard_normal((_PLACES, d))
  starts *= (rng.uniform(*_LENGTHS, _PLACES)
             / np.linalg.norm(starts, axis=1))[:, None]
  starts += region.data
  places, room = np.zeros((network.units, d)), np.zeros(network.units)
  for unit in range(network.units):
    v = along[unit]
    slope = network.normals @ v
    if not slope[unit]:
      continue
    before = network.preactivations(starts)
    shift = -before[:, unit] / slope[unit]
    there = before + shift[:, None] * slope
    with np.errstate(divide="ignore", invalid="ignore"):
      away = np.abs(there / slope)
    away[:, unit] = np.inf
    on_plane = starts + shift[:, None] * v
    way = np.nan_to_num(away.min(axis=1), nan=0.0, posinf=1.0)
    way = np.minimum(way, 1 + np.linalg.norm(on_plane, axis=1))
    way[~region.contains(on_plane)] = 0
    best = int(np.argmax(way / (1 + np.linalg.norm(on_plane, axis=1))))
    places[unit], room[unit] = on_plane[best], way[best]
  return places, room
