"""JPEG files: their faults, and parts of them faster than Pillow gives them.

With the packages simplejpeg (libjpeg-turbo) and, for parts, cykooz-resizer
(Rust's fast_image_resize); both leave the interpreter to other threads.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import threading

import numpy as np

AVAILABLE = all(
    importlib.util.find_spec(name) for name in ("simplejpeg", "cykooz_resizer"))

# Upsampling colour looks one row beyond; twice the largest block row is ample.
_MARGIN = 32
_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_BASELINE = (0xC0, 0xC1)
_FRAMES = (0xC0, 0xC1, 0xC2)

_own = threading.local()

# Remarks of libjpeg (its jerror.h) behind which the pixels are not the image's.
# Of a missing end Pillow says what it is worth.
_FAULTS = re.compile(
    "premature end of data|bad (Huffman|arithmetic) code|instead of RST|"
    "Inconsistent progression|extraneous bytes before marker 0x(?!d9)")
# Padding, notes of a camera, or what is left of a broken image: public data
# sets have such files, most of them whole.
_DOUBT = re.compile("([0-9]+) extraneous bytes before marker 0xd9")


def is_doubtful(remark: str) -> bool:
  """True of a remark on an image that may well be whole."""
  return bool(_DOUBT.search(remark))


def fault(file: bytes) -> str | None:
  """The decoder's remark on a file whose image is broken in its middle.

  Behind broken data libjpeg goes on with grey or shifted blocks; it remarks
  that, and Pillow does not pass the remark on. Data that is another image's by
  chance is not noticed: JPEG has no checksum.

  Args:
    file: The encoded image.

  Returns:
    The remark; None of an image that is whole as far as one can see, and of
    what is no JPEG file.
  """
  import simplejpeg

  if not file.startswith(_START_OF_IMAGE):
    return None
  try:
    # All of the data is read, an eighth of the pixels are made.
    simplejpeg.decode_jpeg(file, "GRAY", fastdct=True, fastupsample=True,
                           min_height=1, min_width=1, min_factor=8)
  except ValueError as error:
    remark = str(error)
    doubt = _DOUBT.search(remark)
    if doubt:
      end = file.rfind(_END_OF_IMAGE)
      # One value repeated is padding.
      return remark if len(set(file[end - int(doubt[1]):end])) > 1 else None
    return remark if _FAULTS.search(remark) else None
  return None


def view(file: bytes, left: int, top: int, width: int, height: int,
         image_size: int, size: tuple[int, int]) -> np.ndarray | None:
  """Decodes one part of a JPEG file and brings it to a square.

  Nothing below the part is decoded; what is above and beside it has to be.

  Args:
    file: The encoded image.
    left: The part's first column.
    top: The part's first row.
    width: The part's width.
    height: The part's height.
    image_size: The side of the result.
    size: The image's (height, width).

  Returns:
    `[image_size, image_size, 3]` uint8, antialiased as Pillow does; or None
    for what is no JPEG file of this size with three colours, or is damaged.
  """
  import simplejpeg

  bottom = top + height + _MARGIN
  start = _frame(file, size)
  if start is None:
    return None
  cut = file[start + 1] in _BASELINE and bottom < size[0]
  if cut:
    file = b"".join((file[:start + 5], bottom.to_bytes(2, "big"),
                     file[start + 7:]))
  try:
    # Of a cut image the decoder remarks that there is more data than it needs.
    pixels = simplejpeg.decode_jpeg(file, "RGB", strict=not cut)
  except ValueError:
    return None
  return _resized(pixels[top:top + height, left:left + width], image_size)


def _frame(file: bytes, size: tuple[int, int]) -> int | None:
  """Returns where the frame header of a three-colour image starts.

  None if there is none, or the file is not complete.

  References:
    ITU-T T.81, 1992, annex B.
  """
  if not file.startswith(_START_OF_IMAGE) or not file.endswith(_END_OF_IMAGE):
    return None
  start = 2
  while start + 10 < len(file) and file[start] == 0xFF:
    if file[start + 1] in _FRAMES:
      head = file[start + 4:start + 10]
      same = head == bytes((8, *size[0].to_bytes(2, "big"),
                            *size[1].to_bytes(2, "big"), 3))
      return start if same else None
    start += 2 + int.from_bytes(file[start + 2:start + 4], "big")
  return None


def _resized(pixels: np.ndarray, image_size: int) -> np.ndarray:
  import cykooz_resizer as cykooz

  height, width = pixels.shape[:2]
  part = cykooz.ImageData(
      width, height, cykooz.PixelType.U8x3, pixels.tobytes())
  if not hasattr(_own, "resizer"):
    _own.resizer = cykooz.Resizer()
  square = cykooz.ImageData(image_size, image_size, cykooz.PixelType.U8x3)
  _own.resizer.resize(part, square, _options())
  return np.frombuffer(square.get_buffer(), np.uint8).reshape(
      image_size, image_size, 3)


@functools.cache
def _options():
  import cykooz_resizer as cykooz

  return cykooz.ResizeOptions(resize_alg=cykooz.ResizeAlg.convolution(
      cykooz.FilterType.bilinear))
