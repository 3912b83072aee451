"""Data sets whose images stay files."""

from __future__ import annotations

import os
import pathlib
import re

import numpy as np

from wsl_extraction.data import image_folders, tfds_arrays, tfds_names
from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode, image_index
from wsl_extraction.data.images.image_files import Folder, TfdsImages
from wsl_extraction.data.images.lazy_images import LazyImages
from wsl_extraction.errors import InputError

_WORDNET = re.compile(r"n\d{8}")
# Of ImageNet's 1,000: as many are meant to be all, fewer a choice.
_MOST = 500


def read(name: str, data_dir: str | None = None, image_size: int = 224,
         progress: image_index.Progress | None = None) -> Dataset:
  """Reads which images there are, and leaves them in their files.

  Names, classes, splits and orientation are as `datasets.load` has them. Every
  file is read once, to find what is no image before anything is paid for, and
  for the identity of the images; see `image_index.read`. All images are colour,
  and all are resized and cropped, `LazyImages` says how.

  Args:
    name: A name of tensorflow-datasets, the folder of one prepared version
      (both in array_record format), or a folder of class folders.
    data_dir: Where tensorflow-datasets lie.
    image_size: The side of the square that images become.
    progress: Called now and then with how many images of a split are done, and
      how many it has.

  Returns:
    The data set, whose `rows` are `LazyImages`.

  Raises:
    InputError: The data set is unknown, unreadable, not prepared, or not in
      array_record format; a class is missing or empty; a file is no image.
  """
  path = pathlib.Path(os.path.expanduser(name))
  if _is_folder(name, path):
    names, sources = _folder(path)
    kept = "folder"
  else:
    names, sources, kept = _prepared(name, data_dir, image_size)
  parts = []
  for source in sources:
    index = image_index.read(source, kept, progress)
    images = LazyImages(source, index, np.arange(len(source)), image_size)
    parts.append(Examples(images, images.labels))
  largest = max(int(part.known_labels.max()) for part in parts)
  if names and largest >= len(names):
    raise InputError(
        f"data set {decode.printable(name)} is damaged (label {largest} of"
        f" {len(names)} classes); delete its folder and prepare it again")
  return image_dataset(name, parts[0], parts[1] if len(parts) > 1 else None,
                       tuple(names or map(str, range(largest + 1))))


def _is_folder(name: str, path: pathlib.Path) -> bool:
  if (path / "dataset_info.json").is_file():
    return False
  written_as_path = path.is_absolute() or name.startswith((".", "~"))
  return written_as_path or (path.is_dir() and (
      os.sep in name or not tfds_names.is_registered(name)))


def _folder(root: pathlib.Path) -> tuple[list[str], list[Folder]]:
  train, test = image_folders.find_splits(root)
  names = [folder.name for folder in image_folders.subfolders(train)]
  image_folders.check_unprepared(root)
  if not names:
    raise InputError(
        f"{decode.printable(train)} has no class folders; put the images of"
        " each class into a folder of its own inside it")
  listed = [(train, image_folders.list_files(train, names))]
  if test is not None:
    listed.append((test, image_folders.list_files(test, names)))
  for split, files in listed:
    _check_complete(split, {names[label] for _, label in files})
  return names, [Folder(split, files) for split, files in listed]


def _check_complete(split: pathlib.Path, names: set[str]) -> None:
  """Refuses ImageNet with classes missing: the others would be renumbered."""
  if not all(map(_WORDNET.fullmatch, names)) or len(names) <= _MOST:
    return
  missing = sorted(set(_imagenet()) - names)
  if missing:
    raise InputError(
        f"{decode.printable(split)} lacks {len(missing)} of ImageNet's 1,000"
        f" classes, {missing[0]} among them; extract them too, as the numbers"
        " of the classes depend on it")


def _imagenet() -> list[str]:
  import tensorflow_datasets as tfds

  listed = pathlib.Path(tfds.__path__[0]).glob(
      "datasets/imagenet2012/labels.txt")
  return [line for path in listed for line in path.read_text().split()]


def _prepared(name: str, data_dir: str | None, image_size: int
              ) -> tuple[list[str], list[TfdsImages], str]:
  builder = tfds_names.find(name, data_dir)
  reader = tfds_arrays.Reader(name, builder, image_size)
  sources = [TfdsImages(builder.data_path, split, reader.image, reader.label,
                        reader.name)
             for split in reader.splits]
  names = getattr(builder.info.features[reader.label], "names", None) or []
  return list(names), sources, builder.info.name
