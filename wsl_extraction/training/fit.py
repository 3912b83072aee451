"""Training that can be stopped at any moment and ends in the same weights."""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import grain
import keras
import numpy as np
from keras import ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files
from wsl_extraction.runtime.placement import ONE_DEVICE, Placement
from wsl_extraction.training.student import Student

# One thread, a few batches ahead. Grain's own choice, 16 threads and up to 500
# batches, would hold gigabytes of large images.
_READING = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
_THREADS = grain.ReadOptions(num_threads=16, prefetch_buffer_size=16)


def fit(student: Student, batches: Any, steps: int, *,
        checkpoint: str | os.PathLike | None = None,
        checkpoint_every: int = 100, placement: Placement = ONE_DEVICE,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        read: Callable[[Any], Iterable[Any]] | None = None,
        complete: Callable[[Any], Any] | None = None) -> None:
  """Trains a compiled student for `steps` steps in all.

  With a checkpoint file, a call after an interruption continues behind the
  last checkpoint, with the same batches and random numbers as if nothing had
  happened: the weights come out equal to the last bit (on one kind of CPU).

  An optimizer with `use_ema` keeps exponential averages of the weights, from
  those after the first step on; they take the weights' place at the end. Batch
  normalisation's statistics are averages of the same kind, by its momentum, and
  stay.

  Args:
    student: Compiled and otherwise new; its state is overwritten by the
      checkpoint's.
    batches: A grain `MapDataset` whose element i is the batch of step i; of a
      student that accumulates k batches a step, the k elements from k i on.
    steps: The steps of the whole training.
    checkpoint: The file; None keeps none.
    checkpoint_every: At most so many steps lie between two checkpoints: the
      largest such number that divides `steps`, if it is half of that or more.
      Else the checkpoints lie about evenly, the last two closer. It is also
      what Keras calls an epoch.
    placement: Of the student. Of several processes all read the checkpoint
      and the first writes it; each gives its own rows of the batches.
    callbacks: For Keras' `fit`.
    read: Gives the elements of a `MapDataset` in their order; by default one
      thread of this process does, a few batches ahead.
    complete: Applied to each element in this process, wherever it was read.

  Raises:
    InputError: The checkpoint is damaged or of another student, or cannot be
      written.
  """
  steps = checks.whole("steps", steps, 1)
  checkpoint_every = checks.whole("checkpoint_every", checkpoint_every, 1)
  passes, together = student.accumulate, student.steps_per_execution
  epoch = _epoch(steps, checkpoint_every, together)
  done = 0
  if checkpoint is not None:
    writer = Checkpoint(checkpoint)
    done = writer.restore(student)
    # Last: what others record of an epoch must not be missing when it counts
    # as done; what they record too much they drop when it is repeated.
    callbacks = [*callbacks, *([writer] if placement.is_main else [])]
  if done == steps:
    # As `fit` ends: with averages of the weights, if the optimizer keeps any.
    student.optimizer.finalize_variable_values(student.trainable_variables)
    return
  # An execution must not reach beyond its epoch.
  student.steps_per_execution = _largest_divisor(epoch * passes, together)
  remaining = batches[done * passes:steps * passes]
  begun, left = done // epoch, -(-(steps - done) // epoch)
  last = steps - done - (left - 1) * epoch
  if last < epoch:
    callbacks = [_StopAt(student, begun + left - 1, last * passes), *callbacks]
  # With `tf.distribute` Keras looks at a batch and then begins anew: what had
  # been read ahead would be missing from a generator.
  make = _rereadable if placement.rereads else _elements
  try:
    student.fit(make(remaining, read, complete),
                steps_per_epoch=epoch * passes,
                initial_epoch=begun, epochs=begun + left,
                callbacks=list(callbacks), shuffle=False, verbose=0)
  except BaseException:
    # Keras leaves callbacks as they are, a progress bar in mid-line.
    for callback in callbacks:
      callback.on_train_end()
    raise


