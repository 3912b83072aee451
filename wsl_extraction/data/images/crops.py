"""Random crops of training images, decoded as little as possible."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data.images import decode, jpeg
from wsl_extraction.errors import InputError

_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Crop:
  """A part of an image in pixels, and whether to mirror it left to right."""

  left: int
  top: int
  width: int
  height: int
  flip: bool


@dataclasses.dataclass(frozen=True)
class InceptionCrop:
  """A random part of random shape, mirrored with probability 1/2.

  The share of the image's area is uniform and the logarithm of the aspect
  ratio is uniform, both drawn anew until the part lies inside the image; its
  place is uniform. After ten draws that do not fit (very long images) it is
  the largest part in the middle whose ratio is allowed.

  The part is brought to a square bilinearly and antialiased: each pixel of the
  result is a mean, weighted by a triangle, of as many pixels as it covers. That
  is Pillow's `crop` followed by `resize`. (`tf.image.resize` takes two pixels
  along each axis unless it is told `antialias=True`.)

  Attributes:
    area: The least and the largest share of the area, in 0..1.
    ratio: The least and the largest width / height.
    flip: Whether to mirror.

  References:
    Szegedy et al., 2015, Going Deeper with Convolutions, section 6 (8% to 100%
    of the area, ratio between 3/4 and 4/3). How the ratio is drawn is not said
    there; uniform in its logarithm, wide and high are equally likely.
  """

  area: tuple[float, float] = (0.08, 1.0)
  ratio: tuple[float, float] = (3 / 4, 4 / 3)
  flip: bool = True

  def __post_init__(self):
    _check("area", self.area, 1.0)
    _check("ratio", self.ratio, math.inf)
    checks.flag("InceptionCrop.flip", self.flip)

  def draw(self, height: int, width: int, rng: np.random.Generator) -> Crop:
    """Draws the part of an image of `height` x `width` pixels."""
    flip = self.flip and bool(rng.random() < 0.5)
    low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
    # Uniform numbers by hand: `rng.uniform` takes three times as long.
    for share, shape in rng.random((_TRIES, 2)).tolist():
      size = height * width * (
          self.area[0] + share * (self.area[1] - self.area[0]))
      ratio = math.exp(low + shape * (high - low))
      w, h = round(math.sqrt(size * ratio)), round(math.sqrt(size / ratio))
      if 0 < w <= width and 0 < h <= height:
        return Crop(int(rng.random() * (width - w + 1)),
                   int(rng.random() * (height - h + 1)), w, h, flip)
    return self._middle(height, width, flip)

  def _middle(self, height: int, width: int, flip: bool) -> Crop:
    ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
    w = max(1, min(width, round(height * ratio)))
    h = max(1, min(height, round(width / ratio)))
    return Crop((width - w) // 2, (height - h) // 2, w, h, flip)


def view(file: bytes, box: Crop, image_size: int, where: str,
         size: tuple[int, int], turned: bool) -> np.ndarray:
  """Decodes one part of an image.

  Args:
    file: The encoded image.
    box: The part.
    image_size: The side of the result.
    where: What to call the image in an error.
    size: Its (height, width) as `box` was drawn for it.
    turned: Whether to turn the image as its EXIF orientation says, first.

  Returns:
    `[image_size, image_size, 3]` uint8. From plain JPEG files, where the
    packages simplejpeg and cykooz-resizer are installed, by these; else by
    Pillow, three times slower and the same to two levels of 255.

  Raises:
    InputError: The image is damaged, or is not the one that was indexed.
  """
  result = None
  if jpeg.AVAILABLE and not turned:
    result = jpeg.view(file, box.left, box.top, box.width, box.height,
                       image_size, size)
  if result is None:
    result = _plain(file, box, image_size, where, size, turned)
  return result[:, ::-1] if box.flip else result


def _plain(file: bytes, box: Crop, image_size: int, where: str,
           size: tuple[int, int], turned: bool) -> np.ndarray:
  from PIL import Image

  whole = decode.decode(file, 3, None, False, where, turned)
  if whole.shape[:2] != size:
    raise InputError(f"{where} has changed while it was in use; start again")
  part = Image.fromarray(whole[box.top:box.top + box.height,
                               box.left:box.left + box.width])
  return np.asarray(part.resize(
      (image_size, image_size), Image.Resampling.BILINEAR))


def _check(name: str, span: tuple[float, float], most: float) -> None:
  known = isinstance(span, (tuple, list)) and len(span) == 2 and all(
      map(checks.is_number, span))
  if not known or not 0 < span[0] <= span[1] <= most:
    above = "" if most == math.inf else f" and at most {most:g}"
    checks.refuse(f"InceptionCrop.{name}", span, f"two numbers above 0{above}, "
                  "the smaller one first")
