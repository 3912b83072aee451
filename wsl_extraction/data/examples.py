"""What a data set is: images, labels and the names of classes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np

from wsl_extraction.data.images.lazy_images import LazyImages


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """Images, in memory or in files, with their classes where known.

  Attributes:
    images: `[n, h, w, c]`, uint8 in 0..255 or float32 in 0..1; or `Encoded`,
      which stands for such an array and stays in files.
    labels: `[n]` int32 class numbers, or None.
  """

  images: np.ndarray | LazyImages
  labels: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.images)

  def take(self, indices: np.ndarray) -> Examples:
    """Returns a copy of the examples at `indices`, an int array `[m]`."""
    labels = None if self.labels is None else self.labels[indices]
    return Examples(self.images[indices], labels)

  def unlabeled(self) -> Examples:
    """Returns the same images without their labels."""
    return Examples(self.images)

  @functools.cached_property
  def keys(self) -> list[bytes]:
    """The identity of each example: 16 bytes of BLAKE2b, `n` of them.

    Equal exactly when dtype, shape and bytes of two images are equal; labels
    play no part. Of images in files, see `Encoded.keys`.
    """
    if isinstance(self.images, LazyImages):
      return self.images.keys
    kind = f"{self.images.dtype.str}{self.images.shape[1:]}".encode()
    start = hashlib.blake2b(kind, digest_size=16)
    digests = []
    for image in np.ascontiguousarray(self.images):
      digest = start.copy()
      digest.update(image)
      digests.append(digest.digest())
    return digests


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """A labelled data set.

  Attributes:
    name: How it was asked for.
    train: The examples to be split.
    test: The held-out examples, or None where there are none.
    class_names: The `c` names of the classes, in the order of the labels.
    value_range: What black and white are, (0, 255) or (0, 1).
  """

  name: str
  train: Examples
  test: Examples | None
  class_names: tuple[str, ...]
  value_range: tuple[float, float]

  @property
  def num_classes(self) -> int:
    """The number of classes, `c`."""
    return len(self.class_names)

  @property
  def input_shape(self) -> tuple[int, int, int]:
    """The shape `(h, w, c)` of one image."""
    height, width, channels = self.train.images.shape[1:]
    return height, width, channels

  @functools.cached_property
  def fingerprint(self) -> str:
    """32 hex digits that differ when class names, images or labels do."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(self.class_names).encode(errors="surrogateescape"))
    for part in (self.train, self.test):
      arrays = (None, None) if part is None else (part.images, part.labels)
      for array in arrays:
        if isinstance(array, LazyImages):
          array = np.frombuffer(b"".join(array.keys), np.uint8)
        known = np.empty(0) if array is None else np.ascontiguousarray(array)
        digest.update(f"{known.dtype.str}{known.shape}".encode())
        digest.update(known)
    return digest.hexdigest()
