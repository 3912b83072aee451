"""Optimizers as the methods' references use them."""

from __future__ import annotations

import keras

from wsl_extraction.errors import InputError


def decaying_kernels(
    optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
  """Limits an optimizer's weight decay to kernels, and gives it back.

  Each step takes learning rate times `weight_decay` of every kernel of
  convolutions and dense layers away from it; biases, and the scale and offset
  of batch normalisation, are left alone. So does the reference of MixMatch
  (Berthelot et al. 2019), with a weight decay of 0.02 beside Adam at 0.002; but
  it takes the part from what Adam's step has made of the kernel, Keras before
  the step (a difference of 0.00004 of the step, at these rates).

  Args:
    optimizer: Made with a `weight_decay`, and not used yet.

  Raises:
    InputError: It has no weight decay.
  """
  if not optimizer.weight_decay:
    raise InputError(
        f"decaying_kernels got {type(optimizer).__name__} without weight "
        "decay; give it a weight_decay, or use it as it is")
  # On tensorflow Keras gives the name with its layer's: "conv/kernel".
  optimizer.exclude_from_weight_decay(var_names=[r"^(?!(.*/)?kernel(:\d+)?$)"])
  # Keras leaves the exclusion out of an optimizer's configuration.
  optimizer.decays = "kernel"
  return optimizer
