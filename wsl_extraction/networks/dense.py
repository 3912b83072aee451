"""Networks of dense layers and ReLUs as Keras models, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction import checks
from wsl_extraction.networks import keras_reader
from wsl_extraction.networks.relu_network import ReluNetwork


def two_layer(network: ReluNetwork, input_shape: Sequence[int]
              ) -> tuple[keras.Model, ReluNetwork]:
  """A network of one hidden layer as a Keras model.

  In double precision where the backend has it, else in single.

  Args:
    network: With or without a linear part; the hidden layer may be empty.
    input_shape: Of one input, flattened inside to d numbers.

  Returns:
    A model that maps [n, *input_shape] to [n, c], and the network whose weights
    it holds, which in single precision are rounded.
  """
  dtype = keras.backend.standardize_dtype(
      ops.convert_to_tensor(np.zeros(1)).dtype)
  network = network.rounded(dtype)
  (hidden, outer), (offsets, constant) = network.weights, network.biases
  inputs = keras.Input(tuple(input_shape), dtype=dtype)
  flat = keras.layers.Flatten(dtype=dtype)(inputs)
  layers: list[tuple[keras.layers.Layer, list[np.ndarray]]] = []

  def dense(name: str, x: Any, *arrays: np.ndarray, **kwargs: Any) -> Any:
    layer = keras.layers.Dense(
        arrays[0].shape[1], use_bias=len(arrays) > 1, dtype=dtype, name=name,
        **kwargs)
    layers.append((layer, list(arrays)))
    return layer(x)

  linear = network.linear
  if offsets.size:
    x = dense("hidden", flat, hidden, offsets, activation="relu")
    x = dense("outer", x, outer, constant)
    if linear is not None:
      x = keras.layers.Add(dtype=dtype)([x, dense("linear", flat, linear)])
  else:
    kernel = np.zeros((len(hidden), len(constant)))
    x = dense("linear", flat, kernel if linear is None else linear, constant)
  model = keras.Model(inputs, x)
  for layer, arrays in layers:
    layer.set_weights(arrays)
  # TensorFlow's graphs complain of double precision, a line for each layer.
  model.compile(run_eagerly=True, jit_compile=False)
  return model, network


def mlp(input_shape: tuple[int, ...], num_classes: int,
        value_range: tuple[float, float] = (0.0, 1.0), seed: int = 0,
        hidden: Sequence[int] = ()) -> keras.Model:
  """A trainable network of dense ReLU layers, or logistic regression.

  Args:
    input_shape: Of one input row; flattened.
    num_classes: c.
    value_range: Of the inputs; mapped to -1..1.
    seed: Of the initial weights.
    hidden: The widths of the hidden layers; none makes it logistic regression.

  Raises:
    InputError: A width cannot be.
  """
  hidden = checks.whole_numbers("mlp.hidden", hidden, 1, empty=True)
  low, high = value_range
  factor, offset = 2 / (high - low), -(high + low) / (high - low)
  generator = keras.random.SeedGenerator(seed)
  images = keras.Input(input_shape)
  values = keras.layers.Flatten()(images) if len(input_shape) > 1 else images
  values = keras.layers.Rescaling(factor, offset)(values)
  for width in hidden:
    values = keras.layers.Dense(
        width, activation="relu", kernel_initializer=(
            keras.initializers.HeNormal(seed=generator)))(values)
  logits = keras.layers.Dense(num_classes, kernel_initializer=(
      keras.initializers.GlorotUniform(seed=generator)), name="logits")(values)
  return keras.Model(images, logits)


def keras_model(network: ReluNetwork, dtype: str = "float64") -> keras.Model:
  """The network as a Keras model, a victim for any attack.

  Args:
    network: Of whatever size.
    dtype: In which it computes and keeps its weights; in float32 they are
      rounded.

  Returns:
    A functional model that maps [n, d] to [n, c].
  """
  images = keras.Input((network.dimension,), dtype=dtype)
  values, last = images, len(network.weights) - 1
  for place, bias in enumerate(network.biases):
    is_relu = place < last or network.is_rectified
    values = keras.layers.Dense(
        len(bias), activation="relu" if is_relu else None, dtype=dtype,
        name=f"dense_{place}")(values)
  model = keras.Model(images, values)
  model.set_weights([array for layer in zip(
      network.weights, network.biases, strict=True) for array in layer])
  return model


def network_of(model: keras.Model) -> ReluNetwork:
  """A Keras model of piecewise linear layers; see `keras_reader.read`.

  Raises:
    InputError: As there.
  """
  return keras_reader.read(model)
