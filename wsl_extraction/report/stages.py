"""Progress of work of unknown length."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TextIO

from wsl_extraction.report.progress import Meter


class FirstReading:
  """Shows how many files of a split were read, where that takes time.

  Args:
    shown: Closes the display when a split has been read.
  """

  def __init__(self, shown: contextlib.ExitStack):
    self._shown = shown
    self._meter: Meter | None = None

  def __call__(self, done: int, total: int) -> None:
    if self._meter is None and done < total:
      self._meter = self._shown.enter_context(Meter("index", total, "files"))
    if self._meter is not None:
      self._meter.update(done)
    if done == total:  # of this split
      self._shown.close()
      self._meter = None


class Stages:
  """Reports stages of work of unknown length.

  A plain line whenever the stage changes, and every `interval` seconds:

      measuring Jacobians  310 rows

  Args:
    stream: Where to write; standard error by default.
    interval: Seconds between lines of one stage.
    clock: Gives seconds; replaced in tests.
  """

  def __init__(self, stream: TextIO | None = None, interval: float = 5.0,
               clock: Callable[[], float] = time.monotonic):
    self._stream = sys.stderr if stream is None else stream
    self._interval, self._clock = interval, clock
    self._stage, self._shown = None, 0.0

  def __call__(self, stage: str, done: int | str) -> None:
    """Takes note of the stage and the rows so far, or what words say of it."""
    now = self._clock()
    if stage == self._stage and now - self._shown < self._interval:
      return
    self._stage, self._shown = stage, now
    if self._stream is not None:
      with contextlib.suppress(OSError, ValueError):  # closed or broken
        words = f"{done} rows" if isinstance(done, int) else done
        print(f"{stage}  {words}", file=self._stream, flush=True)
