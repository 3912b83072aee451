"""Images that stay files until they are looked at."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable

import numpy as np

from wsl_extraction.data.images import crops, decode
from wsl_extraction.data.images.image_files import (
    Folder,
    HeldImages,
    OwnImages,
    TfdsImages,
)
from wsl_extraction.data.images.image_index import Index
from wsl_extraction.oracle.rows import LazyRows

# Fewer than this are decoded before threads have started.
_FEW = 16


@dataclasses.dataclass(frozen=True, eq=False)
class LazyImages(LazyRows):
  """Stands in for an array of colour images `[n, s, s, 3]` uint8.

  What an array shows, and what turning it into one gives, is the view for
  evaluation: the shorter side resized to s * 256 / 224 and the middle kept
  (`decode.resize`). Choosing rows decodes nothing. A copy for another process
  holds names and facts of the files, not the images.

  Attributes:
    source: Where the files are.
    index: What is known of them.
    rows: `[n]` int64, which of the source's images these are.
    image_size: The side, s.
  """

  source: Folder | TfdsImages | OwnImages | HeldImages
  index: Index
  rows: np.ndarray
  image_size: int

  @property
  def shape(self) -> tuple[int, int, int, int]:
    """`(n, s, s, 3)`."""
    return (len(self.rows), self.image_size, self.image_size, 3)

  @property
  def dtype(self) -> np.dtype:
    """uint8."""
    return np.dtype(np.uint8)

  @property
  def ndim(self) -> int:
    """4."""
    return 4

  @property
  def nbytes(self) -> int:
    """The bytes of the array, once decoded."""
    return int(np.prod(self.shape, dtype=np.int64))

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, rows):
    """Returns the image of an int, or the images of a slice or an array."""
    chosen = self.rows[rows]
    if chosen.ndim == 0:
      return self._whole(int(chosen), self.source.read([int(chosen)])[0])
    return dataclasses.replace(self, rows=chosen)

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    if copy is False:
      raise ValueError("encoded images have to be decoded; allow a copy")
    decode.check_memory(self.nbytes, f"decoding {len(self):,} images")
    result = self._decoded(
        lambda place, row, file: self._whole(row, file))
    return result if dtype is None else result.astype(dtype, copy=False)

  @functools.cached_property
  def keys(self) -> list[bytes]:
    """The identity of each image as it is seen: 16 bytes, `n` of them.

    Equal exactly when files, sides and rules of orientation are equal.
    """
    # Of "encoded" images, as they were called when stores were first written.
    kind = f"encoded {self.image_size} {self.source.upright}".encode()
    start = hashlib.blake2b(kind, digest_size=16)
    keys = []
    for digest in self.index.digests[self.rows]:
      key = start.copy()
      key.update(digest)
      keys.append(key.digest())
    return keys

  @property
  def names(self) -> list[str]:
    """A name for each image: its file, or its place in the data set."""
    return [self.source.name(int(row)) for row in self.rows]

  @property
  def labels(self) -> np.ndarray | None:
    """The classes `[n]` int32; None of anonymous images."""
    labels = self.index.labels
    return None if labels is None else labels[self.rows]

  def anonymous(self) -> LazyImages:
    """The same images without classes, names, or a way to any others."""
    if isinstance(self.source, OwnImages):
      return self
    return LazyImages(
        OwnImages(self.source, self.rows), self.index.anonymous(self.rows),
        np.arange(len(self.rows)), self.image_size)

  def fetched(self) -> LazyImages:
    """The same images with their files in memory, for another host."""
    return LazyImages(
        HeldImages(self.source, self.rows), self.index.anonymous(self.rows),
        np.arange(len(self.rows)), self.image_size)

  def cropped(self, crop: crops.InceptionCrop, seed: int,
              places: np.ndarray) -> np.ndarray:
    """Decodes a random part of each image, the view for training.

    Args:
      crop: What to draw.
      seed: Of the draws, 0 or more.
      places: `[n]`, 0 or more: a number for each draw. Row i depends on its
        image, the seed and `places[i]` alone, so that neither batches nor
        shards nor interruptions change it.

    Returns:
      `[n, s, s, 3]` uint8.

    Raises:
      InputError: An image is damaged.
    """
    def part(place: int, row: int, file: bytes) -> np.ndarray:
      rng = np.random.default_rng([seed, int(places[place])])
      height, width = map(int, self.index.sizes[row])
      return crops.view(
          file, crop.draw(height, width, rng), self.image_size,
          self.source.name(row), (height, width),
          bool(self.index.turned[row]))

    return self._decoded(part, threads=1)

  def _decoded(self, decode: Callable[[int, int, bytes], np.ndarray],
               threads: int | None = None) -> np.ndarray:
    result = np.empty(self.shape, np.uint8)

    def fill(places: range) -> None:
      rows = self.rows[places.start:places.stop].tolist()
      files = self.source.read(rows)
      for place, row, file in zip(places, rows, files, strict=True):
        result[place] = decode(place, row, file)

    pieces = [range(start, min(start + _FEW, len(self)))
              for start in range(0, len(self), _FEW)]
    threads = min(threads or os.cpu_count() or 1, len(pieces))
    if threads <= 1:
      for piece in pieces:
        fill(piece)
      return result
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
      try:
        list(pool.map(fill, pieces))
      except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return result

  def _whole(self, row: int, file: bytes) -> np.ndarray:
    return decode.decode(file, 3, self.image_size, True,
                         self.source.name(row), self.source.upright)
