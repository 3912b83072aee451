"""Data sets of tensorflow-datasets that lie prepared on disk.

Files in array_record format are read without TensorFlow; tfrecord needs it.
Nothing is downloaded and no dataset's own code is run.
"""

from __future__ import annotations

import importlib.util
import math
import time
import typing
from collections.abc import Iterator

import numpy as np

from wsl_extraction.data import cache, tfds_names
from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError

if typing.TYPE_CHECKING:
  import tensorflow_datasets as tfds

_TEST_SPLITS = ("test", "validation", "val")
_CHUNK = 64


def read(name: str, data_dir: str | None = None,
         image_size: int | None = None) -> Dataset:
  """Reads a prepared data set of tensorflow-datasets.

  The split `train` (or the only one) is for training; the test set is the
  first of `test`, `validation` and `val` that is labelled. Images keep the
  orientation in which they are stored, as in tensorflow-datasets.

  Args:
    name: As tensorflow-datasets writes it: `cifar10`, `cifar10:3.0.2`,
      `cifar10_corrupted/brightness_1`; or the folder of one prepared version.
    data_dir: Where it lies; else TFDS_DATA_DIR, else where tensorflow-datasets
      puts it, `~/tensorflow_datasets`.
    image_size: The side to resize to; needed where images differ in size.
      Data sets of one square size are stretched, others resized and cropped
      (`decode.resize`).

  Returns:
    The data set; images uint8 in 0..255.

  Raises:
    InputError: The data set is unknown, not prepared, damaged, not a set of
      images with one class each, would not fit into memory, or its images
      differ in size and `image_size` is not given.
  """
  builder = tfds_names.find(name, data_dir)
  reader = Reader(name, builder, image_size)
  reader.check_memory()
  key = cache.fingerprint([*map(str, reader.splits), image_size,
                           *tfds_names.files(builder.data_path)])
  arrays = cache.load(builder.info.name, key)
  if arrays is None:
    started = time.monotonic()
    arrays = reader.arrays()
    cache.save(builder.info.name, key, arrays, time.monotonic() - started)
  train, *test = (
      Examples(arrays[f"{split}_images"], arrays[f"{split}_labels"])
      for split in reader.splits)
  return image_dataset(name, train, test[0] if test else None,
                       reader.class_names(arrays))


