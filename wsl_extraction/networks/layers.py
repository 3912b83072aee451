"""Common parts of the networks: stem, head, seeds and argument checks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from wsl_extraction import checks
from wsl_extraction.errors import InputError


def centred(images: Any, value_range: tuple[float, float]) -> Any:
  """Maps `value_range` to -1..1, in float32 under any precision policy."""
  low, high = (float(end) for end in value_range)
  scale = 2 / (high - low)
  return layers.Rescaling(scale, -1 - low * scale, dtype="float32",
                          name="rescaling")(images)


def logits(features: Any, num_classes: int,
           initial: keras.initializers.Initializer) -> Any:
  """Maps features [n, f] to logits, in float32 under any precision policy."""
  return layers.Dense(num_classes, kernel_initializer=initial, dtype="float32",
                      name="logits")(features)


def layer_seed(seed: int | None, name: str) -> int | None:
  """The seed of the initial weights of the layer of that name."""
  # Hashed, since on torch seeds that are close give shifted copies of one
  # stream; 31 bits are valid on every backend.
  if seed is None:
    return None
  entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
  return int(entropy.generate_state(1)[0] >> 1)


def check(network: str, input_shape: Any, num_classes: Any, width: Any,
          value_range: Any, batch_norm_momentum: Any) -> None:
  """Refuses what no network can have.

  Raises:
    InputError: One of the arguments, of the function named `network`.
  """
  if keras.config.image_data_format() != "channels_last":
    raise InputError(f"{network}: images are [n, h, w, c]; set "
                     "image_data_format to channels_last in keras.json")
  if len(input_shape) != 3 or not all(
      checks.is_whole(side, 1) for side in input_shape):
    raise InputError(f"{network}: input_shape={input_shape!r}; give height, "
                     "width and channels, three whole numbers above 0")
  if not checks.is_whole(num_classes, 1) or not checks.is_whole(width, 1):
    raise InputError(f"{network}: num_classes={num_classes!r}, width="
                     f"{width!r}; give whole numbers above 0")
  low, high = value_range
  if not -math.inf < low < high < math.inf:
    raise InputError(f"{network}: value_range={value_range!r}; give the "
                     "lowest and the highest value of an image")
  momentum = batch_norm_momentum
  if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
    raise InputError(f"{network}: batch_norm_momentum={momentum!r}; give a "
                     "number of at least 0 and below 1, such as 0.99")


def check_depth(network: str, depth: Any, is_valid: Callable[[int], bool],
                least: int) -> None:
  """Refuses a depth that no network has, and names those on both sides of it.

  Args:
    network: Whose depth.
    depth: Anything.
    is_valid: Whether there is a network of that depth; at least one in six
      whole numbers from `least` on.
    least: The smallest valid depth.

  Raises:
    InputError: It is not valid.
  """
  if checks.is_whole(depth, 1) and is_valid(depth):
    return
  try:
    start = max(math.floor(depth), 0)
  except (TypeError, ValueError, OverflowError):
    start = 0
  below = [d for d in range(start, start - 6, -1) if is_valid(d)]
  above = [d for d in range(start + 1, start + least + 1) if is_valid(d)]
  near = " and ".join(str(d) for d in below[:1] + above[:1])
  raise InputError(f"{network}: there is no network of depth {depth!r}; the "
                   f"nearest valid: {near}")
