"""Keras' piecewise linear layers, each as the function that it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
from keras import layers, ops

from wsl_extraction.errors import InputError
from wsl_extraction.networks import piecewise
from wsl_extraction.networks.piecewise import Computation, Value


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
  """One call of a layer.

  Attributes:
    layer: It, or another operation of Keras.
    values: Its inputs.
    shape: Of its output, without the batch.
    arguments: All that it is called with, in order.
    kwargs: And by name.
  """

  layer: Any
  values: Sequence[Value]
  shape: tuple[int, ...]
  arguments: Sequence[Any] = ()
  kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def refuse(layer: Any, why: str) -> NoReturn:
  """Raises InputError for a layer."""
  raise InputError(
      f"the layer {layer.name!r} ({type(layer).__name__}) {why}; networks can "
      "be compared that are made of dense, convolution, normalization, average "
      "pooling and adding layers with ReLUs")


def _same(_: Computation, call: Call) -> Value:
  """What does nothing but in training, and what only changes the shape."""
  if getattr(call.layer, "data_format", None) == "channels_first" and len(
      call.values[0].shape) > 1:
    refuse(call.layer, "has its channels first")
  return call.values[0].shaped(call.shape)


def _dense(computation: Computation, call: Call) -> Value:
  layer, (value,) = call.layer, call.values
  _check_plain(layer)
  kernel = _numbers(layer.kernel)
  bias = _numbers(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1])
  repeats = math.prod(value.shape[:-1])
  # Of more than one axis the last counts; the others are repeats.
  matrix = kernel if repeats == 1 else np.kron(np.eye(repeats), kernel)
  return _activated(computation, layer, value.times(
      matrix, np.tile(bias, repeats), call.shape))


def _convolution(computation: Computation, call: Call) -> Value:
  layer, (value,) = call.layer, call.values
  _check_plain(layer)
  clone = _clone(layer, value.shape, activation="linear")
  weights = layer.get_weights()
  if getattr(layer, "lora_enabled", False):
    weights = [_numbers(layer.kernel), *(
        [_numbers(layer.bias)] if layer.use_bias else [])]
  clone.set_weights(weights)
  return _activated(computation, layer, _applied(clone, value, call.shape))


def _linear(_: Computation, call: Call) -> Value:
  value, = call.values
  return _applied(_clone(call.layer, value.shape), value, call.shape)


def _applied(layer: Any, value: Value, shape: Sequence[int]) -> Value:
  return value.times(*piecewise.matrix_of(
      lambda rows: ops.convert_to_numpy(layer(rows)), value.shape), shape)


def _clone(layer: Any, shape: Sequence[int], **config: Any) -> Any:
  """The layer in double precision, as far as the backend has it."""
  dtype = keras.backend.standardize_dtype(
      ops.convert_to_tensor(np.zeros(1)).dtype)
  clone = type(layer).from_config(
      {**layer.get_config(), "dtype": dtype, **config})
  clone.build((None, *shape))
  return clone


def _batch_norm(_: Computation, call: Call) -> Value:
  layer, (value,) = call.layer, call.values
  spread = np.sqrt(_numbers(layer.moving_variance) + layer.epsilon)
  factor = (_numbers(layer.gamma) if layer.scale else 1.0) / spread
  shift = (_numbers(layer.beta) if layer.center else 0.0) - (
      _numbers(layer.moving_mean) * factor)
  axes = [1] * (len(value.shape) + 1)
  axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
  axes[axis] = -1
  return value.scaled(*(np.broadcast_to(
      array.reshape(axes[1:]), value.shape).ravel()
      for array in (factor, shift)))


def _rescaling(_: Computation, call: Call) -> Value:
  value, = call.values
  return value.scaled(*(np.broadcast_to(
      np.asarray(number, np.float64), value.shape).ravel()
      for number in (call.layer.scale, call.layer.offset)))


def _normalization(_: Computation, call: Call) -> Value:
  layer, (value,) = call.layer, call.values
  mean, spread = _numbers(layer.mean), np.maximum(
      np.sqrt(_numbers(layer.variance)), keras.backend.epsilon())
  factor = spread if layer.invert else 1 / spread
  shift = mean if layer.invert else -mean / spread
  return value.scaled(*(np.broadcast_to(array, (1, *value.shape)).ravel()
                        for array in (factor, shift)))


def _relu(computation: Computation, call: Call) -> Value:
  """ReLU as a layer, leaky and up to a largest value too."""
  layer, (value,) = call.layer, call.values
  if getattr(layer, "threshold", 0):
    refuse(layer, "has a threshold")
  slope = getattr(layer, "negative_slope", 0.0) or 0.0
  return _bent(computation, value, float(slope),
               getattr(layer, "max_value", None))


def _bent(computation: Computation, value: Value, slope: float,
          most: float | None) -> Value:
  bent = computation.leaky(value, slope)
  if most is None:
    return bent
  return bent.plus(computation.relu(value.scaled(1.0, -float(most))), -1.0)


def _prelu(computation: Computation, call: Call) -> Value:
  value, = call.values
  slope = np.broadcast_to(_numbers(call.layer.alpha), value.shape).ravel()
  return computation.leaky(value, slope)


def _activation(computation: Computation, call: Call) -> Value:
  return _activated(computation, call.layer, call.values[0])


def _activated(computation: Computation, layer: Any, value: Value) -> Value:
  """The value behind a layer's activation."""
  activation = layer.activation
  if isinstance(activation, keras.layers.Layer):
    reader = reader_of(activation)
    if reader is None:
      refuse(layer, f"has the activation {type(activation).__name__}")
    return reader(computation, Call(activation, [value], value.shape))
  known: dict[Any, tuple[float, float | None]] = {
      keras.activations.relu: (0.0, None),
      keras.activations.relu6: (0.0, 6.0),
      keras.activations.leaky_relu: (0.2, None)}
  if activation is None or activation is keras.activations.linear:
    return value
  if activation not in known:
    name = getattr(activation, "__name__", activation)
    refuse(layer, f"has the activation {name}")
  return _bent(computation, value, *known[activation])


