"""Derivatives of a network's outputs by its inputs, on every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

# Numbers and rows that a network gets at once.
_NUMBERS, _ROWS = 1 << 20, 4096
_BELOW_ALL = 1e9  # leaves a class out of a maximum or a logsumexp


def input_gradients(values: Callable[[Any], Any],
                    rows: np.ndarray) -> np.ndarray:
  """Derivatives float32 [n, ...] of values by the rows that they belong to.

  Args:
    values: Maps rows, a float32 tensor [n, ...], to [n] by `keras.ops`; each
      value depends on its own row alone.
    rows: Real numbers [n, ...].
  """
  rows = np.asarray(rows, np.float32)
  match keras.backend.backend():
    case "tensorflow":
      import tensorflow as tf

      inputs = tf.convert_to_tensor(rows)
      with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = ops.sum(ops.cast(values(inputs), "float32"))
      gradients = tape.gradient(
          total, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    case "jax":
      import jax

      gradients = jax.grad(lambda inputs: ops.sum(
          ops.cast(values(inputs), "float32")))(ops.convert_to_tensor(rows))
    case "torch":
      import torch

      inputs = ops.convert_to_tensor(rows).requires_grad_(True)
      with torch.enable_grad():
        total = ops.sum(ops.cast(values(inputs), "float32"))
        gradients, = torch.autograd.grad(total, inputs)
    case other:
      raise ValueError(f"derivatives on {other} are not written")
  return ops.convert_to_numpy(gradients)


def log_odds_gradients(network: keras.Model, rows: np.ndarray,
                       classes: np.ndarray) -> np.ndarray:
  """Derivatives [n, ...] of log(p / (1 - p)), p the scores of `classes` [n].

  They point where the derivatives of p and of log p point, and do not vanish
  where a network is sure: z_y - log(sum of exp z_k over k != y) has no p in it
  that rounds to one.
  """
  def log_odds(logits: Any, chosen: Any) -> Any:
    own = ops.one_hot(chosen, logits.shape[-1], dtype="float32")
    return ops.sum(own * logits, axis=-1) - ops.logsumexp(
        logits - _BELOW_ALL * own, axis=-1)

  return _by_class(network, rows, classes, log_odds)


def logit_gradients(network: keras.Model, rows: np.ndarray,
                    classes: np.ndarray) -> np.ndarray:
  """Derivatives [n, ...] of the logits of `classes` [n]."""
  def logit(logits: Any, chosen: Any) -> Any:
    return ops.sum(logits * ops.one_hot(
        chosen, logits.shape[-1], dtype="float32"), axis=-1)

  return _by_class(network, rows, classes, logit)


def _by_class(network: keras.Model, rows: np.ndarray, classes: np.ndarray,
              value: Callable[[Any, Any], Any]) -> np.ndarray:
  parts = [np.zeros((0, *rows.shape[1:]), np.float32)]
  step = together(rows.shape[1:])
  for start in range(0, len(rows), step):
    chosen = np.asarray(classes[start:start + step], np.int32)
    parts.append(input_gradients(
        lambda inputs, chosen=chosen: value(ops.cast(
            network(inputs, training=False), "float32"), chosen),
        np.asarray(rows[start:start + step])))
  return np.concatenate(parts)


def together(shape: tuple[int, ...]) -> int:
  """How many rows of a shape a network gets at once."""
  return max(1, min(_ROWS, _NUMBERS // max(1, math.prod(shape))))