class Checkpoint(keras.callbacks.Callback):
  """Writes all that training depends on, whole or not at all, at epoch ends.

  Keras' `BackupAndRestore` forgets the states of seed generators and replays a
  broken epoch; this keeps every variable.
  """

  def __init__(self, path: str | os.PathLike):
    super().__init__()
    self.path = pathlib.Path(path)

  def on_epoch_end(self, epoch, logs=None):
    arrays: dict[str, Any] = {
        f"{index:05d}": _array(variable)
        for index, variable in enumerate(_variables(self.model))}
    arrays["backend"] = np.array(keras.backend.backend())
    with (files.atomic_write(self.path) as temporary,
          open(temporary, "wb") as file):
      np.savez(file, **arrays)

  def restore(self, student: Student) -> int:
    """Loads the checkpoint, if there is one, between `compile` and `fit`.

    Returns:
      The steps that were done when it was written, or 0.

    Raises:
      InputError: It is damaged, or of another student.
    """
    if not self.path.exists():
      return 0
    student.optimizer.build(student.trainable_variables)
    variables = _variables(student)
    try:
      # Opened here, as numpy leaves a damaged file open; what is no zip file
      # it would take for a single array.
      with open(self.path, "rb") as file, zipfile.ZipFile(file):
        file.seek(0)
        with np.load(file, allow_pickle=False) as saved:
          backend = str(saved["backend"])
          arrays = [saved[name] for name in saved.files if name != "backend"]
    except Exception as error:  # zipfile and numpy raise of many kinds
      raise InputError(f"checkpoint {self.path} is damaged ({error}); delete "
                       "it to train again from the responses kept") from error
    if backend != keras.backend.backend():
      raise InputError(f"checkpoint {self.path} was written on {backend}, this "
                       f"is {keras.backend.backend()}; set KERAS_BACKEND or "
                       "choose another folder")
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
      raise InputError(f"checkpoint {self.path} is of another network, "
                       "objective or optimizer; choose another folder")
    for variable, array in zip(variables, arrays, strict=True):
      variable.assign(array)
    return int(_array(student.step))


class _StopAt(keras.callbacks.Callback):
  """Ends the last epoch where there are no more batches.

  Keras would ask for another one first, which on tensorflow counts as a step.
  An execution of several steps ends with the batches by itself.
  """

  def __init__(self, student: Student, epoch: int, batches: int):
    super().__init__()
    # Not by `self.model`: to name it makes Keras write jax's state back.
    self._student, self._epoch, self._batches = student, epoch, batches
    self._is_last = False

  def on_epoch_begin(self, epoch, logs=None):
    self._is_last = epoch == self._epoch

  def on_train_batch_end(self, batch, logs=None):
    if self._is_last and batch + 1 >= self._batches:
      self._student.stop_training = True


def _array(variable: Any) -> np.ndarray:
  # Mirrored variables are no arrays, but tensors.
  return ops.convert_to_numpy(ops.convert_to_tensor(variable))


def _variables(student: Student) -> list[Any]:
  return [*student.trainable_variables, *student.non_trainable_variables,
          *student.optimizer.variables]


def _elements(batches: grain.MapDataset,
              read: Callable[[Any], Iterable[Any]] | None,
              complete: Callable[[Any], Any] | None) -> Iterator[tuple[Any]]:
  # To TensorFlow a generator is read ahead by Keras, a grain data set is not.
  for batch in (read(batches) if read else batches.to_iter_dataset(_READING)):
    yield (complete(batch) if complete else batch,)


def _rereadable(batches: grain.MapDataset,
                read: Callable[[Any], Iterable[Any]] | None,
                complete: Callable[[Any], Any] | None) -> grain.IterDataset:
  if complete:
    batches = batches.map(complete)
  # Threads take the place of what reads elsewhere.
  return batches.to_iter_dataset(_THREADS if read else _READING)


def _epoch(steps: int, most: int, together: int) -> int:
  """The steps between two checkpoints, of which `together` are executed."""
  divisor = _largest_divisor(steps, most)
  if 2 * divisor >= min(steps, most):
    return divisor
  even = -(-steps // -(-steps // most))
  return min(most, -(-even // together) * together)


def _largest_divisor(number: int, limit: int) -> int:
  return next(n for n in range(min(number, limit), 0, -1) if number % n == 0)
