r"""Bounds on a difference of two ReLU networks that hold whatever is rounded.

A sum of n products that float64 computes in any order, with or without fused
operations, lies within n u / (1 - n u) times the sum of the absolute products
of its exact value, u = 2^-53 (Higham 2002, section 3.1). Here every such error
is taken as (n + 4) 2^-52, twice as much, which also covers that the absolute
sum is itself rounded. A product that underflows is off by 2^-1075 at most,
whatever its size: where errors are multiplied afterwards, each product is
charged 2^-1074 (`underflow`); at the end, 1e-290 covers all of them.

Infinity and NaN bound nothing. Either may stand for a number that float64
cannot hold, so `above` and `below` turn what is not finite into "not known": no
upper bound is below plus infinity because something overflowed.

What these functions call a bound is then one for the function of real numbers
that has the stored float64 weights: the exact one, not the float answers, which
a device rounds in its own order.

References:
  Higham. Accuracy and Stability of Numerical Algorithms. SIAM 2002.
  Neumaier, Shcherbina. Safe Bounds in Linear and Mixed-Integer Linear
    Programming. Mathematical Programming 99, 2004 (any multipliers, however
    inexact, give a bound once their residual is paid for).
  Wang et al. Beta-CROWN: Efficient Bound Propagation with Per-neuron Split
    Constraints. NeurIPS 2021, section 3 (the same dual, in a backward pass).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.networks.relu_network import ReluNetwork

TINY = 1e-290


def gamma(terms: int) -> float:
  """The relative error of a sum of so many products, doubled."""
  return (terms + 4) * 2.0**-52


def underflow(terms: int) -> float:
  """The most that a sum of so many products loses to underflow, doubled."""
  return (terms + 4) * 2.0**-1073


def above(bound: np.ndarray) -> np.ndarray:
  """Upper bounds, infinite where they were not computed."""
  return np.where(np.isfinite(bound), bound, np.inf)


def below(bound: np.ndarray) -> np.ndarray:
  """Lower bounds, minus infinity where they were not computed."""
  return np.where(np.isfinite(bound), bound, -np.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
  """Two networks side by side: one hidden stack, the difference on top.

  Attributes:
    weights: [inputs, m] for each hidden layer; f's units first, then g's.
    biases: [m] each.
    readout: f - g is h @ readout + offset at the last hidden h: [m, c].
    offset: [c].
    offset_error: [c]: how far `offset` is from its exact value.
  """

  weights: tuple[np.ndarray, ...]
  biases: tuple[np.ndarray, ...]
  readout: np.ndarray
  offset: np.ndarray
  offset_error: np.ndarray

  @classmethod
  def of(cls, f: ReluNetwork, g: ReluNetwork) -> Pair:
    """Joins two networks of equal input and output sizes."""
    f, g = f.as_chain().affine_ended(), g.as_chain().affine_ended()
    depth = max(len(f.hidden), len(g.hidden), 1)
    f, g = f.deepened(depth), g.deepened(depth)
    weights = [np.hstack([f.weights[0], g.weights[0]])]
    for a, b in zip(f.weights[1:-1], g.weights[1:-1], strict=True):
      weights.append(np.block([
          [a, np.zeros((a.shape[0], b.shape[1]))],
          [np.zeros((b.shape[0], a.shape[1])), b]]))
    offset = f.biases[-1] - g.biases[-1]
    part = offset - f.biases[-1]
    # What the subtraction lost, by Knuth's two-sum; mostly nothing.
    lost = (f.biases[-1] - (offset - part)) - (g.biases[-1] + part)
    return cls(
        tuple(weights),
        tuple(np.hstack(both) for both in zip(
            f.biases[:-1], g.biases[:-1], strict=True)),
        np.vstack([f.weights[-1], -g.weights[-1]]), offset,
        above(np.abs(lost)))

  @property
  def sizes(self) -> list[int]:
    """The number of units of each layer, both networks' together."""
    return [len(bias) for bias in self.biases]

  def difference(self, inputs: np.ndarray) -> np.ndarray:
    """f - g at inputs [n, d], as float64 computes it: [n, c]."""
    values = inputs
    for matrix, bias in zip(self.weights, self.biases, strict=True):
      values = np.maximum(values @ matrix + bias, 0)
    return values @ self.readout + self.offset


@dataclasses.dataclass(frozen=True)
class Layers:
  """For each layer, arrays [m] or [n, m] of all units."""

  low: tuple[np.ndarray, ...]
  high: tuple[np.ndarray, ...]


def affine_range(low: np.ndarray, high: np.ndarray, matrix: np.ndarray,
                 bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Contains x @ matrix + bias for all x between low and high, [n, m]."""
  positive, negative = np.maximum(matrix, 0), np.minimum(matrix, 0)
  size = np.maximum(np.abs(low), np.abs(high))
  error = gamma(2 * len(matrix)) * (
      size @ np.abs(matrix) + np.abs(bias)) + TINY
  return (below(low @ positive + high @ negative + bias - error),
          above(high @ positive + low @ negative + bias + error))


def intervals(pair: Pair, low: np.ndarray, high: np.ndarray,
              known: Layers | None = None) -> Layers:
  """Ranges of all preactivations on boxes [n, d], by interval arithmetic.

  Args:
    pair: The networks.
    low: Corners of the boxes, [n, d] or [d].
    high: Likewise.
    known: Ranges that hold too.
  """
  lows, highs = [], []
  for layer, (matrix, bias) in enumerate(
      zip(pair.weights, pair.biases, strict=True)):
    least, most = affine_range(low, high, matrix, bias)
    if known is not None:
      least = np.maximum(least, known.low[layer])
      most = np.minimum(most, known.high[layer])
    lows.append(least)
    highs.append(most)
    low, high = np.maximum(least, 0), np.maximum(most, 0)
  return Layers(tuple(lows), tuple(highs))
