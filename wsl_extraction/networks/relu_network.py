"""Fully connected ReLU networks in float64, and in exact rational arithmetic.

A float64 is a rational number: so every network here is a function with one
exact value at each input, whatever a device makes of it.
"""

from __future__ import annotations

import dataclasses
import fractions
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from wsl_extraction.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class ReluNetwork:
  """A chain of affine layers with a ReLU after each but, mostly, the last.

  Attributes:
    weights: One matrix [inputs, outputs] a layer, float64; a hidden layer may
      have no units.
    biases: One vector [outputs] a layer, float64.
    is_rectified: Whether the last layer has a ReLU too.
    linear: Float64 [inputs, outputs] of the whole network: a linear part that
      bypasses the layers; None for none.
  """

  weights: Sequence[np.ndarray]
  biases: Sequence[np.ndarray]
  is_rectified: bool = False
  linear: np.ndarray | None = None

  def __post_init__(self):
    for name, rank in (("weights", 2), ("biases", 1)):
      arrays = tuple(np.asarray(array) for array in getattr(self, name))
      for place, array in enumerate(arrays):
        _check_array(f"{name}[{place}]", array, rank)
      object.__setattr__(
          self, name, tuple(array.astype(np.float64) for array in arrays))
    if not self.weights or len(self.weights) != len(self.biases):
      raise InputError(f"a network has {len(self.weights)} matrices and "
                       f"{len(self.biases)} biases; give one of each a layer, "
                       "one layer at least")
    if not self.dimension or not self.outputs:
      raise InputError(f"a network has {self.dimension} inputs and "
                       f"{self.outputs} outputs; give one of each at least")
    self._check_fit()
    if self.linear is not None:
      linear = np.asarray(self.linear)
      _check_array("linear", linear, 2)
      if self.is_rectified or linear.shape != (self.dimension, self.outputs):
        raise InputError(
            f"linear has shape {list(linear.shape)} in a network of "
            f"{self.dimension} inputs and {self.outputs} outputs; give "
            "[inputs, outputs], and no ReLU at the end")
      object.__setattr__(self, "linear", linear.astype(np.float64))

  def _check_fit(self) -> None:
    size = self.dimension
    for place, (matrix, bias) in enumerate(
        zip(self.weights, self.biases, strict=True)):
      if matrix.shape[0] != size or bias.shape != matrix.shape[1:]:
        raise InputError(
            f"layer {place} has weights {list(matrix.shape)} and biases "
            f"{list(bias.shape)} after {size} values; make them fit")
      size = matrix.shape[1]

  @property
  def dimension(self) -> int:
    """The number of inputs, d."""
    return self.weights[0].shape[0]

  @property
  def outputs(self) -> int:
    """The number of outputs, c."""
    return self.weights[-1].shape[1]

  @property
  def hidden(self) -> tuple[int, ...]:
    """The widths of its hidden layers."""
    return tuple(matrix.shape[1] for matrix in self.weights[:-1])

  def __call__(self, inputs: ArrayLike) -> np.ndarray:
    """Its outputs [n, c] for inputs [n, d], in float64."""
    values = inputs = np.asarray(inputs, np.float64)
    last = len(self.weights) - 1
    for place, (matrix, bias) in enumerate(
        zip(self.weights, self.biases, strict=True)):
      values = values @ matrix
      if place == last and self.linear is not None:
        values = values + inputs @ self.linear
      values = values + bias
      if self.is_rectified or place < last:
        values = np.maximum(values, 0)
    return values

  def exact(self, inputs: ArrayLike) -> np.ndarray:
    """Its outputs [n, c] for float64 inputs [n, d], as `Fraction`s.

    Weights, biases and inputs count as the rational numbers that they are;
    nothing is rounded.
    """
    values, shift = start = _dyadic(np.asarray(inputs, np.float64))
    for place, (matrix, bias) in enumerate(
        zip(self.weights, self.biases, strict=True)):
      values, shift = _affine(values, shift, matrix, bias)
      if self.is_rectified or place + 1 < len(self.weights):
        values = np.where(values > 0, values, 0)
    if self.linear is not None:
      bypass, down = _affine(*start, self.linear, np.zeros(self.outputs))
      common = max(shift, down)
      values = (values * (1 << (common - shift))
                + bypass * (1 << (common - down)))
      shift = common
    return _fractions(values, shift)

  def rounded(self, dtype: str) -> ReluNetwork:
    """The network whose weights are those of this one, rounded to `dtype`."""
    linear = None if self.linear is None else self.linear.astype(dtype)
    return ReluNetwork([array.astype(dtype) for array in self.weights],
                       [array.astype(dtype) for array in self.biases],
                       self.is_rectified, linear)

  def as_chain(self) -> ReluNetwork:
    """The same function without a linear part beside the layers.

    The inputs pass all hidden layers as their positive and negative parts.
    """
    if self.linear is None:
      return self
    if len(self.weights) == 1:  # no ReLU that could be passed by
      return self.deepened(1).as_chain()
    parts, size = np.hstack([np.eye(self.dimension), -np.eye(
        self.dimension)]), 2 * self.dimension
    weights = [np.hstack([self.weights[0], parts])]
    for matrix in self.weights[1:-1]:
      weights.append(np.block([
          [matrix, np.zeros((len(matrix), size))],
          [np.zeros((size, matrix.shape[1])), np.eye(size)]]))
    weights.append(np.vstack([self.weights[-1], self.linear, -self.linear]))
    biases = [np.hstack([bias, np.zeros(size)]) for bias in self.biases[:-1]]
    return ReluNetwork(weights, [*biases, self.biases[-1]])

  def affine_ended(self) -> ReluNetwork:
    """The same function with an affine last layer."""
    if not self.is_rectified:
      return self
    return ReluNetwork(
        (*self.weights, np.eye(self.outputs)),
        (*self.biases, np.zeros(self.outputs)))

  def deepened(self, hidden: int) -> ReluNetwork:
    """The same function with that many hidden layers, no fewer than now.

    What is positive passes a ReLU unchanged; of a network without hidden
    layers, the inputs pass as their positive and negative parts.
    """
    weights, biases = list(self.weights), list(self.biases)
    if len(weights) == 1 and hidden:
      both = np.eye(self.dimension)
      weights = [np.hstack([both, -both]), np.vstack([weights[0], -weights[0]])]
      biases = [np.zeros(2 * self.dimension), biases[0]]
    while len(weights) <= hidden:
      size = weights[-1].shape[0]
      weights.insert(-1, np.eye(size))
      biases.insert(-1, np.zeros(size))
    return ReluNetwork(weights, biases, self.is_rectified, self.linear)


