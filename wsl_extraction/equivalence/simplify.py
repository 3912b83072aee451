"""Removing from two networks, exactly, what cannot make them differ.

Units with the same weights and bias are one unit, of which the outgoing weights
are added, as long as no sum is rounded; units that nothing reads are dropped.
Two copies of a network, their hidden units in whatever order, so lose all
units: they are equal, without any bound.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.equivalence.bounds import Layers, Pair


def simplified(pair: Pair) -> Pair:
  """The same difference, with fewer units where that is possible."""
  return _read_only(_joined(pair))


def without_idle(pair: Pair, ranges: Layers) -> Pair:
  """Drops the units that are off wherever `ranges` hold."""
  above = [matrix * (high > 0)[:, None] for matrix, high in zip(
      [*pair.weights[1:], pair.readout], ranges.high, strict=True)]
  return simplified(dataclasses.replace(
      pair, weights=(pair.weights[0], *above[:-1]), readout=above[-1]))


def _joined(pair: Pair) -> Pair:
  """Joins equal units."""
  weights, biases = list(pair.weights), list(pair.biases)
  above = [*weights[1:], pair.readout]
  for layer in range(len(weights)):
    incoming = above[layer - 1] if layer else weights[0]
    incoming, biases[layer], above[layer] = _merged(
        incoming, biases[layer], above[layer])
    if layer:
      above[layer - 1] = incoming
    else:
      weights[0] = incoming
  return dataclasses.replace(
      pair, weights=(weights[0], *above[:-1]), biases=tuple(biases),
      readout=above[-1])


def _read_only(pair: Pair) -> Pair:
  """Drops what is not read; layers stay, with one idle unit at least."""
  weights = [matrix.copy() for matrix in pair.weights]
  biases, above = list(pair.biases), [*weights[1:], pair.readout]
  for layer in reversed(range(len(weights))):
    read = np.count_nonzero(above[layer], axis=1) > 0
    if not read.any():
      read[0] = True
      incoming = above[layer - 1] if layer else weights[0]
      biases[layer] = np.zeros_like(biases[layer])
      incoming[:, 0] = 0
    above[layer], biases[layer] = above[layer][read], biases[layer][read]
    if layer:
      above[layer - 1] = above[layer - 1][:, read]
    else:
      weights[0] = weights[0][:, read]
  return dataclasses.replace(
      pair, weights=(weights[0], *above[:-1]), biases=tuple(biases),
      readout=above[-1])


def _merged(incoming: np.ndarray, bias: np.ndarray, outgoing: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Joins units [m] whose columns [inputs + 1, m] are equal."""
  kept: dict[bytes, int] = {}
  outgoing, stays = outgoing.copy(), np.ones(len(bias), bool)
  # Adding 0 turns -0 into 0, which is the same number in other bytes.
  columns = np.ascontiguousarray(np.vstack([incoming, bias]).T + 0.0)
  for unit, column in enumerate(columns):
    first = kept.setdefault(column.tobytes(), unit)
    if first == unit:
      continue
    total = outgoing[first] + outgoing[unit]
    if _is_exact(outgoing[first], outgoing[unit], total):
      outgoing[first], stays[unit] = total, False
  return incoming[:, stays], bias[stays], outgoing[stays]


def _is_exact(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> bool:
  """True where a + b = total without rounding (Knuth's two-sum)."""
  part = total - a
  error = (a - (total - part)) + (b - part)
  return bool(np.isfinite(total).all() and not error.any())
