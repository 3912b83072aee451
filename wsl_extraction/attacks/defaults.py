"""The attacks that the Python interface takes where none is given."""

from __future__ import annotations

import functools

import keras
import numpy as np

from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.data.examples import Examples
from wsl_extraction.networks import dense
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.spaces import Images, Space
from wsl_extraction.training.recipe import Recipe

_STEPS = 800
_SMALLEST = 8  # pixels a side that the convolutional network takes


def default_attack(space: Space, pool: Examples) -> Learning:
  """Learns from responses at temperature 1.5.

  Images of at least 8 x 8 pixels are learnt by a ResNet-v2-8, other rows by a
  perceptron of two hidden layers, which standardises features by the pool.

  Args:
    space: The victim's inputs.
    pool: The adversary's examples.
  """
  if isinstance(space, Images) and min(space.height, space.width) >= _SMALLEST:
    network = functools.partial(
        resnet_v2, depth=8, width=32, stem="half", batch_norm_momentum=0.9)
    optimizer = _sgd
  else:
    rows = np.asarray(pool.rows[:10_000], np.float64).reshape(
        min(len(pool), 10_000), -1)
    network = functools.partial(
        dense.mlp, hidden=(128, 128), centre=rows.mean(axis=0),
        scale=rows.std(axis=0))
    optimizer = _adam
  return Learning(
      objective=Distillation(temperature=1.5),
      recipe=Recipe(network=network, optimizer=optimizer, steps=_STEPS,
                    batch_size=32))


def _sgd() -> keras.optimizers.Optimizer:
  return keras.optimizers.SGD(
      keras.optimizers.schedules.CosineDecay(0.1, _STEPS), momentum=0.9,
      nesterov=True)


def _adam() -> keras.optimizers.Optimizer:
  return keras.optimizers.Adam(
      keras.optimizers.schedules.CosineDecay(3e-3, _STEPS))
