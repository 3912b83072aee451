"""Residual networks with groups (ResNet, ResNeXt), as torchvision has them.

References:
  K. He, X. Zhang, S. Ren, J. Sun. Deep Residual Learning for Image
    Recognition. CVPR 2016, table 1.
  S. Xie, R. Girshick, P. Dollár, Z. Tu, K. He. Aggregated Residual
    Transformations for Deep Neural Networks. CVPR 2017, section 3.
  S. Zagoruyko, N. Komodakis. Wide Residual Networks. BMVC 2016, table 8 (wide
    bottlenecks).
  D. Mahajan, R. Girshick, V. Ramanathan, K. He, M. Paluri, Y. Li, A. Bharambe,
    L. van der Maaten. Exploring the Limits of Weakly Supervised Pretraining.
    ECCV 2018 (ResNeXt-101 32 x Cd).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.networks.layers import check, layer_seed, logits

# Depth: whether its blocks are bottlenecks, and how many a stage has.
DESIGNS = {
    10: (False, (1, 1, 1, 1)),
    14: (True, (1, 1, 1, 1)),
    18: (False, (2, 2, 2, 2)),
    26: (True, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
# Of ImageNet's pixels in 0..1, as torchvision's networks were trained on.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The inner width that `width_per_group` is a share of; torchvision's constant.
_PLAIN_WIDTH = 64


def resnext(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    depth: int = 101,
    groups: int = 1,
    width_per_group: int = 64,
    width: int = 64,
    value_range: tuple[float, float] = (0.0, 255.0),
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    split_groups: bool = True,
    batch_norm_momentum: float = 0.9,
    seed: int | None = None,
    name: str | None = None,
) -> keras.Model:
  """Builds a ResNet-v1 that maps images [n, h, w, c] to logits [n, classes].

  ResNeXt-101 32x16d is depth 101 with 32 groups of 16; ResNet-50 is depth 50
  as it is; Wide ResNet-50-2 has 128 channels in its one group. The stride of a
  bottleneck lies in its 3 x 3 convolution, as in torchvision. Layers are called
  as in `keras.applications`; "logits" computes in float32 under any precision
  policy, and its input is the penultimate feature [n, f].

  Args:
    input_shape: Height, width and channels of an image.
    num_classes: How many logits.
    depth: Number of layers with weights on the longest path: 10, 18 or 34
      (basic blocks), 14, 26, 50, 101 or 152 (bottlenecks).
    groups: Into which a bottleneck's 3 x 3 convolution is divided.
    width_per_group: Channels of each of these groups in the first stage, for a
      `width` of 64; doubled by each further stage.
    width: Channels of the stem, and a quarter of those that leave the first
      stage of bottlenecks.
    value_range: The darkest and brightest value of the images that will be
      fed; a first layer maps it to 0..1, subtracts `mean` and divides by `std`.
    mean: Of each channel in 0..1.
    std: Of each channel in 0..1.
    split_groups: Whether each group is a convolution of its own. On CPUs that
      is several times as fast as one convolution with groups
      (benchmarks/resnext.py); weights and results are the same.
    batch_norm_momentum: Of the moving averages that evaluation uses, from 0
      to below 1.
    seed: Makes the initial weights those of this seed, whatever was drawn
      before; equal on the same backend only.
    name: Of the model; "resnext101_32x16d", "resnet50", say, by default.

  Returns:
    A functional model; its weights lie in memory only.

  Raises:
    InputError: No such depth, or an argument that no network can have.
  """
  _check(input_shape, num_classes, depth, groups, width_per_group, width,
         value_range, mean, std, batch_norm_momentum)
  bottleneck, stages = DESIGNS[depth]
  block = _bottleneck if bottleneck else _basic
  make = _Layers(batch_norm_momentum, seed, groups if split_groups else 1)
  images = keras.Input(tuple(input_shape), name="images")
  x = _standardised(images, value_range, mean, std)
  x = make.conv_norm(x, width, 7, "conv1", stride=2)
  x = layers.ReLU(name="conv1_relu")(x)
  # Zeros do not show where nothing is below zero.
  x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
  x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
  for stage, blocks in enumerate(stages):
    planes = width * 2**stage
    size = _Size(planes, inner_width(planes, groups, width_per_group), groups)
    for index in range(1, blocks + 1):
      stride = 2 if stage and index == 1 else 1
      x = block(make, x, size, stride, f"conv{stage + 2}_block{index}")
  x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
  initial = keras.initializers.GlorotUniform(layer_seed(seed, "logits"))
  return keras.Model(images, logits(x, num_classes, initial),
                     name=name or design_name(depth, groups, width_per_group))


def inner_width(planes: int, groups: int, width_per_group: int) -> int:
  """Channels of the 3 x 3 convolution in a bottleneck of so many planes."""
  return int(planes * width_per_group / _PLAIN_WIDTH) * groups


def design_name(depth: int, groups: int, width_per_group: int) -> str:
  """Torchvision's name of such a network, such as "resnext101_32x16d"."""
  if groups == 1 and width_per_group == _PLAIN_WIDTH:
    return f"resnet{depth}"
  return f"resnext{depth}_{groups}x{width_per_group}d"


