"""Two networks that are one up to order, scale and rounding of hidden units.

A ReLU unit may be scaled by any r > 0 where its outgoing weights are divided by
it, and units of a layer may be exchanged. Units of g are therefore paired with
those of f layer by layer, each with its scale, and the distance between g's
unit and r times f's is bounded by interval arithmetic. Pairing is a guess; the
bound holds for any pairing.

References:
  Phuong, Lampert. Functional vs. Parametric Equivalence of ReLU Networks. ICLR
    2020 (that nothing else leaves the function alone, for almost all networks
    of narrowing layers).
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from wsl_extraction.equivalence.bounds import TINY, above, affine_range
from wsl_extraction.equivalence.domains import Domain
from wsl_extraction.networks.relu_network import ReluNetwork

_UP = 1 + 2.0**-49


def matched_bound(f: ReluNetwork, g: ReluNetwork, domain: Domain
                  ) -> np.ndarray | None:
  """No |f - g| on the domain is above it, [c]; None if their shapes differ.

  Small if g is f with its hidden units exchanged, scaled and rounded, however
  many they are; of any use only then.
  """
  f, g = f.as_chain().affine_ended(), g.as_chain().affine_ended()
  if f.hidden != g.hidden:
    return None
  least, most = domain.low, domain.high
  apart_low = apart_high = np.zeros(len(least))
  order, scale = np.arange(len(least)), np.ones(len(least))
  for layer in range(len(f.weights)):
    by_g = g.weights[layer][order]
    f_part = f.weights[layer], f.biases[layer]
    if layer + 1 < len(f.weights):
      order, ratio = _paired(
          np.vstack(f_part),
          np.vstack([scale[:, None] * by_g, g.biases[layer]]))
      if ratio is None:
        return None
    else:
      order, ratio = np.arange(f.outputs), np.ones(f.outputs)
    low, high = _distance(
        *f_part, by_g[:, order], g.biases[layer][order], scale, ratio,
        (least, most), (apart_low, apart_high))
    least, most = affine_range(least, most, *f_part)
    off = (most <= 0) & (ratio * most * _UP**-1 + high + TINY <= 0)
    least, most = np.maximum(least, 0), np.maximum(most, 0)
    apart_low = np.where(off, 0, np.minimum(low, 0))
    apart_high = np.where(off, 0, np.maximum(high, 0))
    scale = ratio
  return above(np.maximum(np.abs(low), np.abs(high)))


def _paired(of_f: np.ndarray, of_g: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray | None]:
  """For each unit of f, one of g, and by what it is larger.

  Args:
    of_f: Weights and bias of each unit, a column each, [inputs + 1, m].
    of_g: Likewise, as if g read f's units.
  """
  # Largest entries, as squares in a norm overflow and vanish.
  sizes = [np.maximum(np.abs(part).max(axis=0), 1e-250)
           for part in (of_f, of_g)]
  shapes = [part / size for part, size in zip((of_f, of_g), sizes, strict=True)]
  lengths = [np.linalg.norm(shape, axis=0) for shape in shapes]
  sizes = [size * np.maximum(length, 1e-150) for size, length in zip(
      sizes, lengths, strict=True)]
  likeness = (shapes[0] / np.maximum(lengths[0], 1e-150)).T @ (
      shapes[1] / np.maximum(lengths[1], 1e-150))
  if not np.isfinite(likeness).all():
    return np.arange(len(sizes[0])), None
  _, order = optimize.linear_sum_assignment(-likeness)
  ratio = sizes[1][order] / sizes[0]
  usable = (ratio > 1e-100) & (ratio < 1e100)
  return order, ratio if usable.all() else None


def _distance(weights: np.ndarray, bias: np.ndarray, by_g: np.ndarray,
              g_bias: np.ndarray, scale: np.ndarray, ratio: np.ndarray,
              values: tuple[np.ndarray, np.ndarray],
              apart: tuple[np.ndarray, np.ndarray]
              ) -> tuple[np.ndarray, np.ndarray]:
  """The range of g's inputs of units less `ratio` times f's, [m].

  With g's values below scale * h + e, they are
  (scale by_g - ratio weights) h + by_g e + g_bias - ratio bias.

  Args:
    weights: f's, [inputs, m].
    bias: [m].
    by_g: g's weights, rows and columns in f's order.
    g_bias: g's biases in f's order.
    scale: [inputs].
    ratio: [m].
    values: The range of f's values h below.
    apart: The range of e.
  """
  theirs, ours = scale[:, None] * by_g, ratio * weights
  residual, shift = theirs - ours, g_bias - ratio * bias
  # Each of the two lines above rounds three times.
  doubt = 2.0**-51 * (np.abs(theirs) + np.abs(ours)) + TINY
  doubt_shift = 2.0**-51 * (np.abs(g_bias) + np.abs(ratio * bias)) + TINY
  size = np.maximum(np.abs(values[0]), np.abs(values[1]))
  doubt_sum = (size @ doubt + doubt_shift) * (1 + len(size) * 2.0**-51)
  low, high = affine_range(*values, residual, shift)
  low_e, high_e = affine_range(*apart, by_g, np.zeros(len(ratio)))
  low, high = low + low_e - doubt_sum, high + high_e + doubt_sum
  return (low - np.abs(low) * 2.0**-49 - TINY,
          high + np.abs(high) * 2.0**-49 + TINY)