def _sum(_: Computation, call: Call) -> Value:
  total = call.values[0]
  if any(value.shape != call.shape for value in call.values):
    refuse(call.layer, "adds values of different shapes")
  for value in call.values[1:]:
    total = total.plus(value)
  return total


def _operator(sign: float) -> Callable[[Computation, Call], Value]:
  """x + y or x - y, of two values or a value and numbers."""
  def combined(_: Computation, call: Call) -> Value:
    terms = [*call.arguments, *call.kwargs.values()]
    if len(terms) != 2:
      refuse(call.layer, "has other terms than two")
    values, own = [], iter(call.values)
    for term in terms:
      if isinstance(term, keras.KerasTensor):
        values.append(next(own))
      else:
        values.append(Value(call.shape, {}, np.broadcast_to(
            np.asarray(term, np.float64), call.shape).ravel()))
    if any(value.shape != call.shape for value in values):
      refuse(call.layer, "adds values of different shapes")
    return values[0].plus(values[1], sign)
  return combined


def _subtract(_: Computation, call: Call) -> Value:
  return call.values[0].plus(call.values[1], -1.0)


def _average(computation: Computation, call: Call) -> Value:
  return _sum(computation, call).scaled(1 / len(call.values))


def _concatenate(_: Computation, call: Call) -> Value:
  axis = call.layer.axis
  return piecewise.joined(call.values, axis - 1 if axis > 0 else axis)


def _check_plain(layer: Any) -> None:
  if getattr(layer, "quantization_mode", None):
    refuse(layer, "is quantized")


def _numbers(variable: Any) -> np.ndarray:
  return np.asarray(ops.convert_to_numpy(variable), np.float64)


Reader = Callable[[Computation, Call], Value]
LAYERS: dict[type, Reader] = {
    **dict.fromkeys((
        layers.Flatten, layers.Reshape, layers.Identity, layers.Dropout,
        layers.SpatialDropout1D, layers.SpatialDropout2D, layers.AlphaDropout,
        layers.GaussianNoise, layers.GaussianDropout,
        layers.ActivityRegularization), _same),
    **dict.fromkeys((
        layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Conv2DTranspose,
        layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D,
        layers.SeparableConv2D), _convolution),
    **dict.fromkeys((
        layers.AveragePooling1D, layers.AveragePooling2D,
        layers.AveragePooling3D, layers.GlobalAveragePooling1D,
        layers.GlobalAveragePooling2D, layers.Permute, layers.ZeroPadding1D,
        layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D,
        layers.UpSampling1D, layers.UpSampling2D), _linear),
    **dict.fromkeys((layers.ReLU, layers.LeakyReLU), _relu),
    layers.Dense: _dense, layers.BatchNormalization: _batch_norm,
    layers.Rescaling: _rescaling, layers.Normalization: _normalization,
    layers.PReLU: _prelu, layers.Activation: _activation, layers.Add: _sum,
    layers.Subtract: _subtract, layers.Average: _average,
    layers.Concatenate: _concatenate,
}
# Operations that Keras writes down for `x + y` and the like.
_OPERATIONS: dict[str, Reader] = {
    "Add": _operator(1.0), "Subtract": _operator(-1.0), "Relu": _relu}


def reader_of(operation: Any) -> Reader | None:
  """The reader of a layer or another operation of Keras; None for others.

  A class that is derived from a layer of Keras is another.
  """
  kind = type(operation)
  if kind.__module__.startswith("keras.src.ops."):
    return _OPERATIONS.get(kind.__name__)
  return LAYERS.get(kind)
