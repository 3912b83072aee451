"""Signs of units, from the linear part that is left."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.networks.two_layer import TwoLayerNetwork


@dataclasses.dataclass(frozen=True)
class Signs:
  """The signs of all units, and the network with them applied.

  Attributes:
    network: The same function, without a linear part where signs were found.
    integral: Whether they were.
    distance: The largest distance of a sign from 0 or 1; NaN where the signs
      are not determined.
    remainder: What they leave of the linear part, as a fraction of it.
    left: float64 [d, K]: what the nearest signs leave of the linear part. Of
      units that are missing and on almost everywhere it is what they add.
  """

  network: TwoLayerNetwork
  integral: bool
  distance: float
  remainder: float
  left: np.ndarray


def solve(network: TwoLayerNetwork, off: float = 0.2,
          tolerance: float = 1e-5) -> Signs:
  """Turns units so that no linear part is left, if that can be.

  A unit that truly looks the other way leaves -normal_i outer_i in the linear
  part, so that the linear part is a sum over some of the units. That is solved
  for real factors, which have to be 0 or 1.

  Args:
    network: All units and the linear part of a function, the units looking
      either way.
    off: How far from 0 or 1 a factor may be.
    tolerance: What may be left of the linear part.
  """
  linear = bool(np.abs(network.linear).max(initial=0))
  if not network.units:
    return Signs(network, not linear, np.nan, float(linear), network.linear)
  columns = np.einsum("hd,hk->hdk", network.normals, network.outer)
  columns = -columns.reshape(network.units, -1).T
  size = np.linalg.norm(columns, axis=0)
  if not (size > 0).all() or len(columns) < 1.1 * network.units:
    return Signs(network, not linear, np.nan, float(linear), network.linear)
  factors, _, rank, _ = np.linalg.lstsq(
      columns / size, network.linear.ravel(), rcond=1e-9)
  if rank < network.units:
    return Signs(network, False, np.nan, 1.0, network.linear)
  factors /= size
  is_flipped = factors > 0.5
  distance = float(np.abs(factors - is_flipped).max())
  flipped = network.flipped(is_flipped)
  whole = np.linalg.norm(columns) + np.linalg.norm(network.linear)
  remainder = float(np.linalg.norm(flipped.linear) / whole)
  if distance > off or remainder > tolerance:
    return Signs(network, False, distance, remainder, flipped.linear)
  clean = TwoLayerNetwork.of(
      flipped.normals, flipped.offsets, flipped.outer,
      np.zeros_like(flipped.linear), flipped.constant)
  return Signs(clean, True, distance, remainder, flipped.linear)
