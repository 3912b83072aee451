"""Units of two networks that are nearly one, and how far they are apart.

Where g is nearly f, a bound that treats a unit of f and its twin in g as two
unknowns loses that their difference is small. Here the twin q of a unit p is
written q = ratio p + e, so that weights act on the small e directly, and the
difference of their inputs, D = z_q - ratio z_p, has coefficients that are small
themselves. Pairing is a guess, by the likeness of incoming weights; what is
computed from it holds for any.

References:
  Paulsen, Wang, Wang, Wang. NeuroDiff: Scalable Differential Verification of
    Neural Networks. ASE 2020 (bounds of differences, unit by unit).
  Wang et al. Efficient Global Robustness Certification of Neural Networks via
    Interleaving Twin-Network Encoding. DATE 2022 (the two networks together).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from wsl_extraction.equivalence.bounds import Pair, underflow

# How far apart, as a share of their length, weights of twins may be.
_ALIKE = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
  """Affine functions of the variables of the layer below, and their doubt.

  Each true coefficient is within `doubt` of its float.

  Attributes:
    matrix: [variables, m].
    bias: [m].
    doubt: [variables, m].
    bias_doubt: [m].
  """

  matrix: np.ndarray
  bias: np.ndarray
  doubt: np.ndarray
  bias_doubt: np.ndarray

  def error(self, size: np.ndarray) -> np.ndarray:
    """The most that doubts change, for variables of sizes [variables]: [m]."""
    terms = len(size)
    return (size @ self.doubt + self.bias_doubt) * (
        1 + (terms + 4) * 2.0**-51) + underflow(terms)


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
  """One layer of a pair, in the variables p and e.

  Attributes:
    inputs: The inputs of its units, z, of the variables below.
    partner: For each unit the twin that it is written by, or -1: [m].
    ratio: How much larger it is, [m].
    apart: z - ratio z_partner for units that have one; unused for others.
  """

  inputs: Affine
  partner: np.ndarray
  ratio: np.ndarray
  apart: Affine


def layers_of(pair: Pair, sizes: Sequence[np.ndarray]
              ) -> tuple[list[Layer], Affine]:
  """The layers of a pair in these variables, and its outputs f - g.

  Args:
    pair: The networks.
    sizes: Of what each layer reads, to weigh likeness: [inputs] a layer.
  """
  count = len(pair.weights[0])
  partner, ratio = np.full(count, -1), np.ones(count)
  layers = []
  for matrix, bias, size in zip(
      pair.weights, pair.biases, sizes, strict=True):
    inputs = _rewritten(matrix, bias, np.zeros_like(bias), partner, ratio)
    partner, ratio = _twins(inputs, partner, size)
    layers.append(Layer(inputs, partner, ratio,
                        _apart(inputs, partner, ratio)))
  return layers, _rewritten(
      pair.readout, pair.offset, pair.offset_error, partner, ratio)


def _rewritten(matrix: np.ndarray, bias: np.ndarray, bias_doubt: np.ndarray,
               partner: np.ndarray, ratio: np.ndarray) -> Affine:
  """Coefficients of p and e from those of units below."""
  twins = np.flatnonzero(partner >= 0)
  result, doubt = matrix.copy(), np.zeros_like(matrix)
  own, by_twin = matrix[partner[twins]], ratio[twins, None] * matrix[twins]
  result[partner[twins]] = own + by_twin
  doubt[partner[twins]] = _sum_doubt(own, by_twin) + _product_doubt(
      by_twin, ratio[twins, None])
  return Affine(result, bias, doubt, bias_doubt)


def _apart(inputs: Affine, partner: np.ndarray, ratio: np.ndarray) -> Affine:
  other = np.maximum(partner, 0)
  parts = []
  for values, doubts in ((inputs.matrix, inputs.doubt),
                         (inputs.bias, inputs.bias_doubt)):
    scaled = ratio * values[..., other]
    parts.append((values - scaled, (
        _sum_doubt(values, -scaled) + _product_doubt(scaled, ratio)
        + (doubts + ratio * doubts[..., other]) * (1 + 2.0**-50))))
  (matrix, doubt), (bias, bias_doubt) = parts
  return Affine(matrix, bias, doubt, bias_doubt)


def _sum_doubt(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """What a + b rounds; nothing where one of them is 0."""
  return np.where((a == 0) | (b == 0), 0, 2.0**-52 * np.abs(a + b))


def _product_doubt(product: np.ndarray, ratio: np.ndarray) -> np.ndarray:
  """What a product by `ratio` rounds; nothing for 1."""
  return np.where(ratio == 1, 0, 2.0**-52 * np.abs(product) + 2.0**-1073)


def _twins(inputs: Affine, below: np.ndarray, size: np.ndarray
           ) -> tuple[np.ndarray, np.ndarray]:
  """Pairs units whose weights are most alike, each with one at most.

  Args:
    inputs: Of the units of a layer.
    below: The partners of the layer below; differences e are small, and their
      coefficients are left out of account.
    size: Of the variables of the layer below.
  """
  columns = np.vstack([
      (size[:, None] * inputs.matrix)[below < 0], inputs.bias])
  count = columns.shape[1]
  partner, ratio = np.full(count, -1), np.ones(count)
  largest = np.maximum(np.abs(columns).max(axis=0), 1e-250)
  shapes = columns / largest
  lengths = np.maximum(np.linalg.norm(shapes, axis=0), 1e-50)
  length = largest * lengths
  if not np.isfinite(shapes).all() or not np.isfinite(length).all():
    return partner, ratio
  likeness = np.triu((shapes / lengths).T @ (shapes / lengths), 1)
  likeness[~(likeness > 1 - _ALIKE**2 / 2)] = 0
  free = np.ones(count, bool)
  for flat in np.argsort(-likeness, axis=None, kind="stable")[:count**2 // 2]:
    first, second = np.unravel_index(flat, likeness.shape)
    if not likeness[first, second]:
      break
    if not free[first] or not free[second]:
      continue
    factor = length[second] / length[first]
    if not 1e-100 < factor < 1e100:
      continue
    free[[first, second]] = False
    partner[second] = first
    straight, scaled = (np.abs(columns[:, second] - by * columns[:, first])
                        .max() for by in (1.0, factor))
    ratio[second] = 1.0 if straight <= 2 * scaled else factor
  return partner, ratio
