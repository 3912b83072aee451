"""Transfer sets as batches: what was asked, what was answered, and the rest."""

from __future__ import annotations

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
  # Row numbers are drawn and whole batches looked up: a data set that carries
  # single rows costs more than a small network's step.
  known = _rows(len(labeled["labeled"]), batch_size, 2 * seed)[:steps].map(
      lambda rows: {name: array[rows] for name, array in labeled.items()})
  if unlabeled is None or not len(unlabeled) or not unlabeled_batch_size:
    return known
  others = _rows(len(unlabeled), unlabeled_batch_size, 2 * seed + 1)
  others = others[:steps].map(lambda rows: {"unlabeled": unlabeled[rows]})
  return grain.experimental.ZipMapDataset([known, others]).map(
      lambda pair: {**pair[0], **pair[1]})


def _rows(count: int, batch_size: int, seed: int) -> grain.MapDataset:
  return grain.MapDataset.range(count).seed(seed).shuffle().repeat().batch(
      batch_size)
