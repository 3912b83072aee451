"""Random variation of training images, on the device that trains."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Images, Space


@keras.saving.register_keras_serializable("wsl_extraction")
class Augment(keras.layers.Layer):
  """Translates and mirrors each image at random, while training.

  Every image is moved by whole pixels, up to `shift` of them down or up and
  right or left, all equally likely; what enters at a border is the image's
  own reflection (as `numpy.pad` with mode "reflect"). Then, with `flip`, it is
  mirrored left to right with probability 1/2. Values and their type stay as
  they are: [n, h, w, c] of uint8 or float to the same.

  One gather does it, as Keras' own random layers for this cannot be compiled
  by XLA. The draws follow from a seed whose state is a variable of the layer:
  a checkpoint of the variables continues the same stream.

  References:
    S. Zagoruyko, N. Komodakis. Wide Residual Networks. BMVC 2016, section 3
      (mirroring, and random crops from reflected images).
  """

  def __init__(self, shift: int | float = 2, flip: bool = False,
               seed: int | None = 0, **kwargs: Any):
    """Remembers what to draw.

    Args:
      shift: Largest translation along each axis: a whole number of pixels, or a
        share of the shorter side, 0 < shift < 1, in whole pixels that are not
        more, so that one setting serves images of all sizes.
      flip: Whether to mirror as well.
      seed: Of the stream of draws; None takes any.
      **kwargs: Those of a Keras layer (name).

    Raises:
      InputError: `shift` is neither a whole number of at least 0 nor a share;
        or, once the layer sees images, it is not smaller than their sides.
    """
    # Else a policy of mixed precision would round the images.
    super().__init__(autocast=False, **kwargs)
    is_share = isinstance(shift, float) and 0 < shift < 1
    self.shift = shift if is_share else checks.whole("Augment.shift", shift)
    self.pixels = 0 if is_share else self.shift
    self.flip = checks.flag("Augment.flip", flip)
    self.seed = seed
    self.seed_generator = keras.random.SeedGenerator(seed)

  def build(self, input_shape: tuple[int | None, ...]) -> None:
    _, height, width, _ = input_shape
    if isinstance(self.shift, float):
      if height is None or width is None:
        raise InputError(
            f"Augment: shift={self.shift} is a share of sides that are not "
            "known; give a whole number of pixels")
      self.pixels = int(self.shift * min(height, width))
    for side in (height, width):
      if side is not None and self.pixels >= side:
        raise InputError(
            f"Augment: shift={self.shift} for images of {height} x {width} "
            "pixels; give a shift below both sides")
    self.built = True

  def call(self, images: Any, training: bool = False) -> Any:
    """Returns the images varied if `training`, else as they are."""
    if not training or not (self.pixels or self.flip):
      return images
    return self.moved(images, *self.draw(ops.shape(images)[0]))

  def draw(self, count: Any) -> tuple[Any, Any]:
    """Draws the variation of `count` images.

    Returns:
      The offsets [count, 2] (int32, rows and columns, -pixels..pixels) at which
      an image is read, and whether it is mirrored [count, 1] (int32, 0 or 1).
    """
    offsets = keras.random.randint(
        (count, 2), -self.pixels, self.pixels + 1, seed=self.seed_generator)
    if not self.flip:
      return offsets, ops.zeros((count, 1), "int32")
    return offsets, keras.random.randint(
        (count, 1), 0, 2, seed=self.seed_generator)

  def moved(self, images: Any, offsets: Any, mirrored: Any) -> Any:
    """Applies what `draw` returned to images [n, h, w, c]."""
    count, height, width, channels = ops.shape(images)
    columns = ops.arange(width)
    columns = columns + mirrored * (width - 1 - 2 * columns)
    rows = _reflected(ops.arange(height) + offsets[:, :1], height)
    columns = _reflected(columns + offsets[:, 1:], width)
    # A single list of pixels to copy: two gathers along an axis each, or a
    # padded copy, cost several times as much on CPUs.
    rows = rows + height * ops.arange(count)[:, None]
    pixels = width * rows[:, :, None] + columns[:, None, :]
    flat = ops.reshape(images, (count * height * width, channels))
    return ops.take(flat, pixels, axis=0)

  def compute_output_shape(self, input_shape: Any) -> Any:
    return input_shape

  def get_config(self) -> dict[str, Any]:
    return {**super().get_config(), "shift": self.shift, "flip": self.flip,
            "seed": self.seed}


def check_layer(layer: keras.layers.Layer, space: Space) -> None:
  """Makes sure that a layer can augment rows of a space, by two of them.

  Raises:
    InputError: It cannot, or changes their shape.
  """
  if isinstance(layer, Augment) and not isinstance(space, Images):
    raise InputError("Recipe.augment moves and mirrors images, and the rows are"
                     f" vectors of {space.features} numbers; leave it out")
  rows = space.sample(2, np.random.default_rng(0)).astype(np.float32)
  try:
    shape = tuple(layer(rows, training=True).shape)
  except InputError:
    raise
  except Exception as error:  # of a layer of the user's
    said = " ".join(str(error).split())[:200]
    raise InputError(f"Recipe.augment cannot take rows of shape {rows.shape} "
                     f"({said}); leave it out, or mend it") from error
  if shape != rows.shape:
    raise InputError(f"Recipe.augment makes {shape} of rows of shape "
                     f"{rows.shape}; give one that keeps the shape")


def _reflected(places: Any, side: int) -> Any:
  """Places along an axis, those beyond its ends mirrored at them."""
  return side - 1 - ops.absolute(side - 1 - ops.absolute(places))
