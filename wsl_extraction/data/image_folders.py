"""Data sets that are folders of image files."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError

# What file managers and archivers leave behind without being asked.
_LITTER = ("thumbs.db", "desktop.ini", "__macosx")
_TEST_FOLDERS = ("test", "val", "valid", "validation")


def read(path: str, image_size: int | None = None) -> Dataset:
  """Reads a folder that holds one folder of images for each class.

  Classes are numbered by the sorted names of their folders, images are sorted
  by file name. A folder `train`, with `test` (else `val`, `valid` or
  `validation`) beside it, may come first; a `test` without class folders, as
  competitions have, makes way for the next. Links are followed. Files and
  folders whose name begins with a dot, and Thumbs.db, desktop.ini and __MACOSX,
  are passed over, as are files beside the class folders. Images become grey
  where all are grey and colour otherwise, and are turned as their EXIF
  orientation says.

  Args:
    path: The folder.
    image_size: The side to resize to; needed where images differ in size.
      Where all are squares of one size they are stretched, else resized and
      cropped (`decode.resize`).

  Returns:
    The data set; images uint8 in 0..255.

  Raises:
    InputError: The folder or a file cannot be read, a class is empty, a file
      is no image, images differ in size without `image_size`, or they would
      not fit into memory.
  """
  train_folder, test_folder = find_splits(pathlib.Path(path).expanduser())
  names = [folder.name for folder in subfolders(train_folder)]
  check_unprepared(pathlib.Path(path).expanduser())
  if not names:
    raise InputError(
        f"{decode.printable(train_folder)} has no class folders; put the images"
        " of each class into a folder of its own inside it")
  train = list_files(train_folder, names)
  test = list_files(test_folder, names) if test_folder else []
  channels, crop, size = _survey([file for file, _ in train + test], image_size)
  decode.check_memory(
      len(train + test) * size[0] * size[1] * channels,
      decode.printable(path))
  return image_dataset(
      path, _decode(train, channels, image_size, crop, size),
      _decode(test, channels, image_size, crop, size) if test else None,
      tuple(names))


def check_unprepared(root: pathlib.Path) -> None:
  """Raises InputError where tensorflow-datasets has prepared a data set."""
  for pattern in ("*/dataset_info.json", "*/*/dataset_info.json"):
    for description in sorted(root.glob(pattern)):
      raise InputError(
          f"{decode.printable(root)} holds a data set of tensorflow-datasets;"
          " give its name and the data_dir, or"
          f" {decode.printable(description.parent)}")


def find_splits(root: pathlib.Path
                ) -> tuple[pathlib.Path, pathlib.Path | None]:
  """Returns the folders that hold the classes, of training and of testing."""
  inside = {folder.name: folder for folder in subfolders(root)}
  if "train" not in inside or not subfolders(inside["train"]):
    return root, None
  tests = [inside[name] for name in _TEST_FOLDERS if name in inside]
  labelled = [folder for folder in tests if subfolders(folder)]
  if tests and not labelled:
    raise InputError(
        f"{decode.printable(tests[0])} has no class folders; put its images"
        " into class folders named as those of the training folder, or move it"
        " away to have test images chosen among the training images")
  return inside["train"], labelled[0] if labelled else None


def _entries(folder: pathlib.Path) -> list[os.DirEntry]:
  """Returns what lies in a folder, sorted by name, without litter."""
  try:
    with os.scandir(folder) as scanned:
      entries = sorted(scanned, key=lambda entry: entry.name)
  except OSError as error:
    raise InputError(
        f"cannot read folder {decode.printable(folder)}:"
        f" {decode.reason(error)}; check its name and permissions") from error
  entries = [
      entry for entry in entries
      if not entry.name.startswith(".") and entry.name.lower() not in _LITTER]
  for entry in entries:
    if entry.is_symlink():
      _follow(entry)
  return entries


def _follow(entry: os.DirEntry) -> None:
  """Refuses a link that leads nowhere, of which nobody knows what it was."""
  try:
    entry.stat()
  except OSError as error:
    raise InputError(
        f"cannot read {decode.printable(entry.path)}, a link to"
        f" {decode.printable(os.readlink(entry))}: {decode.reason(error)};"
        " repair or remove it") from error


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders inside a folder, sorted by name, without litter."""
  return [
      pathlib.Path(entry) for entry in _entries(folder) if entry.is_dir()]


def list_files(root: pathlib.Path, names: list[str]
               ) -> list[tuple[pathlib.Path, int]]:
  """Returns every image file below `root` with its class number."""
  for folder in subfolders(root):
    if folder.name not in names:
      raise InputError(
          f"class folder {decode.printable(folder)} has no counterpart in the"
          " training folder; add one or remove it")
  return [
      (file, label) for label, name in enumerate(names)
      if (root / name).is_dir() for file in _class_files(root / name)]


def _class_files(folder: pathlib.Path) -> list[pathlib.Path]:
  entries = _entries(folder)
  for entry in entries:
    if entry.is_dir():
      raise InputError(
          f"class folder {decode.printable(folder)} holds a folder,"
          f" {decode.printable(entry.name)}; put images directly into class"
          " folders, and splits into folders named train and test")
    if not entry.is_file():  # reading a pipe would wait for ever
      raise InputError(
          f"{decode.printable(entry.path)} is no file, but a pipe, a socket or"
          " a device; remove it")
  if not entries:
    raise InputError(
        f"class folder {decode.printable(folder)} holds no images; add some or"
        " remove the folder")
  return [pathlib.Path(entry) for entry in entries]


def _survey(paths: list[pathlib.Path], image_size: int | None
            ) -> tuple[int, bool, tuple[int, int]]:
  """Returns channels, whether resizing has to crop, and (height, width)."""
  heads = [decode.survey(path, decode.printable(path)) for path in paths]
  channels = max(channels for channels, _ in heads)
  first = heads[0][1]
  odd = next((i for i, (_, size) in enumerate(heads) if size != first), None)
  if image_size is not None:
    crop = odd is not None or first[0] != first[1]
    return channels, crop, (image_size, image_size)
  if odd is not None:
    height, width = heads[odd][1]
    raise InputError(
        f"images differ in size: {decode.printable(paths[0])} is"
        f" {first[1]}x{first[0]} pixels, {decode.printable(paths[odd])} is"
        f" {width}x{height}; give image_size")
  return channels, False, first


def _decode(files: list[tuple[pathlib.Path, int]], channels: int,
            image_size: int | None, crop: bool,
            size: tuple[int, int]) -> Examples:
  rows = np.empty((len(files), *size, channels), np.uint8)
  for index, (path, _) in enumerate(files):
    where = decode.printable(path)
    file = _bytes(path, where)
    decode.check_whole(file, where)
    rows[index] = decode.decode(
        file, channels, image_size, crop, where, upright=True)
  labels = np.asarray([label for _, label in files], np.int32)
  return Examples(rows, labels)


def _bytes(path: pathlib.Path, where: str) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise InputError(f"cannot read {where}: {decode.reason(error)}; repair or "
                     "remove it") from error