def _check_array(name: str, array: np.ndarray, rank: int) -> None:
  if array.ndim != rank or array.dtype.kind not in "uif":
    raise InputError(f"{name} has shape {list(array.shape)} and dtype "
                     f"{array.dtype}; give real numbers with {rank} axes")
  if array.dtype.itemsize > 8:
    raise InputError(f"{name} has dtype {array.dtype}; give float64")
  if not np.isfinite(array).all():
    raise InputError(f"{name} holds NaN or infinity; train the network anew")
  if array.dtype.kind in "ui" and max(
      abs(int(array.max(initial=0))), abs(int(array.min(initial=0)))) > 2**53:
    raise InputError(f"{name} holds a whole number beyond 2^53, which float64 "
                     "would round; give smaller ones")


def _dyadic(array: np.ndarray) -> tuple[np.ndarray, int]:
  """Integers (of Python) and a shift: array = integers / 2^shift, exactly."""
  fractional, exponents = np.frexp(array)
  integers = np.ldexp(fractional, 53).astype(np.int64)
  exponents = np.where(integers == 0, 0, exponents - 53)
  shift = max(0, -int(exponents.min(initial=0)))
  flat = [int(value) << (int(exponent) + shift) for value, exponent in zip(
      integers.ravel(), exponents.ravel(), strict=True)]
  result = np.empty(array.size, object)
  result[:] = flat
  return result.reshape(array.shape), shift


def _affine(values: np.ndarray, shift: int, matrix: np.ndarray,
            bias: np.ndarray) -> tuple[np.ndarray, int]:
  # What is 0 in all rows, as of units that are off, is not multiplied.
  alive = (values != 0).any(axis=0).astype(bool)
  scaled, by_matrix = _dyadic(matrix[alive])
  added, by_bias = _dyadic(bias)
  result, total = values[:, alive] @ scaled, shift + by_matrix
  common = max(total, by_bias)
  return (result * (1 << (common - total)) + added * (1 << (common - by_bias)),
          common)


def _fractions(values: np.ndarray, shift: int) -> np.ndarray:
  result = np.empty(values.size, object)
  result[:] = [fractions.Fraction(int(value), 1 << shift)
               for value in values.ravel()]
  return result.reshape(values.shape)
