"""Image files as arrays of one size and one number of channels."""

from __future__ import annotations

import io
import math
import os
import pathlib
import typing
import warnings

import numpy as np

from wsl_extraction.data.images import jpeg
from wsl_extraction.errors import DataWarning, InputError

if typing.TYPE_CHECKING:
  from PIL import Image

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Numbers of `PIL.Image.Transpose` by EXIF orientations (EXIF 2.3, 4.6.4).
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_GREY_MODES = ("1", "L", "LA", "La", "I")


def decode(file: bytes | os.PathLike, channels: int, image_size: int | None,
           crop: bool, where: str, upright: bool) -> np.ndarray:
  """Decodes one image file.

  Palettes and CMYK become RGB; colour becomes grey where `channels` is 1 and
  grey becomes colour where it is 3; transparent parts are laid on white; of 16
  bits the upper 8 are kept; of several frames, the first. Colour profiles are
  not applied, as torchvision and tensorflow-datasets do not.

  Args:
    file: The bytes of an image file, or its path.
    channels: 1, 3 or 4 (RGBA as it is).
    image_size: The side of the result; None keeps the image's own size.
    crop: How `image_size` is reached, see `resize`.
    where: What to call the image in an error.
    upright: Whether to turn the image as its EXIF orientation says.

  Returns:
    `[h, w, channels]` uint8.

  Raises:
    InputError: It is no image, is damaged, cannot be read, or holds values
      that are not grey levels or colours.
  """
  from PIL import Image

  def whole(image: Image.Image) -> np.ndarray:
    if upright and (method := _TURNS.get(orientation(image))) is not None:
      image = image.transpose(Image.Transpose(method))
    image = _converted(image, channels, where)
    if image_size is not None:
      image = resize(image, image_size, crop)
    return np.asarray(image)

  pixels = opened(file, where, whole)
  return pixels[..., np.newaxis] if channels == 1 else pixels


def check_whole(file: bytes, where: str) -> None:
  """Refuses an image whose end or middle is damaged, as far as one can see.

  Decoders give half an image in silence: Pillow of a JPEG file, and of a PNG
  file whose checksums it does not compare. Other formats have no checksums. A
  JPEG file that may be damaged, and may be whole, is warned of.

  Args:
    file: The encoded image.
    where: What to call the image in an error.

  Raises:
    InputError: It is damaged.
  """
  if file.startswith(b"\x89PNG"):
    opened(file, where, lambda image: image.verify())
  remark = jpeg.fault(file)
  if remark and jpeg.is_doubtful(remark):
    warnings.warn(f"{where} may be damaged: {printable(remark)}; look at it",
                  DataWarning, stacklevel=2)
  elif remark:
    raise InputError(f"cannot read {where}: {printable(remark)}; repair or "
                     "remove it")


def survey(path: pathlib.Path, where: str) -> tuple[int, tuple[int, int]]:
  """Reads the head of an image file, which is much quicker than decoding.

  Returns:
    The number of channels it needs, 1 or 3, and `(height, width)` upright.

  Raises:
    InputError: It is no image or cannot be read.
  """
  def head(image: Image.Image) -> tuple[int, tuple[int, int]]:
    grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
    width, height = image.size
    if lies_on_its_side(orientation(image)):
      width, height = height, width
    return 1 if grey else 3, (height, width)

  return opened(path, where, head)


def orientation(image: Image.Image) -> int:
  """The EXIF orientation, 1 to 8; 1, upright, of what is none."""
  from PIL import ExifTags

  try:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # of damaged metadata, Pillow raises of any kind
    return 1
  return value if isinstance(value, int) and 1 <= value <= 8 else 1


def lies_on_its_side(value: int) -> bool:
  """True of the orientations 5 to 8 (EXIF 2.3, section 4.6.4)."""
  return value >= 5