@keras.saving.register_keras_serializable(package="wsl_extraction")
class SplitConv2D(layers.Conv2D):
  """A convolution with groups, computed group by group.

  Its weights and results are those of `keras.layers.Conv2D`.
  """

  def convolution_op(self, inputs: Any, kernel: Any) -> Any:
    pairs = zip(ops.split(inputs, self.groups, axis=-1),
                ops.split(kernel, self.groups, axis=-1), strict=True)
    return ops.concatenate(
        [super(SplitConv2D, self).convolution_op(one, filters)
         for one, filters in pairs], axis=-1)


@dataclasses.dataclass(frozen=True)
class _Size:
  """Of a block: its planes, and width and groups of a bottleneck's middle."""

  planes: int
  inner: int
  groups: int


@dataclasses.dataclass(frozen=True)
class _Layers:
  """The layers that blocks are made of."""

  momentum: float
  seed: int | None
  splits: int

  def conv_norm(self, x: Any, filters: int, kernel: int, name: str, *,
                stride: int = 1, groups: int = 1) -> Any:
    if kernel > 1:
      # "same" with a stride pads by the parity of the size; torch always pads
      # both sides.
      x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    kind = SplitConv2D if min(groups, self.splits) > 1 else layers.Conv2D
    initial = keras.initializers.VarianceScaling(
        2, "fan_out", "untruncated_normal",
        seed=layer_seed(self.seed, f"{name}_conv"))
    x = kind(filters, kernel, strides=stride, groups=groups, use_bias=False,
             kernel_initializer=initial, name=f"{name}_conv")(x)
    return layers.BatchNormalization(
        momentum=self.momentum, epsilon=1e-5, name=f"{name}_bn")(x)

  def joined(self, x: Any, before: Any, stride: int, name: str) -> Any:
    """Adds what a block started from, projected where shapes differ."""
    if stride > 1 or before.shape[-1] != x.shape[-1]:
      before = self.conv_norm(before, x.shape[-1], 1, f"{name}_0",
                              stride=stride)
    x = layers.Add(name=f"{name}_add")([before, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _basic(make: _Layers, x: Any, size: _Size, stride: int, name: str) -> Any:
  """Two 3 x 3 convolutions."""
  before = x
  x = make.conv_norm(x, size.planes, 3, f"{name}_1", stride=stride)
  x = layers.ReLU(name=f"{name}_1_relu")(x)
  x = make.conv_norm(x, size.planes, 3, f"{name}_2")
  return make.joined(x, before, stride, name)


def _bottleneck(make: _Layers, x: Any, size: _Size, stride: int,
                name: str) -> Any:
  """Convolutions of 1 x 1, 3 x 3 in groups, and 1 x 1."""
  before = x
  x = make.conv_norm(x, size.inner, 1, f"{name}_1")
  x = layers.ReLU(name=f"{name}_1_relu")(x)
  x = make.conv_norm(x, size.inner, 3, f"{name}_2", stride=stride,
                     groups=size.groups)
  x = layers.ReLU(name=f"{name}_2_relu")(x)
  x = make.conv_norm(x, 4 * size.planes, 1, f"{name}_3")
  return make.joined(x, before, stride, name)


def _standardised(images: Any, value_range: tuple[float, float],
                  mean: Sequence[float], std: Sequence[float]) -> Any:
  """((x - low) / (high - low) - mean) / std, in float32 under any policy."""
  low, high = (float(end) for end in value_range)
  scale = [1 / (high - low) / float(s) for s in std]
  offset = [(-low / (high - low) - float(m)) / float(s)
            for m, s in zip(mean, std, strict=True)]
  return layers.Rescaling(scale, offset, dtype="float32",
                          name="rescaling")(images)


def _check(input_shape: Any, num_classes: Any, depth: Any, groups: Any,
           width_per_group: Any, width: Any, value_range: Any, mean: Any,
           std: Any, batch_norm_momentum: Any) -> None:
  """Refuses what no network can have."""
  check("resnext", input_shape, num_classes, width, value_range,
              batch_norm_momentum)
  if not checks.is_whole(depth, 1) or depth not in DESIGNS:
    raise InputError(f"resnext: there is no network of depth {depth!r}; choose "
                     f"one of {', '.join(map(str, DESIGNS))}")
  if not checks.is_whole(groups, 1) or not checks.is_whole(width_per_group, 1):
    raise InputError(f"resnext: groups={groups!r}, width_per_group="
                     f"{width_per_group!r}; give whole numbers above 0")
  if not DESIGNS[depth][0] and (groups, width_per_group) != (1, _PLAIN_WIDTH):
    raise InputError(f"resnext: depth {depth} has no bottlenecks, so no groups "
                     "nor width_per_group; choose a depth of 14, 26, 50 or "
                     "more, or leave them out")
  if not inner_width(width, groups, width_per_group):
    raise InputError(f"resnext: width={width!r} times width_per_group="
                     f"{width_per_group!r} is below {_PLAIN_WIDTH}, which "
                     "leaves a group no channel; raise one of them")
  if not len(mean) == len(std) == input_shape[2] or min(std) <= 0:
    raise InputError(f"resnext: mean={mean!r}, std={std!r} for images of "
                     f"{input_shape[2]} channels; give a number for each "
                     "channel, std above 0")
