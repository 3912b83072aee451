"""Facts on encoded images that need no decoding."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import time
import typing
from collections.abc import Callable

import numpy as np

from wsl_extraction.data import cache
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError

if typing.TYPE_CHECKING:
  from PIL import Image

  from wsl_extraction.data.images.image_files import Folder, TfdsImages

Progress = Callable[[int, int], object]

_CHUNK = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
  """One row for each image of a source.

  Attributes:
    labels: `[n]` int32 class numbers, or None.
    digests: `[n, 16]` uint8, BLAKE2b of the encoded bytes.
    sizes: `[n, 2]` int32, height and width, upright where the source says so.
    turned: `[n]` bool, whether an EXIF orientation has to be applied.
  """

  labels: np.ndarray | None
  digests: np.ndarray
  sizes: np.ndarray
  turned: np.ndarray

  def anonymous(self, rows: np.ndarray) -> Index:
    """The facts of some of the images, without their classes."""
    return Index(None, self.digests[rows], self.sizes[rows], self.turned[rows])


def read(source: Folder | TfdsImages, name: str,
         progress: Progress | None = None) -> Index:
  """Reads every image of a source once, or the index kept from last time.

  Files are read whole, for their digests and to see whether they are damaged,
  and their heads decoded. The index is kept in the cache (`cache.folder`) under
  names, sizes and times of the files. Any number of processes may do this at
  once.

  Args:
    source: The images.
    name: Of its file in the cache.
    progress: Called with how many images are done, and with how many there
      are; not called where the index was kept.

  Raises:
    InputError: A file is no image, is damaged, or cannot be read; or an image
      has no class.
  """
  # 2: damage in the middle of files is looked for.
  key = cache.fingerprint(["index 2", source.upright, *source.facts()])
  arrays = cache.load(f"{name}-index", key)
  if arrays is None:
    started = time.monotonic()
    arrays = _facts(source, progress)
    cache.save(f"{name}-index", key, arrays, time.monotonic() - started)
  return Index(**arrays)


def _facts(source: Folder | TfdsImages,
           progress: Progress | None) -> dict[str, np.ndarray]:
  """The arrays of an `Index`, by its attributes."""
  count = len(source)
  facts = {"labels": np.empty(count, np.int32),
           "digests": np.empty((count, 16), np.uint8),
           "sizes": np.empty((count, 2), np.int32),
           "turned": np.empty(count, bool)}

  def fill(rows: range) -> range:
    for row, (image, label) in zip(rows, source.examples(rows), strict=True):
      _fill(facts, row, image, label, source)
    return rows

  # Hashing and waiting for the disk leave the interpreter to others.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
    chunks = [range(start, min(start + _CHUNK, count))
              for start in range(0, count, _CHUNK)]
    try:
      for rows in pool.map(fill, chunks):
        if progress is not None:
          progress(rows.stop, count)
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  return facts


def _fill(facts: dict[str, np.ndarray], row: int, image: bytes, label: int,
          source: Folder | TfdsImages) -> None:
  where = source.name(row)
  if label < 0:
    raise InputError(f"{where} has no class; choose a labelled data set")
  facts["labels"][row] = label
  facts["digests"][row] = np.frombuffer(
      hashlib.blake2b(image, digest_size=16).digest(), np.uint8)
  # A whole file ends so; of another one a decoder says what is wrong.
  if image.startswith(b"\xff\xd8") and not image.endswith(b"\xff\xd9"):
    decode.decode(image, 3, None, False, where, source.upright)
  decode.check_whole(image, where)
  facts["sizes"][row], facts["turned"][row] = decode.opened(
      image, where, lambda opened: _head(opened, source.upright))


def _head(image: Image.Image,
          upright: bool) -> tuple[tuple[int, int], bool]:
  """Returns (height, width), and whether the image has to be turned."""
  width, height = image.size
  orientation = decode.orientation(image) if upright else 1
  is_turned = decode.lies_on_its_side(orientation)
  size = (width, height) if is_turned else (height, width)
  return size, orientation != 1
