"""Transfer sets as batches: what was asked, what was answered, and the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Response


def response_entries(response: Response) -> dict[str, np.ndarray]:
  """A batch's "targets" float32 [n, c] and "revealed" uint8 [n, c]."""
  # Bytes: `tf.distribute` cannot put batches of booleans together.
  return {"targets": response.log_scores(),
          "revealed": response.known_classes().astype(np.uint8)}


def by_step(labeled: Mapping[str, Any], steps: int, batch_size: int, seed: int,
            unlabeled: Any = None, unlabeled_batch_size: int = 0, *,
            crop: Any = None, shard: tuple[int, int] = (0, 1),
            rows: bool = False) -> grain.MapDataset:
  """Batches by step number, so that step i is the same for ever.

  Labelled and unlabelled rows are shuffled anew at each pass over them,
  independently of each other. Images that are still files are decoded when
  their batch is looked up.

  Args:
    labeled: Arrays of n rows each, among them "labeled", the images.
    steps: How many batches.
    batch_size: Labelled rows in a batch.
    seed: Of the order, and of the crops.
    unlabeled: Images [m, h, w, d].
    unlabeled_batch_size: Unlabelled rows in a batch; with 0, or none to take,
      batches have no "unlabeled".
    crop: How files are cropped, `crops.InceptionCrop`; each use of an image is
      cropped anew. None gives them as for evaluation. Arrays stay as they are.
    shard: (i, k) gives the i-th of k equal parts of every batch, for the i-th
      of k hosts.
    rows: Whether batches have "rows" as well, int64 [b]: the positions of
      their labelled rows.

  Returns:
    A data set of `steps` elements, each a dictionary of arrays.

  Raises:
    InputError: A batch would be empty, or cannot be divided among the hosts.
  """
  if batch_size < 1 or not len(labeled["labeled"]):
    raise InputError(f"a batch of {batch_size} out of {len(labeled['labeled'])}"
                     " labelled images is empty; give at least 1 of both")
  if unlabeled_batch_size < 0:
    raise InputError(f"unlabeled_batch_size is {unlabeled_batch_size}; give 0 "
                     "or more")
  _check_shard(shard, batch_size, unlabeled_batch_size)
  # One element is a whole batch: looked up row by row, a batch costs more than
  # a small network's step.
  known = grain.MapDataset.source(
      _Rows(len(labeled["labeled"]), batch_size, steps, 2 * seed, shard)).map(
          _LookUp(labeled, crop, 2 * seed, rows))
  if unlabeled is None or not len(unlabeled) or not unlabeled_batch_size:
    return known
  others = grain.MapDataset.source(
      _Rows(len(unlabeled), unlabeled_batch_size, steps, 2 * seed + 1,
            shard)).map(
                _LookUp({"unlabeled": unlabeled}, crop, 2 * seed + 1, False))
  return grain.experimental.ZipMapDataset([known, others]).map(_joined)


def _joined(pair: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {**pair[0], **pair[1]}


def _check_shard(shard: tuple[int, int], *sizes: int) -> None:
  hosts = shard[1]
  for size in sizes:
    if size % hosts:
      near = max(size // hosts, 1) * hosts
      raise InputError(f"a batch of {size} images cannot be divided evenly "
                       f"among {hosts} hosts; give {near}, say")


@dataclasses.dataclass(frozen=True)
class _LookUp:
  """Makes a batch of the rows that it consists of, in whatever process."""

  entries: Mapping[str, Any]
  crop: Any
  seed: int
  rows: bool

  def __call__(self, drawn: tuple[np.ndarray, np.ndarray]
               ) -> dict[str, np.ndarray]:
    rows, places = drawn
    batch = {name: self._read(array[rows], places)
             for name, array in self.entries.items()}
    return {**batch, "rows": rows} if self.rows else batch

  def _read(self, values: Any, places: np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
      return values
    if self.crop is None:
      return np.asarray(values)
    return values.cropped(self.crop, self.seed, places)


class _Rows:
  """Rows of batch after batch: each once a pass, in a new order; and places.

  A place counts the rows from the first batch on: no two uses share one.

  Drawn by whole passes: grain's own shuffle works out one row at a time, which
  costs more than a small network's step can spare.
  """

  def __init__(self, count: int, batch_size: int, steps: int, seed: int,
               shard: tuple[int, int]):
    self._count, self._batch_size = count, batch_size
    self._steps, self._seed, self._shard = steps, seed, shard
    self._cache: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    return self._steps

  def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    host, hosts = self._shard
    size = self._batch_size // hosts
    places = step * self._batch_size + host * size + np.arange(size)
    passes, rows = np.divmod(places, self._count)
    first, last = int(passes[0]), int(passes[-1])
    if first == last:
      return self._order(first)[rows], places
    orders = np.stack([self._order(i) for i in range(first, last + 1)])
    return orders[passes - first, rows], places

  def _order(self, number: int) -> np.ndarray:
    # A plain dictionary, as a cache of functools cannot go to other processes.
    # A batch lies in one pass or bridges a few small ones.
    order = self._cache.get(number)
    if order is None:
      order = np.random.default_rng(
          [self._seed, number]).permutation(self._count)
      self._cache = {**dict(list(self._cache.items())[-3:]), number: order}
    return order
