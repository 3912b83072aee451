"""A Keras model as a ReLU network: its graph, call by call, and checked.

Nothing is looked up by name or taken in the order of `model.layers`: the graph
is walked from the output to the input, so that a layer that is called twice
counts twice. What is not known to be piecewise linear is refused. Then the
network has to agree with the model on fresh rows, or the model is refused.

The network is the function of real numbers that the stored weights define;
layers that are joined (a dense layer on another, batch normalization) are
multiplied out in float64. What the model's own precision makes of it is not
part of the network.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks import graph
from wsl_extraction.networks.keras_layers import Call, reader_of, refuse
from wsl_extraction.networks.piecewise import Computation, Value
from wsl_extraction.networks.relu_network import ReluNetwork

_ROWS = 16


def read(model: keras.Model) -> ReluNetwork:
  """The function of a model's flattened inputs.

  Raises:
    InputError: It has several inputs or outputs, contains something else than
      piecewise linear layers, is too large, or answers otherwise than they say.
  """
  inputs, output = graph.ends(model)
  shape = inputs.shape[1:]
  if None in shape or not shape:
    raise InputError(f"the model takes inputs of shape {list(shape)}; give one "
                     "whose inputs have a fixed shape")
  if not keras.backend.is_float_dtype(inputs.dtype):
    raise InputError(f"the model takes {inputs.dtype}, which rounds its inputs;"
                     " give one that takes real numbers")
  computation = Computation(shape)
  network = computation.network(
      _Walk(computation, {id(inputs): computation.inputs}).value(output))
  _check(model, network, shape, inputs.dtype)
  return network


class _Walk:
  """Values of the tensors of one graph."""

  def __init__(self, computation: Computation, known: dict[int, Value]):
    self._computation, self._known = computation, known

  def value(self, tensor: keras.KerasTensor) -> Value:
    """The value of a tensor, from those that it is computed from."""
    todo = [tensor]
    while todo:  # no recursion: graphs are deep
      if id(todo[-1]) in self._known:
        todo.pop()
        continue
      operation, node = _origin(todo[-1])
      missing = [one for one in node.input_tensors
                 if id(one) not in self._known]
      if missing:
        todo += missing
        continue
      if isinstance(operation, keras.layers.InputLayer):
        raise InputError("the model reads an input that is not its own; make "
                         "it of layers that begin with its keras.Input")
      self._known[id(todo.pop())] = self._called(operation, node)
    return self._known[id(tensor)]

  def _called(self, operation: Any, node: Any) -> Value:
    arguments, kwargs = node.arguments.args, node.arguments.kwargs
    if kwargs.get("training"):
      refuse(operation, "is called as in training")
    if len(node.outputs) != 1:
      refuse(operation, f"has {len(node.outputs)} outputs")
    values = [self._known[id(one)] for one in node.input_tensors]
    if isinstance(operation, keras.Model) and (
        type(operation).__module__.startswith("keras.")):
      inner, output = graph.ends(operation)
      return _Walk(self._computation, {id(inner): values[0].shaped(
          inner.shape[1:])}).value(output)
    reader = reader_of(operation)
    if reader is None:
      refuse(operation, "cannot be compared")
    return reader(self._computation, Call(
        operation, values, tuple(node.outputs[0].shape[1:]), arguments, kwargs))


def _origin(tensor: keras.KerasTensor) -> tuple[Any, Any]:
  history = tensor._keras_history  # Keras has no public name for it
  return history.operation, history.operation._inbound_nodes[
      history.node_index]


def _check(model: keras.Model, network: ReluNetwork, shape: tuple[int, ...],
           dtype: str) -> None:
  """Compares both on rows of several sizes, within the rounding of the model.

  Raises:
    InputError: They do not agree.
  """
  rng = np.random.default_rng(0)
  sizes = 10.0 ** rng.uniform(-1, 2, (_ROWS, 1))
  rows = (sizes * rng.standard_normal((_ROWS, network.dimension))).astype(dtype)
  arrays: Any = rows.reshape(_ROWS, *shape)
  # A functional model may want its inputs as a list of one, or by name.
  wanted = getattr(model, "_inputs_struct", arrays)
  outputs = keras.tree.flatten(model(
      keras.tree.pack_sequence_as(wanted, [arrays]), training=False))
  answers = np.asarray(
      keras.ops.convert_to_numpy(outputs[0]), np.float64)
  own = network(rows)
  magnitude, terms = _magnitude(network, rows)
  epsilon = max(_epsilon(layer) for layer in (model, *_all_layers(model)))
  allowed = 16 * epsilon * (terms + 16) * magnitude + 1e-30
  apart = np.abs(answers.reshape(_ROWS, -1) - own)
  if not (apart <= allowed).all():
    raise InputError(
        f"the model {model.name!r} answers up to {np.nanmax(apart):.2g} off "
        "what its layers say; give one of Keras' own layers")


def _magnitude(network: ReluNetwork, rows: np.ndarray
               ) -> tuple[np.ndarray, int]:
  """Sums of absolute terms, and the terms that are added up on the way."""
  values, terms = np.abs(rows.astype(np.float64)), 0
  for matrix, bias in zip(network.weights, network.biases, strict=True):
    values = values @ np.abs(matrix) + np.abs(bias)
    terms += len(matrix)
  if network.linear is not None:
    values = values + np.abs(rows) @ np.abs(network.linear)
    terms += len(network.linear)
  return values, terms


def _all_layers(model: keras.Model) -> list[Any]:
  return list(model._flatten_layers(include_self=False))


def _epsilon(layer: Any) -> float:
  """The relative rounding error of what a layer computes in."""
  bits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
  return 2.0 ** -bits.get(keras.backend.standardize_dtype(
      layer.compute_dtype or "float32"), 7)
