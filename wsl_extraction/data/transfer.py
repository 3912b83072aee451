"""Transfer sets as batches: what was asked, what was answered, and the rest."""

from __future__ import annotations

import functools

import grain
import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle import Response


def response_entries(response: Response,
                     num_classes: int) -> dict[str, np.ndarray]:
  """A batch's "targets" float32 [n, c] and "revealed" uint8 [n, c]."""
  # Bytes: `tf.distribute` cannot put batches of booleans together.
  return {"targets": response.log_scores(num_classes),
          "revealed": response.revealed(num_classes).astype(np.uint8)}


def batches(labeled: dict[str, np.ndarray], steps: int, batch_size: int,
            seed: int, unlabeled: np.ndarray | None = None,
            unlabeled_batch_size: int = 0) -> grain.MapDataset:
  """Batches by step number, so that step i is the same for ever.

  Labelled and unlabelled rows are shuffled anew at each pass over them,
  independently of each other.

  Args:
    labeled: Arrays of n rows each, among them "labeled", the images.
    steps: How many batches.
    batch_size: Labelled rows in a batch.
    seed: Of the order.
    unlabeled: Images [m, h, w, d].
    unlabeled_batch_size: Unlabelled rows in a batch; with 0, or none to take,
      batches have no "unlabeled".

  Returns:
    A data set of `steps` elements, each a dictionary of arrays.

  Raises:
    InputError: A batch would be empty.
  """
  if batch_size < 1 or not len(labeled["labeled"]):
    raise InputError(f"a batch of {batch_size} out of {len(labeled['labeled'])}"
                     " labelled images is empty; give at least 1 of both")
  if unlabeled_batch_size < 0:
    raise InputError(f"unlabeled_batch_size is {unlabeled_batch_size}; give 0 "
                     "or more")
  # One element is a whole batch: looked up row by row, a batch costs more than
  # a small network's step.
  known = grain.MapDataset.source(
      _Rows(len(labeled["labeled"]), batch_size, steps, 2 * seed)).map(
          lambda rows: {name: array[rows] for name, array in labeled.items()})
  if unlabeled is None or not len(unlabeled) or not unlabeled_batch_size:
    return known
  others = grain.MapDataset.source(
      _Rows(len(unlabeled), unlabeled_batch_size, steps, 2 * seed + 1)).map(
          lambda rows: {"unlabeled": unlabeled[rows]})
  return grain.experimental.ZipMapDataset([known, others]).map(
      lambda pair: {**pair[0], **pair[1]})


class _Rows:
  """Row numbers of batch after batch: every row once a pass, in a new order.

  Drawn by whole passes: grain's own shuffle works out one row at a time, which
  costs more than a small network's step can spare.
  """

  def __init__(self, count: int, batch_size: int, steps: int, seed: int):
    self._count, self._batch_size = count, batch_size
    self._steps, self._seed = steps, seed
    # A batch lies in one pass or bridges a few small ones.
    self._order = functools.lru_cache(maxsize=4)(self._draw)

  def __len__(self) -> int:
    return self._steps

  def __getitem__(self, step: int) -> np.ndarray:
    places = step * self._batch_size + np.arange(self._batch_size)
    passes, rows = np.divmod(places, self._count)
    first, last = int(passes[0]), int(passes[-1])
    if first == last:
      return self._order(first)[rows]
    orders = np.stack([self._order(i) for i in range(first, last + 1)])
    return orders[passes - first, rows]

  def _draw(self, number: int) -> np.ndarray:
    return np.random.default_rng([self._seed, number]).permutation(self._count)
