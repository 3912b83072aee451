"""Sources of encoded images, with random access."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from wsl_extraction.data import tfds_names
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError

# Reading ahead in a process of its own must not drag these in.
_OPEN_FILES = "_opened"


class Folder:
  """Image files below one folder.

  Attributes:
    labels: `[n]` int32, the class of each file.
    upright: Whether images are turned as their EXIF orientation says.
  """

  upright = True

  def __init__(self, root: str | os.PathLike,
               files: Sequence[tuple[pathlib.Path, int]]):
    """Remembers the files.

    Args:
      root: The folder that holds them all.
      files: Path and class of each.
    """
    self._root = os.fsencode(root)
    # One array and no list: a process that reads gets it in one piece.
    self._names = np.array(
        [os.fsencode(os.path.relpath(path, root)) for path, _ in files])
    self.labels = np.array([label for _, label in files], np.int32)

  def __len__(self) -> int:
    return len(self._names)

  def read(self, indices: Sequence[int]) -> list[bytes]:
    """Returns the files at `indices`, in that order.

    Raises:
      InputError: One cannot be read.
    """
    return [self._read(int(index)) for index in indices]

  def examples(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
    """Returns files and classes."""
    return list(zip(self.read(indices), self.labels[indices].tolist(),
                    strict=True))

  def name(self, index: int) -> str:
    """Returns what to call an image in an error: its path."""
    return decode.printable(os.fsdecode(self._path(index)))

  def facts(self) -> Iterator[object]:
    """Yields what tells one state of the files from another."""
    yield os.fsdecode(self._root)
    for index, name in enumerate(self._names):
      try:
        status = os.stat(self._path(index))
      except OSError as error:
        raise self._unreadable(index, error) from error
      yield os.fsdecode(name)
      yield f"{self.labels[index]} {status.st_size} {status.st_mtime_ns}"

  def _path(self, index: int) -> bytes:
    return os.path.join(self._root, self._names[index])

  def _read(self, index: int) -> bytes:
    try:
      with open(self._path(index), "rb") as file:
        return file.read()
    except OSError as error:
      raise self._unreadable(index, error) from error

  def _unreadable(self, index: int, error: OSError) -> InputError:
    return InputError(f"cannot read {self.name(index)}:"
                      f" {decode.reason(error)}; repair or remove it")


class TfdsImages:
  """One split of a prepared data set of tensorflow-datasets.

  It must lie in array_record format. The files are opened at the first read,
  in each process anew.

  Attributes:
    upright: False: images keep the orientation in which they are stored, as in
      tensorflow-datasets.
  """

  upright = False

  def __init__(self, folder: str | os.PathLike, split: str, image: str,
               label: str, shown: str):
    """Remembers what to open.

    Args:
      folder: That of the prepared version.
      split: Its split.
      image: The feature that holds the image.
      label: The feature that holds the class.
      shown: The name of the data set in errors.

    Raises:
      InputError: The data set is in another format, or damaged.
    """
    self._folder, self._split = os.fspath(folder), split
    self._image, self._label, self._shown = image, label, shown
    self._count = len(self._records())

  def __len__(self) -> int:
    return self._count

  def read(self, indices: Sequence[int]) -> list[bytes]:
    """Returns the images at `indices`, still encoded, in that order.

    Raises:
      InputError: The data set is damaged.
    """
    return [image for image, _ in self.examples(indices)]

  def examples(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
    """Returns images and classes."""
    try:
      records = self._records().__getitems__([int(i) for i in indices])
    except (RuntimeError, OSError, ValueError, IndexError) as error:
      raise self._damaged(decode.reason(error)) from error
    result = [(r[self._image], r[self._label]) for r in records]
    for index, (image, label) in zip(indices, result, strict=True):
      # array_record makes empty records of what a cut file lacks.
      if image is None or label is None:
        raise self._damaged(f"record {index} of split {self._split} is empty")
    return [(image, int(label)) for image, label in result]

  def name(self, index: int) -> str:
    """Returns what to call an image in an error."""
    return f"image {index} of data set {self._shown}, split {self._split}"

  def facts(self) -> Iterator[object]:
    """Yields what tells one state of the files from another."""
    yield self._split
    yield from tfds_names.files(self._folder)

  def __getstate__(self) -> dict:
    return {name: value for name, value in self.__dict__.items()
            if name != _OPEN_FILES}

  def _records(self):
    if _OPEN_FILES not in self.__dict__:
      self.__dict__[_OPEN_FILES] = self._open()
    return self.__dict__[_OPEN_FILES]

  def _open(self):
    import tensorflow_datasets as tfds

    decoders = {self._image: tfds.decode.SkipDecoding()}
    try:
      builder = tfds.builder_from_directory(self._folder)
      return builder.as_data_source(self._split, decoders=decoders)
    except NotImplementedError as error:
      raise InputError(
          f"data set {self._shown} in {self._folder} is stored as tfrecord,"
          " which cannot be read at random; prepare it again with"
          " file_format='array_record'") from error
    except (RuntimeError, OSError, ValueError, IndexError) as error:
      raise self._damaged(decode.reason(error)) from error

  def _damaged(self, why: str) -> InputError:
    return InputError(
        f"data set {self._shown} in {self._folder} is damaged ({why}); delete"
        " that folder and prepare it again")


class OwnImages:
  """Some of a source's images, numbered anew, and no way to any others.

  For an adversary's pool: a file's name and its neighbours tell its class.

  Attributes:
    upright: That of the source.
    read: Called with positions, gives the images there, still encoded.
  """

  def __init__(self, source: Folder | TfdsImages | HeldImages,
               rows: np.ndarray):
    """Chooses the images `rows` [n] of `source`, which only `read` reaches."""
    self.upright = source.upright
    self._count = len(rows)
    rows = np.array(rows)

    def read(indices: Sequence[int]) -> list[bytes]:
      return source.read(rows[np.asarray(indices, np.int64)].tolist())

    self.read = read

  def __len__(self) -> int:
    return self._count

  def name(self, index: int) -> str:
    """Returns what to call an image in an error: its place."""
    return f"example {index} of the pool"


class HeldImages:
  """Some of a source's images, read already: for a host without the files.

  Attributes:
    upright: That of the source.
  """

  def __init__(self, source: Folder | TfdsImages | OwnImages | HeldImages,
               rows: np.ndarray):
    """Reads the images `rows` [n] of `source`, and numbers them anew."""
    self.upright = source.upright
    self._files = source.read(rows.tolist())
    self._names = [source.name(int(row)) for row in rows]

  def __len__(self) -> int:
    return len(self._files)

  def read(self, indices: Sequence[int]) -> list[bytes]:
    """The images at `indices`, still encoded, in that order."""
    return [self._files[index] for index in indices]

  def name(self, index: int) -> str:
    """The name of an image in an error: that in the source."""
    return self._names[index]
