"""The figures of trainings as lines of JSON."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras

from wsl_extraction.report import json_text
from wsl_extraction.report.training_log import steps_done
from wsl_extraction.runtime import files


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
    self._step = steps_done(self.model, self._step)
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
    self._step = steps_done(self.model, self._step + steps)
    line = json_text.json_text({
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
