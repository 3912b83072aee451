"""The weights of a training that did best on examples held back."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files
from wsl_extraction.training.student import Student

_TOGETHER = 256


def macro_f1(classes: np.ndarray, expected: np.ndarray) -> float:
  """The mean over classes of F1, 2 hits / (said + there are); 0 where none is.

  Classes count that are said or expected anywhere.

  Args:
    classes: Predicted, whole numbers [n].
    expected: The true ones [n].
  """
  scores = []
  for one in np.union1d(classes, expected):
    said, true = classes == one, expected == one
    scores.append(2 * (said & true).sum() / (said.sum() + true.sum()))
  return float(np.mean(scores))


class BestWeights(keras.callbacks.Callback):
  """Keeps the weights of the epoch with the highest macro-F1, the first such.

  An epoch is what lies between two checkpoints. The file is written before
  the checkpoint: an epoch that is repeated after an interruption scores the
  same again.

  References:
    Pal et al. 2020, "ActiveThief", section 4 (the model of a round is chosen
      by F1 on a fifth of the budget).
  """

  def __init__(self, student: Student, rows: Any, classes: np.ndarray,
               path: pathlib.Path | None):
    """Looks at `rows` [n, ...] of responses `classes` [n]; keeps a file."""
    super().__init__()
    self._student = student
    self._rows, self._classes, self._path = rows, classes, path
    self._best: tuple[float, list[np.ndarray]] | None = None
    if path is not None and path.exists():
      self._best = self._read(path)

  def on_epoch_end(self, epoch, logs=None):
    if self.model is None:  # to name it writes jax's state back
      return
    network = self._student.network
    parts = [ops.convert_to_numpy(ops.argmax(network(
        np.asarray(self._rows[start:start + _TOGETHER]), training=False),
        axis=-1)) for start in range(0, len(self._rows), _TOGETHER)]
    score = macro_f1(np.concatenate(parts), self._classes)
    if self._best is None or score > self._best[0]:
      self._best = score, [ops.convert_to_numpy(
          ops.convert_to_tensor(one)) for one in network.variables]
      self._write()

  def restore(self) -> float:
    """Gives the network its best weights; the F1 that they had."""
    assert self._best is not None, "an epoch has ended"
    score, arrays = self._best
    for variable, array in zip(
        self._student.network.variables, arrays, strict=True):
      variable.assign(array)
    return score

  def _write(self) -> None:
    if self._path is None or self._best is None:
      return
    score, arrays = self._best
    with files.atomic_write(self._path) as temporary, open(
        temporary, "wb") as file:
      held: dict[str, Any] = {
          f"{index:05d}": array for index, array in enumerate(arrays)}
      np.savez(file, score=np.float64(score), **held)

  def _read(self, path: pathlib.Path) -> tuple[float, list[np.ndarray]]:
    variables = self._student.network.variables
    try:
      with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
        score = float(held["score"])
        arrays = [held[f"{index:05d}"] for index in range(len(variables))]
    except Exception as error:  # zipfile and numpy raise of many kinds
      raise InputError(f"{path} is damaged ({' '.join(str(error).split())}); "
                       "delete it and the checkpoints beside it to train "
                       "again") from error
    if [one.shape for one in arrays] != [tuple(one.shape) for one in variables]:
      raise InputError(f"{path} is of another network; choose another folder")
    return score, arrays
