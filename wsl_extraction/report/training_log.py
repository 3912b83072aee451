"""Keras callbacks that show and record training, and never change it.

They read what `fit` reports and the model's `step`, an int32 variable that
counts the steps done, those before a resume included. An epoch is the steps
between two checkpoints. Put MetricsFile before the callback that writes
checkpoints: a line too many is dropped on resume, a missing one is lost.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

import keras

from wsl_extraction.report import progress, run_folder
from wsl_extraction.runtime import files


class Progress(keras.callbacks.Callback):
  """Shows steps, losses, speed and time left; see `progress.Meter`.

  Give `fit` verbose=0 beside it. `fit` tells its callbacks nothing when it
  fails: use it as a context manager, so that an error message begins on a
  line of its own.

      with Progress("surrogate", 400, images_per_step=256) as shown:
        student.fit(batches, verbose=0, callbacks=[shown])

  Args:
    label: What is trained, one word.
    total_steps: Steps in all, those before a resume included.
    images_per_step: Images that the network sees in a step; without it the
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
      images_per_step: float | None = None, *, stream: TextIO | None = None,
      interval: float = 5.0, clock: Callable[[], float] = time.monotonic):
    super().__init__()
    self._label, self._total = label, total_steps
    self._options: dict[str, Any] = dict(
        images=images_per_step, stream=stream, interval=interval, clock=clock)
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
        done=_steps_done(self.model, before), **self._options)

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


class MetricsFile(keras.callbacks.Callback):
  """Appends one JSON line an epoch: step, seconds, then the figures.

  `seconds` counts training over all processes. A resumed run first drops what
  lies beyond the step it was restored to, and a line that a killed process
  left half written. A line is on the disk when its epoch ends.

  Args:
    path: The file, such as metrics.jsonl of the run folder.
    clock: Gives seconds; replaced in tests.
  """

  def __init__(
      self, path: str | os.PathLike, *,
      clock: Callable[[], float] = time.monotonic):
    super().__init__()
    self._path = pathlib.Path(path)
    self._clock = clock
    self._origin = 0.0
    self._step = 0

  def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
    """Raises InputError where the file cannot be written."""
    self._step = _steps_done(self.model, self._step)
    held = _read(self._path)
    kept = [(line, record["seconds"]) for line in held.split("\n")
            if (record := _record(line)) and record["step"] <= self._step]
    text = "".join(line + "\n" for line, _ in kept)
    if text != held:
      with files.atomic_write(self._path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    spent = kept[-1][1] if kept else 0.0
    self._origin = self._clock() - spent

  def on_epoch_end(
      self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
    """Raises InputError where the file cannot be written."""
    steps = (self.params or {}).get("steps") or 0
    self._step = _steps_done(self.model, self._step + steps)
    line = run_folder.json_text({
        "step": self._step,
        "seconds": round(self._clock() - self._origin, 3),
        **(logs or {})})
    try:
      with open(self._path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
      raise files.unwritable(self._path, error) from error


class TensorBoard(keras.callbacks.Callback):
  """Writes each epoch's figures as TensorBoard events, if it is installed.

  The package `tensorboard` is enough, TensorFlow is not needed. Without that
  package nothing is written and nothing is said. A resumed run starts another
  event file, which tells TensorBoard to forget what lies beyond its step.

  Args:
    folder: Where event files go; made when training begins.
  """

  def __init__(self, folder: str | os.PathLike):
    super().__init__()
    self._folder = pathlib.Path(folder)
    self._event: Any = None
    self._records: Any = None
    self._path = self._folder
    self._step = 0

  def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
    """Raises InputError where the folder cannot be written."""
    self._step = _steps_done(self.model, self._step)
    try:
      events = importlib.import_module("tensorboard.compat.proto.event_pb2")
      records = importlib.import_module(
          "tensorboard.summary.writer.record_writer")
    except ImportError:
      return
    self._event, self._records = events.Event, records.RecordWriter
    # TensorBoard reads files in the order of their names, so by time.
    self._path = self._folder / (
        f"events.out.tfevents.{time.time_ns() / 1e9:.9f}."
        f"{socket.gethostname()}.{os.getpid()}")
    self._write(file_version="brain.Event:2")
    self._write(
        step=self._step + 1,
        session_log=events.SessionLog(status=events.SessionLog.START))

  def on_epoch_end(
      self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
    """Raises InputError where the folder cannot be written."""
    steps = (self.params or {}).get("steps") or 0
    self._step = _steps_done(self.model, self._step + steps)
    if self._event is not None:
      self._write(step=self._step, summary={"value": [
          {"tag": tag, "simple_value": value}
          for tag, value in (logs or {}).items()]})

  def _write(self, **fields: Any) -> None:
    event = self._event(wall_time=time.time(), **fields)
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
      # Opened anew each time: `fit` tells nobody to close a file if it fails.
      with open(self._path, "ab") as file:
        self._records(file).write(event.SerializeToString())
    except OSError as error:
      raise files.unwritable(self._folder, error) from error


def _steps_done(model: keras.Model, otherwise: int) -> int:
  """Reads `model.step`; a model without one counts what it was told."""
  step = getattr(model, "step", None)
  if not isinstance(step, keras.Variable):
    return otherwise
  # A tensor first: mirrored variables have no array. Without computing, as of
  # several processes that train as one, one alone may come here.
  return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(step)))


def recorded_seconds(path: str | os.PathLike) -> float:
  """The seconds of training that a metrics file records."""
  records = [_record(line) for line in _read(pathlib.Path(path)).split("\n")]
  return max((record["seconds"] for record in records if record), default=0.0)


def _read(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8", errors="replace")
  except FileNotFoundError:
    return ""
  except OSError as error:
    raise files.unwritable(path, error) from error


def _record(line: str) -> dict[str, Any] | None:
  """Reads a line of a metrics file; None if it is damaged."""
  try:
    record = json.loads(line)
  except ValueError:
    return None
  whole = isinstance(record, dict) and isinstance(record.get("step"), int)
  whole = whole and isinstance(record.get("seconds"), (int, float))
  return record if whole else None
