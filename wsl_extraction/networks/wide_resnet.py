"""Wide residual networks, as studies of semi-supervised learning use them.

References:
  S. Zagoruyko, N. Komodakis. Wide Residual Networks. BMVC 2016.
  A. Oliver, A. Odena, C. Raffel, E. D. Cubuk, I. Goodfellow. Realistic
    Evaluation of Deep Semi-Supervised Learning Algorithms. NeurIPS 2018,
    section 4.1 (leaky ReLU, the common ground of the comparisons).
  D. Berthelot, N. Carlini, I. Goodfellow, N. Papernot, A. Oliver, C. Raffel.
    MixMatch: A Holistic Approach to Semi-Supervised Learning. NeurIPS 2019,
    section 4.1, and the class ResNet of its authors' code.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
from keras import layers

from wsl_extraction.errors import InputError
from wsl_extraction.networks.layers import (
    centred,
    check,
    check_depth,
    layer_seed,
    logits,
)

_STAGES = 3
_SHALLOWEST = 10
_STEM_FILTERS = 16
_FIRST_BLOCK = "conv2_block1"
# Two stages halve the image, and one pixel must be left.
_SMALLEST_SIDE = 2 ** (_STAGES - 1)


def wide_resnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int = 28,
    width: int = 2,
    value_range: tuple[float, float] = (0.0, 255.0),
    batch_norm_momentum: float = 0.999,
    seed: int | None = None,
) -> keras.Model:
  """Builds WRN-depth-width: images [n, h, w, c] to logits [n, classes].

  A 3 x 3 convolution of 16 filters, three stages of (depth - 4) / 6 blocks with
  16, 32 and 64 times `width` filters, batch normalisation, leaky ReLU, the
  mean over the image, and a dense layer. A block normalises (epsilon 0.001),
  activates (slope 0.1) and convolves twice, 3 x 3; the first of the second and
  the third stage halves the image, rounding up. Where the filters change, the
  shortcut is a 1 x 1 convolution without normalisation; the first block of all
  feeds it what is activated already, the others what comes in.

  Convolutions have biases and normal initial weights of variance
  2 / (k * k * filters). They pad as TensorFlow does: at stride 2 an even side
  gets one row more below than above. WRN-28-2 for 32 x 32 x 3 and ten classes
  has 1,469,642 trainable parameters, and 3,616 moving averages.

  It is the network of MixMatch's authors for images of 17 to 32 pixels. They
  give larger ones more stages; here there are three at any size, so that a
  depth means the same everywhere. The layer "logits" computes in float32 under
  any precision policy; its input is the penultimate feature [n, 64 * width].
  Weight decay is the optimizer's.

  Args:
    input_shape: Height, width and channels of an image, sides of 4 pixels or
      more.
    num_classes: How many logits.
    depth: 6 n + 4 for blocks of which each stage has n: 10, 16, ... 28, ...
    width: Of the stages, relative to a ResNet of 16, 32 and 64 filters.
    value_range: The darkest and brightest value of the images that will be
      fed; a first layer maps it to -1..1, so a saved network needs no other
      preparation of its input.
    batch_norm_momentum: Of the moving averages that evaluation uses; at 0.999
      they lag by a thousand steps, so short trainings should lower it.
    seed: Makes the initial weights those of this seed, whatever was drawn
      before; equal on the same backend only.

  Returns:
    A functional model; its weights lie in memory only.

  Raises:
    InputError: No such depth, or an argument that no network can have.
  """
  _check(input_shape, num_classes, depth, width, value_range,
         batch_norm_momentum)
  make = _Layers(batch_norm_momentum, seed)
  images = keras.Input(tuple(input_shape), name="images")
  x = make.conv(centred(images, value_range), _STEM_FILTERS, 3, "conv1")
  for stage in range(_STAGES):
    for block in range(1, (depth - 4) // 6 + 1):
      stride = 2 if stage and block == 1 else 1
      name = f"conv{stage + 2}_block{block}"
      x = _block(make, x, 16 * width * 2**stage, stride, name)
  x = make.norm_relu(x, "post")
  x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
  initial = keras.initializers.GlorotNormal(layer_seed(seed, "logits"))
  return keras.Model(images, logits(x, num_classes, initial),
                     name=f"wide_resnet_{depth}_{width}")


@dataclasses.dataclass(frozen=True)
class _Layers:
  """The layers that blocks are made of."""

  momentum: float
  seed: int | None

  def norm_relu(self, x: Any, name: str) -> Any:
    x = layers.BatchNormalization(
        momentum=self.momentum, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.LeakyReLU(0.1, name=f"{name}_relu")(x)

  def conv(self, x: Any, filters: int, kernel: int, name: str,
           stride: int = 1) -> Any:
    initial = keras.initializers.RandomNormal(
        stddev=math.sqrt(2 / (kernel**2 * filters)),
        seed=layer_seed(self.seed, name))
    return layers.Conv2D(
        filters, kernel, strides=stride, padding="same",
        kernel_initializer=initial, name=name)(x)


def _block(make: _Layers, x: Any, filters: int, stride: int,
           name: str) -> Any:
  """Two 3 x 3 convolutions beside a shortcut."""
  active = make.norm_relu(x, f"{name}_1")
  shortcut = active if name == _FIRST_BLOCK else x
  if shortcut.shape[-1] != filters:
    shortcut = make.conv(shortcut, filters, 1, f"{name}_0_conv", stride)
  x = make.conv(active, filters, 3, f"{name}_1_conv", stride)
  x = make.norm_relu(x, f"{name}_2")
  x = make.conv(x, filters, 3, f"{name}_2_conv")
  return layers.Add(name=f"{name}_out")([shortcut, x])


def _check(input_shape: Any, num_classes: Any, depth: Any, width: Any,
           value_range: Any, batch_norm_momentum: Any) -> None:
  """Refuses what no network can have."""
  check_depth("wide_resnet", depth, _is_valid, _SHALLOWEST)
  check("wide_resnet", input_shape, num_classes, width, value_range,
              batch_norm_momentum)
  if min(input_shape[:2]) < _SMALLEST_SIDE:
    raise InputError(
        f"wide_resnet: images of {input_shape[0]} x {input_shape[1]} pixels "
        f"and stages that divide a side by {_SMALLEST_SIDE}; enlarge the "
        "images or choose another network")


def _is_valid(depth: int) -> bool:
  return depth >= _SHALLOWEST and (depth - 4) % 6 == 0
