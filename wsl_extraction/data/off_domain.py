"""Pools of other data sets than the victim's, brought into its space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import datasets, sklearn_tables
from wsl_extraction.data.columns import is_table
from wsl_extraction.data.examples import Dataset, Examples
from wsl_extraction.data.images import decode
from wsl_extraction.data.split import Parts, Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Images, Space, Vectors

IN_DOMAIN = "of the victim's domain"
# Pillow's whole numbers for ITU-R 601-2: 0.299, 0.587, 0.114 of 2^16.
_LUMA = np.array([19595, 38470, 7471], np.int64)


@dataclasses.dataclass(frozen=True)
class OffDomain:
  """A pool of another data set than the victim's.

  The rule by which its images become rows of the victim's space:

  1. Size: they are read with `image_size` the longer side of the victim's
     images (`datasets.load`): squares are stretched whole, of others the middle
     is kept. Of that square the middle h x w stays.
  2. Colour: grey is the luma 0.299 R + 0.587 G + 0.114 B (ITU-R 601, as
     Pillow's); colour of grey images is the grey value three times.
  3. Contrast, with `stretch`: the darkest value of each image becomes black,
     its lightest white; an image of one value stays.
  4. Values: the range of the data set goes linearly to that of the victim;
     rounded to bytes where that is 0 to 255, else float32.

  Vectors need as many features as the victim's, and are clipped to its range.
  Rows that the victim's data set holds too, after all this, are left out: the
  pool shares none with the victim's owner but those of `in_domain`.

  The adversary knows the classes of its own pool, such as the names of its
  folders (`Knowledge.pool_classes`); they say nothing of the victim's classes.
  Rows of the victim's own data set are all of one class of their own there.

  Attributes:
    dataset: The name or path of a data set, or a `Dataset`; of its training
      examples.
    stretch: See 3.
    in_domain: The rows of the pool that come from the victim's data set all the
      same, without labels: the "problem domain data" of Copycat.
  """

  dataset: str | Dataset
  stretch: bool = False
  in_domain: int = 0

  def __post_init__(self):
    if not isinstance(self.dataset, Dataset):
      checks.text("OffDomain.dataset", self.dataset, "the name of a data set, "
                  "or a path")
    checks.flag("OffDomain.stretch", self.stretch)
    checks.whole("OffDomain.in_domain", self.in_domain)

  def load(self, space: Space, data_dir: str | None = None,
           streamed: bool = False,
           progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The data set as rows of the victim's space.

    Args:
      space: The victim's inputs.
      data_dir: Where tensorflow-datasets lie.
      streamed: Images stay files; see `datasets.load`.
      progress: See `datasets.load`.

    Raises:
      InputError: It cannot be read, or cannot become such rows.
    """
    dataset = self._read(space, data_dir, streamed, progress)
    rows = dataset.train.rows
    if isinstance(rows, LazyRows):
      if self.stretch or rows.shape[1:] != space.shape:
        raise InputError(
            f"pool data set {_name(dataset)} is streamed, as {rows.shape[1:]}, "
            f"and the victim takes {space.shape}; leave OffDomain.stretch and "
            "Experiment.streamed out, or attack a victim of such images")
    elif isinstance(space, Images):
      rows = _converted(np.asarray(rows), dataset, space, self.stretch)
    else:
      rows = np.clip(rows, space.low, space.high)
    return dataclasses.replace(
        dataset, train=Examples(rows, dataset.train.labels), test=None,
        space=space)

  def _read(self, space: Space, data_dir: str | None, streamed: bool,
            progress: Callable[[int, int], None] | None) -> Dataset:
    dataset, side = self.dataset, None
    if isinstance(dataset, str):
      if isinstance(space, Images) and not _holds_vectors(dataset):
        side = max(space.height, space.width)
      dataset = datasets.load(
          dataset, data_dir, None if dataset.endswith(".npz") else side,
          streamed, progress)
    kind = next((kind for kind in (Images, Vectors)
                 if isinstance(space, kind)), type(None))
    if not isinstance(dataset.space, kind) or (
        kind is Vectors and space.features != dataset.space.features):
      raise InputError(
          f"pool data set {_name(dataset)} holds rows of shape "
          f"{dataset.space.shape}, and the victim takes "
          f"{type(space).__name__} of shape {space.shape}; give a data set of "
          "images for images, or of vectors of that many features")
    return dataset

  def parts(self, own: Dataset, pool: Dataset, split: Split) -> Parts:
    """Private part and test set of the victim's data set, and this pool.

    Args:
      own: The victim's data set.
      pool: What `load` gave.
      split: The numbers of examples; `Split.pool` counts the whole pool.

    Raises:
      InputError: There are too few examples, a setting of the split is for
        pools of the victim's data set, or `pool` is that data set.
    """
    for name in ("overlap", "balanced"):
      if getattr(split, name):
        raise InputError(
            f"Split.{name} is {getattr(split, name)}, which is for a pool of "
            "the victim's data set, and Experiment.pool_dataset gives another; "
            "leave it out")
    if self.in_domain > split.pool:
      raise InputError(f"OffDomain.in_domain is {self.in_domain}, more than "
                       f"Split.pool, {split.pool}; choose it smaller")
    parts = dataclasses.replace(split, pool=self.in_domain)(own)
    others = foreign(pool, [own.train, *([own.test] if own.test else [])])
    dealt = Split(private=0, pool=split.pool - self.in_domain, test=0,
                  seed=split.seed)(others).pool
    return replace_pool(parts, dealt, pool.class_names, split.seed)


def replace_pool(parts: Parts, pool: Examples, names: tuple[str, ...],
                 seed: int = 0) -> Parts:
  """Parts with the pool's rows before those that its own pool has, shuffled.

  Args:
    parts: Of the victim's data set.
    pool: The rows from elsewhere, with their classes there.
    names: Of these classes.
    seed: Of the order.
  """
  rows, classes = pool.rows, pool.known_labels
  if own := len(parts.pool):
    if isinstance(rows, LazyRows):
      raise InputError("OffDomain.in_domain cannot be with streamed images; "
                       "leave it 0")
    order = np.random.default_rng([seed, own]).permutation(len(rows) + own)
    rows = np.concatenate([rows, np.asarray(parts.pool.rows)])[order]
    # Of a class of their own: their labels are the victim's classes.
    classes = np.append(classes, np.full(own, len(names)))[order]
    names = (*names, IN_DOMAIN)
  return dataclasses.replace(
      parts, pool=Examples(rows),
      pool_classes=classes.astype(np.int32), pool_class_names=names)


def foreign(pool: Dataset, own: list[Examples]) -> Dataset:
  """The data set without rows that the victim's owner holds.

  Raises:
    InputError: No row is left.
  """
  held = {key for part in own for key in part.keys}
  kept = np.flatnonzero([key not in held for key in pool.train.keys])
  if not len(kept):
    raise InputError(f"pool data set {_name(pool)} holds nothing but rows of "
                     "the victim's own; give another, or none at all")
  return dataclasses.replace(pool, train=pool.train.take(kept))


def _converted(images: np.ndarray, dataset: Dataset, space: Images,
               stretch: bool) -> np.ndarray:
  images = decode.resize_arrays(images, max(space.height, space.width))
  top = (images.shape[1] - space.height) // 2
  left = (images.shape[2] - space.width) // 2
  images = images[:, top:top + space.height, left:left + space.width]
  channels = images.shape[3]
  if (channels, space.channels) == (3, 1):
    images = _grey(images)
  elif (channels, space.channels) == (1, 3):
    images = np.repeat(images, 3, axis=3)
  elif channels != space.channels:
    raise InputError(
        f"pool data set {_name(dataset)} has images of {channels} channels, and"
        f" the victim takes {space.channels}; convert them")
  if not stretch and dataset.space.value_range == space.value_range:
    return images
  low, high = dataset.space.value_range
  # Not the float64 of all at once: pools are large.
  shares = (images.astype(np.float32) - low) / (high - low)
  if stretch:
    axes = (1, 2, 3)
    least = shares.min(axis=axes, keepdims=True)
    width = shares.max(axis=axes, keepdims=True) - least
    shares = np.where(width > 0, (shares - least) / np.where(
        width > 0, width, 1), shares)
  values = space.low + shares * (space.high - space.low)
  values = np.clip(values, space.low, space.high)
  if space.value_range == (0.0, 255.0):
    return np.rint(values).astype(np.uint8)
  return values.astype(np.float32)


def _grey(images: np.ndarray) -> np.ndarray:
  """The luma [n, h, w, 1] of images [n, h, w, 3], of the same type."""
  if images.dtype == np.uint8:
    return ((images @ _LUMA + (1 << 15)) >> 16).astype(np.uint8)[..., None]
  return (images @ (_LUMA / 2**16)).astype(images.dtype)[..., None]


def _holds_vectors(name: str) -> bool:
  return is_table(name) or name in sklearn_tables.NAMES


def _name(dataset: Dataset) -> str:
  return decode.printable(dataset.name)


def of(value: Any) -> OffDomain:
  """`value` as an `OffDomain`, if it is the name of a data set.

  Raises:
    InputError: It is neither.
  """
  if isinstance(value, str) and value:
    return OffDomain(value)
  return checks.instance(
      "Experiment.pool_dataset", value, OffDomain, "the name of a data set, "
      "a path, or @off_domain.OffDomain()")