def resize(image: Image.Image, image_size: int, crop: bool) -> Image.Image:
  """Brings an image to a square of `image_size` pixels, bilinearly.

  Args:
    image: The image; one that has this size already is returned as it is.
    image_size: The side of the result.
    crop: If true, the shorter side becomes `image_size * 256 / 224` and the
      middle is kept, so nothing is distorted; if false, the whole image is
      stretched.

  References:
    He, Zhang, Ren and Sun, 2015, Deep Residual Learning for Image Recognition,
    section 3.4 (the shorter side and the centre crop).
  """
  from PIL import Image

  if image.size == (image_size, image_size):
    return image
  if not crop:
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)
  shorter = round(image_size * 256 / 224)
  scale = shorter / min(image.size)
  width, height = (max(shorter, int(side * scale)) for side in image.size)
  image = image.resize((width, height), Image.Resampling.BILINEAR)
  left, top = (width - image_size) // 2, (height - image_size) // 2
  return image.crop((left, top, left + image_size, top + image_size))


def resize_arrays(images: np.ndarray, image_size: int | None) -> np.ndarray:
  """Resizes arrays `[n, h, w, c]`, uint8 or float32, each channel by itself.

  Square images are stretched whole; others are cropped as `resize` says.
  """
  from PIL import Image

  height, width = images.shape[1:3]
  if image_size is None or height == width == image_size:
    return images
  count, channels = len(images), images.shape[3]
  shape = (image_size, image_size, channels)
  check_memory(count * math.prod(shape) * images.itemsize, "resizing")
  result = np.empty((count, *shape), images.dtype)
  for index, channel in np.ndindex(count, channels):
    plane = Image.fromarray(np.ascontiguousarray(images[index, :, :, channel]))
    result[index, :, :, channel] = resize(plane, image_size, height != width)
  return result


def check_memory(needed: int, where: str) -> None:
  """Refuses what would not fit, before anything is decoded.

  Args:
    needed: Bytes of the decoded images.
    where: What needs them.

  Raises:
    InputError: They exceed half of the memory that is free; the other half is
      for the copies that a split takes, and for training.
  """
  allowed = _free_memory() // 2
  if needed > allowed:
    raise InputError(
        f"{where} needs {needed / 2**30:.1f} GiB once decoded and at most"
        f" {allowed / 2**30:.1f} GiB (half of the free memory) may be used;"
        " give a smaller image_size or a data set with fewer images")


def printable(text: object) -> str:
  """Returns `text` with line breaks and undecodable bytes escaped."""
  return "".join(
      letter if letter.isprintable() else ascii(letter)[1:-1]
      for letter in str(text))


def reason(error: Exception) -> str:
  """Returns the one line that an error of another library amounts to."""
  text = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
  return printable(text or type(error).__name__)


def opened(file: bytes | os.PathLike, where: str, use):
  """Calls `use` on the opened image; every failure becomes an InputError."""
  from PIL import Image, UnidentifiedImageError

  try:
    source = io.BytesIO(file) if isinstance(file, bytes) else file
    with Image.open(source) as image:
      return use(image)
  except InputError:
    raise
  except UnidentifiedImageError as error:
    raise InputError(
        f"{where} is not an image; remove it or convert it to PNG") from error
  except Exception as error:  # of damaged files, decoders raise of any kind
    raise InputError(
        f"cannot read {where}: {reason(error)}; repair or remove it"
    ) from error


def _converted(image: Image.Image, channels: int, where: str) -> Image.Image:
  from PIL import Image

  if image.mode == "F":
    raise InputError(
        f"{where} holds floating-point values; convert it to 8-bit PNG, or give"
        " the images as an .npz file")
  if image.mode == "I" or image.mode.startswith("I;16"):
    # Pillow's own conversion would clip all that exceeds 255 to white.
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
      raise InputError(
          f"{where} holds values outside 0..65535; convert it to 8-bit PNG")
    image = Image.fromarray((levels >> 8).astype(np.uint8))
  if channels != 4 and image.has_transparency_data:
    front = image.convert("RGBA")
    image = Image.new("RGBA", front.size, "white")
    image.alpha_composite(front)
  mode = _MODES[channels]
  return image if image.mode == mode else image.convert(mode)


def _free_memory() -> int:
  import psutil

  free = psutil.virtual_memory().available
  limit = pathlib.Path("/sys/fs/cgroup/memory.max")
  text = limit.read_text().strip() if limit.is_file() else "max"
  return free if text == "max" else min(free, int(text))
