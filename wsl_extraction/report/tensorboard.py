"""Figures of trainings for TensorBoard."""

from __future__ import annotations

import importlib
import os
import pathlib
import platform
import time
from collections.abc import Mapping
from typing import Any

import keras

from wsl_extraction.report.training_log import steps_done
from wsl_extraction.runtime import files


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
    self._step = steps_done(self.model, self._step)
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
        f"{platform.node()}.{os.getpid()}")
    self._write(file_version="brain.Event:2")
    self._write(
        step=self._step + 1,
        session_log=events.SessionLog(status=events.SessionLog.START))

  def on_epoch_end(
      self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
    """Raises InputError where the folder cannot be written."""
    steps = (self.params or {}).get("steps") or 0
    self._step = steps_done(self.model, self._step + steps)
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
