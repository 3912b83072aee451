"""Keras callbacks that show and record training, and never change it.

They read what `fit` reports and the model's `step`, an int32 variable that
counts the steps done, those before a resume included. An epoch is the steps
between two checkpoints. Put MetricsFile before the callback that writes
checkpoints: a line too many is dropped on resume, a missing one is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

import keras

from wsl_extraction.report import progress


class Progress(keras.callbacks.Callback):
  """Shows steps, losses, speed and time left; see `progress.Meter`.

  Give `fit` verbose=0 beside it. `fit` tells its callbacks nothing when it
  fails: use it as a context manager, so that an error message begins on a
  line of its own.

      with Progress("surrogate", 400, examples_per_step=256) as shown:
        student.fit(batches, verbose=0, callbacks=[shown])

  Args:
    label: What is trained, one word.
    total_steps: Steps in all, those before a resume included.
    examples_per_step: Rows that the network sees in a step; without it the
      speed is shown in steps/s.
    stream: Where to write; standard error by default.
    interval: Seconds between lines where there is no terminal.
    clock: Gives seconds; replaced in tests.
  """

  # Keras then hands over the figures on a thread of its own, and training
  # need not wait for each step's loss to arrive from the device.
  async_safe = True

  def __init__(
      self, label: str, total_steps: int,
      examples_per_step: float | None = None, *, stream: TextIO | None = None,
      interval: float = 5.0, clock: Callable[[], float] = time.monotonic):
    super().__init__()
    self._label, self._total = label, total_steps
    self._options: dict[str, Any] = dict(
        examples=examples_per_step, stream=stream, interval=interval,
        clock=clock)
    self._meter: progress.Meter | None = None
    self._base, self._passes = 0, 1

  def __enter__(self) -> Progress:
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    self.close()

  def close(self) -> None:
    """Shows the last state and gives the stream back; twice is harmless."""
    if self._meter is not None:
      self._meter.close()

  def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
    before = 0 if self._meter is None else self._meter.done
    self._passes = getattr(self.model, "accumulate", 1)
    self.close()
    self._meter = progress.Meter(
        self._label, self._total, "steps",
        done=steps_done(self.model, before), **self._options)

  def on_epoch_begin(
      self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
    if self._meter is not None:
      self._base = self._meter.done

  def on_train_batch_end(
      self, batch: int, logs: Mapping[str, float] | None = None) -> None:
    # On a thread of Keras' own. Merely to name `self.model` makes Keras write
    # jax's state back to the variables, in the midst of a step that donates it.
    if self._meter is not None:
      done = self._base + (batch + 1) // self._passes
      self._meter.update(done, **(logs or {}))

  def on_epoch_end(
      self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
    if self._meter is not None:
      self._meter.update(self._meter.done, **(logs or {}))

  def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
    self.close()


def steps_done(model: keras.Model, otherwise: int) -> int:
  """Reads `model.step`; a model without one counts what it was told."""
  step = getattr(model, "step", None)
  if not isinstance(step, keras.Variable):
    return otherwise
  # A tensor first: mirrored variables have no array. Without computing, as of
  # several processes that train as one, one alone may come here.
  return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(step)))


