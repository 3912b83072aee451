"""Piecewise linear functions, step by step, and as a chain of ReLU layers.

A value of a computation is an affine function of sources: the inputs, and the
outputs of the ReLUs before it. Each ReLU is a new source. In the chain, a
source that is needed further up passes the layers between: what is positive
passes a ReLU unchanged, the inputs as their positive and negative parts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

_INPUTS = 0
# Numbers in one matrix: 128 MiB.
_LARGEST = 1 << 24


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
  """An array of the computation, flattened to [size] in C order.

  Attributes:
    shape: Of one row, without the batch.
    terms: The coefficients [source's size, size] of each source.
    bias: [size].
  """

  shape: tuple[int, ...]
  terms: dict[int, np.ndarray]
  bias: np.ndarray

  def shaped(self, shape: Sequence[int]) -> Value:
    """The same numbers in another shape."""
    return dataclasses.replace(self, shape=tuple(shape))

  def scaled(self, factor: np.ndarray | float,
             shift: np.ndarray | float = 0.0) -> Value:
    """factor * value + shift, elementwise: numbers or arrays [size]."""
    return Value(self.shape, {
        source: matrix * factor for source, matrix in self.terms.items()},
        self.bias * factor + shift)

  def times(self, matrix: np.ndarray, shift: np.ndarray | float,
            shape: Sequence[int]) -> Value:
    """value @ matrix + shift, of a matrix [size, new size]."""
    terms = {source: _product(own, matrix)
             for source, own in self.terms.items()}
    return Value(tuple(shape), terms, self.bias @ matrix + shift)

  def plus(self, other: Value, sign: float = 1.0) -> Value:
    """value + sign * other, of the same shape."""
    terms = dict(self.terms)
    for source, matrix in other.terms.items():
      own = terms.get(source)
      terms[source] = sign * matrix if own is None else own + sign * matrix
    return Value(self.shape, terms, self.bias + sign * other.bias)


def joined(values: Sequence[Value], axis: int) -> Value:
  """Values side by side along an axis of one row."""
  places = np.concatenate([
      np.full(value.shape, number) for number, value in enumerate(values)],
      axis=axis)
  terms: dict[int, np.ndarray] = {}
  bias = np.zeros(places.size)
  for number, value in enumerate(values):
    own = np.flatnonzero(places.ravel() == number)
    bias[own] = value.bias
    for source, matrix in value.terms.items():
      whole = terms.setdefault(source, _zeros(len(matrix), places.size))
      whole[:, own] = matrix
  return Value(places.shape, terms, bias)


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
  """The outputs of one ReLU, and on what level of the chain they are."""

  inputs: Value
  level: int


class Computation:
  """Sources, as they are made."""

  def __init__(self, shape: Sequence[int]):
    """Begins with inputs of a shape, without the batch."""
    self._size = math.prod(shape)
    self.inputs = self._own(_INPUTS, tuple(shape), self._size)
    self._sources: dict[int, _Source] = {}

  def _own(self, source: int, shape: tuple[int, ...], size: int) -> Value:
    _zeros(size, size)
    return Value(shape, {source: np.eye(size)}, np.zeros(size))

  def relu(self, value: Value) -> Value:
    """max(0, value); a value that is positive for sure stays itself."""
    if _INPUTS not in value.terms and (value.bias >= 0).all() and all(
        (matrix >= 0).all() for matrix in value.terms.values()):
      return value
    level = 1 + max((self._level(source) for source in value.terms), default=0)
    source = 1 + len(self._sources)
    self._sources[source] = _Source(value, level)
    return self._own(source, value.shape, len(value.bias))

  def leaky(self, value: Value, slope: np.ndarray | float) -> Value:
    """value where it is positive, and slope * value elsewhere."""
    positive = self.relu(value)
    if not np.any(slope):
      return positive
    return positive.plus(self.relu(value.scaled(-1.0)).scaled(slope), -1.0)

  def _level(self, source: int) -> int:
    return 0 if source == _INPUTS else self._sources[source].level

  def network(self, output: Value) -> ReluNetwork:
    """The chain that computes a value."""
    needed = self._needed(output)
    depth = max((self._level(source) for source in needed), default=0)
    last = self._last_uses(needed, output, depth)
    bypass = None
    if depth and last.get(_INPUTS) == depth + 1:
      bypass = output.terms[_INPUTS]
      last = self._last_uses(needed, Value(output.shape, {
          source: matrix for source, matrix in output.terms.items()
          if source != _INPUTS}, output.bias), depth)
    weights, biases = [], []
    layout: dict[int, list[tuple[slice, float]]] = {
        _INPUTS: [(slice(0, self._size), 1.0)]}
    width = self._size
    for level in range(1, depth + 1):
      own = [source for source in needed if self._level(source) == level]
      kept = [source for source in layout
              if last.get(source, 0) > level]
      parts = [(source, self._sources[source].inputs, 1.0) for source in own]
      for source in kept:
        for sign in (1.0, -1.0) if source == _INPUTS else (1.0,):
          size = self._size if source == _INPUTS else len(
              self._sources[source].inputs.bias)
          parts.append((source, self._own(source, (size,), size).scaled(sign),
                        sign))
      weights.append(np.hstack([
          _laid_out(value, layout, width) for _, value, _ in parts]))
      biases.append(np.hstack([value.bias for _, value, _ in parts]))
      layout, width = {}, 0
      for source, value, sign in parts:
        layout.setdefault(source, []).append((
            slice(width, width + len(value.bias)), sign))
        width += len(value.bias)
    if bypass is None and self._ends_in(output, layout, width):
      return ReluNetwork(weights, biases, is_rectified=True)
    terms = {source: matrix for source, matrix in output.terms.items()
             if bypass is None or source != _INPUTS}
    weights.append(_laid_out(
        dataclasses.replace(output, terms=terms), layout, width))
    return ReluNetwork(weights, [*biases, output.bias], linear=bypass)

  def _needed(self, output: Value) -> list[int]:
    """The ReLUs that a value depends on, in the order in which they are."""
    needed, todo = set(), list(output.terms)
    while todo:
      source = todo.pop()
      if source != _INPUTS and source not in needed:
        needed.add(source)
        todo += self._sources[source].inputs.terms
    return sorted(needed)

  def _last_uses(self, needed: Sequence[int], output: Value,
                 depth: int) -> dict[int, int]:
    """The level at which each source is read last."""
    last = {source: depth + 1 for source in output.terms}
    for user in needed:
      for source in self._sources[user].inputs.terms:
        last[source] = max(last.get(source, 0), self._level(user))
    return last

  def _ends_in(self, output: Value, layout: dict[int, list],
               width: int) -> bool:
    """True if the output is the last layer itself."""
    if len(output.terms) != 1 or output.bias.any():
      return False
    (source, matrix), = output.terms.items()
    return (source != _INPUTS and width == len(matrix) == matrix.shape[1]
            and list(layout) == [source]
            and np.array_equal(matrix, np.eye(width)))


def _laid_out(value: Value, layout: dict[int, list[tuple[slice, float]]],
              width: int) -> np.ndarray:
  """Coefficients of the units of a layer: [width, size]."""
  result = _zeros(width, len(value.bias))
  for source, matrix in value.terms.items():
    for place, sign in layout[source]:
      result[place] += sign * matrix
  return result


def _zeros(rows: int, columns: int) -> np.ndarray:
  if rows * columns > _LARGEST:
    raise InputError(
        f"the network has a layer of {rows} times {columns} weights as a "
        f"matrix, above {_LARGEST:,}; compare smaller networks")
  return np.zeros((rows, columns))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  _zeros(len(a), b.shape[1])
  is_identity = a.shape[0] == a.shape[1] and np.count_nonzero(a) == len(a) and (
      (np.diagonal(a) == 1).all())
  return b.copy() if is_identity else a @ b


def matrix_of(function: Callable[[np.ndarray], np.ndarray],
              shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """The matrix [size, new size] and shift of an affine function of rows.

  Args:
    function: Maps rows [n, *shape] to rows.
    shape: Of one row.
  """
  size = math.prod(shape)
  shift = np.asarray(function(np.zeros((1, *shape))), np.float64).reshape(-1)
  matrix = _zeros(size, len(shift))
  for start in range(0, size, 256):
    rows = np.eye(size)[start:start + 256]
    values = np.asarray(function(rows.reshape(-1, *shape)), np.float64)
    matrix[start:start + 256] = values.reshape(len(rows), -1) - shift
  return matrix, shift
