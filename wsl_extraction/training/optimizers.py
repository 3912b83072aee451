"""Optimizers as the methods' references use them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError

# On tensorflow Keras gives a name with its layer's: "conv/kernel".
_KERNEL = r"(.*/)?kernel(:\d+)?"


@keras.saving.register_keras_serializable("wsl_extraction")
class MomentumL2(keras.optimizers.SGD):
  """Gradient descent with momentum on a loss with an L2 penalty on kernels.

  The penalty, l2 / 2 times the sum of squares of all kernels of convolutions
  and dense layers, acts through its gradient, l2 times the kernel, which the
  momentum accumulates like the rest of the gradient. That is the "weight
  decay" of residual networks and of S4L. Keras' own `weight_decay` is
  another thing: it bypasses the momentum, so that at momentum 0.9 a kernel
  shrinks ten times more slowly under the same number, and it takes biases and
  the scales of batch normalisation along.

  The velocity v is a sum of gradients g, and the step is the learning rate of
  the moment times it, v = momentum v + g and w = w - rate v, as TensorFlow 1
  (so S4L) and PyTorch have it. Keras' SGD keeps the rate inside, v = momentum
  v - rate g: after a drop of the rate to a tenth it goes on for about
  1 / (1 - momentum) steps at the old rate. At one rate the two are equal.

  References:
    K. He, X. Zhang, S. Ren, J. Sun. Identity Mappings in Deep Residual
      Networks. ECCV 2016, section 3.
    I. Loshchilov, F. Hutter. Decoupled Weight Decay Regularization. ICLR 2019.
    P. Goyal et al. Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour.
      2017, section 3 (momentum correction, which the velocity of Keras needs).
  """

  # Part of the identity of what was trained by it.
  rule = " the rate outside the velocity"

  def __init__(self, learning_rate: Any = 0.1, momentum: float = 0.9,
               l2: float = 1e-4, nesterov: bool = False, **kwargs: Any):
    """Remembers the settings.

    Args:
      learning_rate: A number or a schedule.
      momentum: From 0 to below 1.
      l2: Of the penalty, 0 or more.
      nesterov: Whether to look ahead.
      **kwargs: Those of Keras' optimizers.

    Raises:
      InputError: `l2` is no such number.
    """
    l2 = checks.number("MomentumL2.l2", l2, 0)
    super().__init__(learning_rate=learning_rate, momentum=momentum,
                     nesterov=nesterov, **kwargs)
    self.l2 = l2

  def update_step(self, gradient, variable, learning_rate):
    if self.l2 and re.fullmatch(_KERNEL, variable.name):
      value = ops.convert_to_tensor(variable, dtype=gradient.dtype)
      gradient = gradient + self.l2 * value
    rate = ops.cast(learning_rate, variable.dtype)
    gradient = ops.cast(gradient, variable.dtype)
    if not self.momentum:
      self.assign_sub(variable, rate * gradient)
      return
    velocity = self.momentums[self._get_variable_index(variable)]
    self.assign(velocity, self.momentum * velocity + gradient)
    direction = velocity
    if self.nesterov:
      direction = self.momentum * velocity + gradient
    self.assign_sub(variable, rate * direction)

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable("wsl_extraction")
class Staircase(keras.optimizers.schedules.LearningRateSchedule):
  """A rate that rises linearly from 0, then falls by a factor now and again.

  References:
    P. Goyal et al. Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour.
      2017, section 2.2 (the warm-up).
  """

  def __init__(self, rate: float, boundaries: Sequence[int],
               warmup_steps: int = 0, factor: float = 0.1):
    """Remembers the settings.

    Args:
      rate: The rate between the warm-up and the first boundary.
      boundaries: The steps from which on the rate is `factor` times as large
        as before, in increasing order.
      warmup_steps: Step i < `warmup_steps` has i / `warmup_steps` of `rate`.
      factor: See `boundaries`.

    Raises:
      InputError: The boundaries are not in order, or a number cannot be.
    """
    warmup_steps = checks.whole("Staircase.warmup_steps", warmup_steps)
    boundaries = list(checks.whole_numbers(
        "Staircase.boundaries", boundaries, empty=True))
    if boundaries != sorted(set(boundaries)) or warmup_steps < 0 or (
        boundaries and boundaries[0] < warmup_steps):
      raise InputError(f"Staircase has boundaries {boundaries} and "
                       f"{warmup_steps} steps of warm-up; give increasing "
                       "boundaries, the first behind the warm-up")
    if not 0 < rate < float("inf") or not 0 < factor <= 1:
      raise InputError(f"Staircase has rate {rate!r} and factor {factor!r}; "
                       "give a rate above 0 and a factor in 0..1")
    self.rate, self.boundaries = rate, boundaries
    self.warmup_steps, self.factor = warmup_steps, factor

  def __call__(self, step):
    step = ops.cast(step, "float32")
    stairs = sum((ops.cast(step >= one, "float32") for one in self.boundaries),
                 ops.zeros(()))
    rate = self.rate * ops.power(ops.cast(self.factor, "float32"), stairs)
    if self.warmup_steps:
      rate = rate * ops.minimum(step / self.warmup_steps, 1.0)
    return rate

  def get_config(self) -> dict[str, Any]:
    return {"rate": self.rate, "boundaries": self.boundaries,
            "warmup_steps": self.warmup_steps, "factor": self.factor}


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
  optimizer.exclude_from_weight_decay(var_names=[f"^(?!{_KERNEL}$)"])
  # Keras leaves the exclusion out of an optimizer's configuration.
  optimizer.decays = "kernel"
  return optimizer


def accumulating(optimizer: keras.optimizers.Optimizer,
                 batches: int) -> keras.optimizers.Optimizer:
  """Makes an optimizer average the gradients of `batches` for each step.

  Args:
    optimizer: Not used yet.
    batches: 1 leaves it as it is.

  Returns:
    The same optimizer. Its schedule counts steps: Keras, left alone, would
    read a schedule at the number of batches.

  Raises:
    InputError: It averages weights (`use_ema`), which Keras would do at each
      batch, between two steps as well.
  """
  if batches == 1:
    return optimizer
  if optimizer.use_ema:
    raise InputError("gradients of several batches are not accumulated with an "
                     "optimizer that averages weights; give up use_ema, or "
                     "Recipe.accumulate")
  optimizer.gradient_accumulation_steps = batches
  schedule = optimizer.get_config()["learning_rate"]
  if isinstance(schedule, dict):
    optimizer.learning_rate = _Every(
        keras.optimizers.schedules.deserialize(schedule), batches)
  return optimizer


@keras.saving.register_keras_serializable("wsl_extraction")
class _Every(keras.optimizers.schedules.LearningRateSchedule):
  """A schedule that is read by the number of batches."""

  def __init__(self, schedule: Any, batches: int):
    self.schedule, self.batches = schedule, batches

  def __call__(self, step):
    return self.schedule(step // self.batches)

  def get_config(self) -> dict[str, Any]:
    return {"schedule": keras.saving.serialize_keras_object(self.schedule),
            "batches": self.batches}