class Reader:
  """Reads images and classes of one prepared data set.

  Attributes:
    image: The name of the images among the features.
    label: The name of the classes.
    splits: That of training and, where there is one, that of testing.
  """

  def __init__(self, name: str, builder: tfds.core.DatasetBuilder,
               image_size: int | None):
    self.name = decode.printable(name)
    self.builder = builder
    self.image_size = image_size
    self.image, self.label = self._keys()
    self._shape = self._known_shape()
    self.splits = self._splits()
    self._count = sum(
        builder.info.splits[s].num_examples for s in self.splits)

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns `{split}_images` and `{split}_labels` of each split."""
    arrays = {}
    for split in self.splits:
      pixels, labels = self._read(split)
      arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels, labels
    return arrays

  def class_names(self, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Returns the names, or numbers where the data set has no names."""
    names = getattr(self.builder.info.features[self.label], "names", None)
    largest = max(arrays[f"{split}_labels"].max() for split in self.splits)
    if names and largest >= len(names):
      raise InputError(
          f"data set {self.name} in {self.builder.data_path} is damaged (label"
          f" {largest} of {len(names)} classes); delete that folder and prepare"
          " it again")
    return tuple(names or map(str, range(int(largest) + 1)))

  def _keys(self) -> tuple[str, str]:
    """Returns the names of the image and of the class among the features."""
    import tensorflow_datasets as tfds

    features = self.builder.info.features
    pair = self.builder.info.supervised_keys
    if not (pair and len(pair) == 2 and all(isinstance(k, str) for k in pair)):
      pair = ("image", "label")
    if (all(key in features for key in pair)
        and isinstance(features[pair[0]], tfds.features.Image)
        and features[pair[0]].np_dtype == np.uint8
        and features[pair[1]].shape == ()
        and np.issubdtype(features[pair[1]].np_dtype, np.integer)):
      return pair
    raise InputError(
        f"data set {self.name} does not give 8-bit images with one class each;"
        f" it has {', '.join(sorted(features))}: choose one for image"
          " classification")

  def _known_shape(self) -> tuple[int, ...] | None:
    """Returns `(h, w, c)`, or None where sides vary or are not known."""
    *sides, channels = self.builder.info.features[self.image].shape
    self._channels = channels or 3
    self._crop = None in sides or sides[0] != sides[1]
    if self.image_size is not None:
      sides = [self.image_size] * 2
    return None if None in sides else (*sides, self._channels)

  def _splits(self) -> list[str]:
    splits = list(self.builder.info.splits)
    if "train" not in splits and len(splits) != 1:
      raise InputError(
          f"data set {self.name} has no split train (it has"
          f" {', '.join(splits) or 'none'}); choose another")
    train = "train" if "train" in splits else splits[0]
    tests = (s for s in _TEST_SPLITS if s in splits and s != train)
    # Competitions publish test sets whose every label is -1.
    test = next((s for s in tests if self._is_labelled(s)), None)
    return [train] if test is None else [train, test]

  def _is_labelled(self, split: str) -> bool:
    first = next(self._records(split), None)
    return first is not None and int(first[self.label]) >= 0

  def check_memory(self) -> None:
    """Refuses what is known to be too large, before anything is decoded."""
    if self._shape is not None:
      decode.check_memory(
          self._count * math.prod(self._shape),
          f"data set {self.name} ({self._count:,} images of"
          f" {'x'.join(map(str, self._shape))})")

  def _read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
    count = self.builder.info.splits[split].num_examples
    labels = np.empty(count, np.int32)
    pixels = None
    for index, record in enumerate(self._records(split)):
      where = f"image {index} of data set {self.name}, split {split}"
      decode.check_whole(record[self.image], where)
      image = decode.decode(
          record[self.image], self._channels, self.image_size, self._crop,
          where, upright=False)
      if self._shape is None:
        self._shape = image.shape
        self.check_memory()
      if pixels is None:
        pixels = np.empty((count, *self._shape), np.uint8)
      if image.shape != self._shape:
        raise InputError(
            f"images differ in size: {where} is {_size(image.shape)} pixels,"
            f" those before it {_size(self._shape)}; give image_size")
      labels[index] = record[self.label]
      if labels[index] < 0:
        raise InputError(f"{where} has no class; choose a labelled data set")
      pixels[index] = image
    if pixels is None:
      raise InputError(
          f"data set {self.name} has no images in split {split}; prepare it"
          " again")
    return pixels, labels

  def _records(self, split: str) -> Iterator[dict[str, typing.Any]]:
    """Yields the records in the order of the files, images still encoded."""
    count = self.builder.info.splits[split].num_examples
    seen = 0
    try:
      for record in self._stored(split):
        # array_record makes empty records of what a cut file lacks.
        if record[self.image] is None or record[self.label] is None:
          raise ValueError(f"record {seen} of split {split} is empty")
        seen += 1
        yield record
      if seen != count:
        raise ValueError(f"split {split} has {seen} of {count} records")
    except (RuntimeError, OSError, ValueError, IndexError) as error:
      if isinstance(error, InputError):
        raise
      raise InputError(
          f"data set {self.name} in {self.builder.data_path} is damaged"
          f" ({decode.reason(error)}); delete that folder and prepare it again"
      ) from error

  def _stored(self, split: str) -> Iterator[dict[str, typing.Any]]:
    import tensorflow_datasets as tfds

    decoders = {self.image: tfds.decode.SkipDecoding()}
    try:
      source = self.builder.as_data_source(split, decoders=decoders)
    except NotImplementedError:
      yield from _from_tensorflow(self.name, self.builder, split, decoders)
      return
    # Read in pieces: the encoded files of a large data set would not fit.
    for start in range(0, len(source), _CHUNK):
      stop = min(start + _CHUNK, len(source))
      yield from source.__getitems__(list(range(start, stop)))


def _from_tensorflow(name: str, builder: tfds.core.DatasetBuilder, split: str,
                     decoders: dict) -> Iterator[dict[str, typing.Any]]:
  if importlib.util.find_spec("tensorflow") is None:
    raise InputError(
        f"data set {name} in {builder.data_path} is stored as tfrecord, which"
        " only TensorFlow reads; install tensorflow, or prepare it again with"
        " file_format='array_record'")
  import tensorflow_datasets as tfds

  # One shard after the other: the order that array_record has.
  config = tfds.ReadConfig(interleave_cycle_length=1)
  yield from tfds.as_numpy(builder.as_dataset(
      split=split, decoders=decoders, read_config=config))


def _size(shape: tuple[int, ...]) -> str:
  return f"{shape[1]}x{shape[0]}"
