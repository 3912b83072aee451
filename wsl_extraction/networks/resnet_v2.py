"""Residual networks with pre-activation (ResNet-v2), of any depth and size.

References:
  K. He, X. Zhang, S. Ren, J. Sun. Identity Mappings in Deep Residual
    Networks. ECCV 2016.
  K. He, X. Zhang, S. Ren, J. Sun. Delving Deep into Rectifiers. ICCV 2015
    (the initial weights).
"""

from __future__ import annotations

import dataclasses
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

# Depth: blocks a stage, of the networks for ImageNet.
_FOUR_STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
_SHALLOWEST = 8
# Of the depths that both kinds of block can form (20, 38, ... 110, ... 164),
# the paper builds 110 of basic blocks and 164 of bottlenecks.
_BOTTLENECKS_FROM = 164
# Stem: the factor by which it shrinks an image.
_STEMS = {"cifar": 1, "half": 2, "imagenet": 4}
_LARGEST_SMALL_SIDE = 64


def resnet_v2(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int = 8,
    width: int | None = None,
    stem: str | None = None,
    value_range: tuple[float, float] = (0.0, 255.0),
    batch_norm_momentum: float = 0.99,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
  """Builds a ResNet-v2 that maps images [n, h, w, c] to logits [n, classes].

  Depths 18, 34 (basic blocks), 50, 101, 152, 200 (bottlenecks) have the four
  stages of the networks for ImageNet. All other depths have the three stages
  of those for CIFAR: 6n + 2 of basic blocks (8, 14, 20, ... 110, ...) or
  9n + 2 of bottlenecks (11, 29, ... 164, ... 1001); a depth that is both is
  basic below 164. As in `keras.applications`, whose layer names are kept, a
  stage but the last halves the image in its last block; the outer
  convolutions have biases. The layer "logits" computes in float32 under any
  precision policy, and its input is the penultimate feature [n, f].

  Weight decay is the optimizer's. Short trainings should lower
  `batch_norm_momentum`, or evaluation will lag behind by hundreds of steps.

  Args:
    input_shape: Height, width and channels of an image, in pixels; any that
      leave at least one pixel after the last stage.
    num_classes: How many logits.
    depth: Number of layers with weights on the longest path.
    width: Channels of the first stage, doubled by each further one (and four
      times as many at the ends of bottlenecks); 64 with four stages, else 16.
    stem: "cifar" (3 x 3, stride 1), "half" (3 x 3, stride 2: about twice as
      fast) or "imagenet" (7 x 7 and max pooling, stride 4 together); by
      default "cifar" where both sides are at most 64, else "imagenet".
    value_range: The darkest and brightest value of the images that will be
      fed; a first layer maps it to -1..1, so a saved network needs no other
      preparation of its input.
    batch_norm_momentum: Of the moving averages that evaluation uses, from 0
      to below 1.
    seed: Makes the initial weights those of this seed, whatever was drawn
      before; equal on the same backend only.
    name: Of the model; "resnet_v2_DEPTH" by default.

  Returns:
    A functional model; its weights lie in memory only.

  Raises:
    InputError: No such depth, or an argument that no network can have.
  """
  design = _design(depth)
  width = design.width if width is None else width
  check("resnet_v2", input_shape, num_classes, width, value_range,
              batch_norm_momentum)
  stem = _fitting_stem(input_shape[:2], stem, len(design.blocks))
  make = _Layers(batch_norm_momentum, seed)
  images = keras.Input(tuple(input_shape), name="images")
  x = _STEM_LAYERS[stem](make, centred(images, value_range), width)
  for stage, blocks in enumerate(design.blocks):
    last = stage == len(design.blocks) - 1
    for block in range(1, blocks + 1):
      stride = 2 if block == blocks and not last else 1
      label = f"conv{stage + 2}_block{block}"
      x = design.block(make, x, width * 2**stage, stride, label)
  x = make.norm_relu(x, "post")
  x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
  initial = keras.initializers.GlorotUniform(layer_seed(seed, "logits"))
  return keras.Model(images, logits(x, num_classes, initial),
                     name=name or f"resnet_v2_{depth}")


@dataclasses.dataclass(frozen=True)
class _Layers:
  """The layers that blocks are made of."""

  momentum: float
  seed: int | None

  def norm_relu(self, x: Any, name: str, norm: str = "_bn") -> Any:
    x = layers.BatchNormalization(
        momentum=self.momentum, epsilon=1.001e-5, name=name + norm)(x)
    return layers.ReLU(name=f"{name}_relu")(x)

  def conv(self, x: Any, filters: int, kernel: int, name: str, *,
           stride: int = 1, bias: bool = False) -> Any:
    # "same" with a stride pads by the parity of the size; keras.applications
    # always pads both sides.
    padding = "same" if stride == 1 else "valid"
    if stride > 1 and kernel > 1:
      x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    initial = keras.initializers.HeNormal(layer_seed(self.seed, name))
    return layers.Conv2D(
        filters, kernel, strides=stride, padding=padding, use_bias=bias,
        kernel_initializer=initial, name=name)(x)

  def shortcut(self, x: Any, active: Any, filters: int, stride: int,
               name: str) -> Any:
    """The identity where it fits, else a projection of the activations."""
    if x.shape[-1] != filters:
      return self.conv(active, filters, 1, f"{name}_0_conv", stride=stride,
                       bias=True)
    if stride > 1:
      return layers.MaxPooling2D(1, strides=stride, name=f"{name}_0_pool")(x)
    return x


def _basic(make: _Layers, x: Any, filters: int, stride: int,
           name: str) -> Any:
  """Two 3 x 3 convolutions (figure 4e of the paper)."""
  active = make.norm_relu(x, f"{name}_preact")
  shortcut = make.shortcut(x, active, filters, stride, name)
  x = make.conv(active, filters, 3, f"{name}_1_conv", stride=stride)
  x = make.norm_relu(x, f"{name}_1")
  x = make.conv(x, filters, 3, f"{name}_2_conv", bias=True)
  return layers.Add(name=f"{name}_out")([shortcut, x])


def _bottleneck(make: _Layers, x: Any, filters: int, stride: int,
                name: str) -> Any:
  """Convolutions of 1 x 1, 3 x 3, and 1 x 1 with four times the filters."""
  active = make.norm_relu(x, f"{name}_preact")
  shortcut = make.shortcut(x, active, 4 * filters, stride, name)
  x = make.conv(active, filters, 1, f"{name}_1_conv")
  x = make.norm_relu(x, f"{name}_1")
  x = make.conv(x, filters, 3, f"{name}_2_conv", stride=stride)
  x = make.norm_relu(x, f"{name}_2")
  x = make.conv(x, 4 * filters, 1, f"{name}_3_conv", bias=True)
  return layers.Add(name=f"{name}_out")([shortcut, x])


def _cifar_stem(make: _Layers, x: Any, width: int) -> Any:
  return make.conv(x, width, 3, "conv1_conv", bias=True)


def _half_stem(make: _Layers, x: Any, width: int) -> Any:
  return make.conv(x, width, 3, "conv1_conv", stride=2, bias=True)


def _imagenet_stem(make: _Layers, x: Any, width: int) -> Any:
  x = make.conv(x, width, 7, "conv1_conv", stride=2, bias=True)
  x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
  return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


_STEM_LAYERS = {"cifar": _cifar_stem, "half": _half_stem,
                "imagenet": _imagenet_stem}


@dataclasses.dataclass(frozen=True)
class _Design:
  """The blocks of a depth."""

  block: Any
  blocks: tuple[int, ...]
  width: int


def _design(depth: int) -> _Design:
  check_depth("resnet_v2", depth, _is_valid, _SHALLOWEST)
  if depth in _FOUR_STAGES:
    block = _basic if depth < 50 else _bottleneck
    return _Design(block, _FOUR_STAGES[depth], 64)
  basic = (depth - 2) % 6 == 0
  if basic and (depth < _BOTTLENECKS_FROM or (depth - 2) % 9):
    return _Design(_basic, ((depth - 2) // 6,) * 3, 16)
  return _Design(_bottleneck, ((depth - 2) // 9,) * 3, 16)


def _is_valid(depth: int) -> bool:
  return depth in _FOUR_STAGES or (
      depth >= _SHALLOWEST and 0 in ((depth - 2) % 6, (depth - 2) % 9))


def _fitting_stem(sides: tuple[int, int], stem: Any, stages: int) -> str:
  if stem is None:
    stem = "cifar" if max(sides) <= _LARGEST_SMALL_SIDE else "imagenet"
  if stem not in _STEMS:
    raise InputError(f"resnet_v2: there is no stem {stem!r}; choose one of "
                     f"{', '.join(_STEMS)}, or None for that of the size")
  shrinks = _STEMS[stem] * 2 ** (stages - 1)
  if min(sides) < shrinks:
    raise InputError(
        f"resnet_v2: images of {sides[0]} x {sides[1]} pixels with stem "
        f"{stem!r} and {stages} stages, which divide a side by {shrinks}; "
        "enlarge the images or choose another stem or depth")
  return stem
