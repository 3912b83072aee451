"""Two-layer ReLU networks of given weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def from_weights(
    input_shape: Sequence[int], hidden: np.ndarray, hidden_bias: np.ndarray,
    outer: np.ndarray, outer_bias: np.ndarray,
    linear: np.ndarray | None = None) -> keras.Model:
  """x -> relu(x hidden + hidden_bias) outer + outer_bias, and x linear.

  In double precision where the backend has it, else in single.

  Args:
    input_shape: Of one input, flattened inside to d numbers.
    hidden: [d, h]; h may be 0.
    hidden_bias: [h].
    outer: [h, c].
    outer_bias: [c].
    linear: [d, c], added without a ReLU; None for none.

  Returns:
    A model that maps [n, *input_shape] to [n, c].
  """
  dtype = keras.backend.standardize_dtype(
      ops.convert_to_tensor(np.zeros(1)).dtype)
  inputs = keras.Input(tuple(input_shape), dtype=dtype)
  flat = keras.layers.Flatten(dtype=dtype)(inputs)
  classes, given = len(outer_bias), []

  def dense(name: str, x, kernel: np.ndarray, bias: np.ndarray | None = None,
            **kwargs):
    layer = keras.layers.Dense(
        kernel.shape[1], use_bias=bias is not None, dtype=dtype, name=name,
        **kwargs)
    x = layer(x)
    given.append((layer, [kernel] if bias is None else [kernel, bias]))
    return x

  if hidden.shape[1]:
    x = dense("hidden", flat, hidden, hidden_bias, activation="relu")
    x = dense("outer", x, outer, outer_bias)
    if linear is not None:
      x = keras.layers.Add(dtype=dtype)([x, dense("linear", flat, linear)])
  else:
    kernel = np.zeros((hidden.shape[0], classes)) if linear is None else linear
    x = dense("linear", flat, kernel, outer_bias)
  model = keras.Model(inputs, x)
  for layer, weights in given:
    layer.set_weights(weights)
  # TensorFlow's graphs complain of double precision, a line for each layer.
  model.compile(run_eagerly=True, jit_compile=False)
  return model
