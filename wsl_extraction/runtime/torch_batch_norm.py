"""Batch normalisation of Keras by torch's own kernel, while training.

Keras computes it on torch as mean, mean of squares, difference and product, an
operation each with its own gradient: on two cores a third of the time of a
ResNet-v2-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch


def fuse(network: keras.Model) -> None:
  """Replaces the call of each batch normalisation that the kernel can do.

  Args:
    network: A network, or a model around one.
  """
  for layer in network._flatten_layers():
    if type(layer) is keras.layers.BatchNormalization and not layer.renorm:
      layer.call = _fused(layer, layer.call)


def _fused(layer: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
  def call(inputs, training=None, mask=None):
    is_last = layer.axis in (-1, len(inputs.shape) - 1)
    if not (training and layer.trainable and mask is None and is_last
            and inputs.dtype == torch.float32):
      return plain(inputs, training=training, mask=mask)
    rank = len(inputs.shape)
    # The kernel wants channels behind the batch: a view.
    moved = inputs.permute(0, rank - 1, *range(1, rank - 1))
    outputs, mean, deviation = torch.native_batch_norm(
        moved, layer.gamma.value if layer.scale else None,
        layer.beta.value if layer.center else None, None, None, True, 0.0,
        layer.epsilon)
    with torch.no_grad():
      # The kernel gives 1 / sqrt(variance + epsilon).
      variance = deviation.reciprocal().square() - layer.epsilon
      for average, new in ((layer.moving_mean, mean),
                           (layer.moving_variance, variance)):
        average.assign(average.value * layer.momentum
                       + new * (1.0 - layer.momentum))
    return outputs.permute(0, *range(2, rank), 1)

  return call
