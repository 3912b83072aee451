"""The attacks that the Python interface takes where none is given."""

from __future__ import annotations

import functools

import keras

from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.networks import dense
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.spaces import Images, Space
from wsl_extraction.training.recipe import Recipe

_STEPS = 800
_SMALLEST = 8  # pixels a side that the convolutional network takes


def default_attack(space: Space) -> Learning:
  """Learns from responses at temperature 1.5.

  Images of at least 8 x 8 pixels are learnt by a ResNet-v2-8, other rows by a
  perceptron of two hidden layers, whose features are standardised by the pool.

  Args:
    space: The victim's inputs.
  """
  if isinstance(space, Images) and min(space.height, space.width) >= _SMALLEST:
    network = functools.partial(
        resnet_v2, depth=8, width=32, stem="half", batch_norm_momentum=0.9)
    optimizer, standardize = _sgd, False
  else:
    network = functools.partial(dense.mlp, hidden=(128, 128))
    optimizer, standardize = _adam, True
  return Learning(
      objective=Distillation(temperature=1.5),
      recipe=Recipe(network=network, optimizer=optimizer, steps=_STEPS,
                    batch_size=32, standardize=standardize))


def _sgd() -> keras.optimizers.Optimizer:
  return keras.optimizers.SGD(
      keras.optimizers.schedules.CosineDecay(0.1, _STEPS), momentum=0.9,
      nesterov=True)


def _adam() -> keras.optimizers.Optimizer:
  return keras.optimizers.Adam(
      keras.optimizers.schedules.CosineDecay(3e-3, _STEPS))
