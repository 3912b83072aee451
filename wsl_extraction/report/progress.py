"""Progress of something countable: a bar on a terminal, lines elsewhere.

This module needs no Keras, so that a command that only labels images can
report without loading a deep-learning library.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TextIO

# Seconds over which the current rate is taken.
_WINDOW = 30.0
# Seconds between two drawings of the bar.
_REDRAW = 0.2


class Meter:
  """Counts towards a total, with the rate and the time that is left.

      with Meter("label", total=1500, done=300) as meter:
        for ...:
          meter.update(done, charged=charged)

  On a terminal it is a bar; elsewhere a plain line at most every `interval`
  seconds, and always a last one:

      surrogate  120/400 steps  loss 0.412  812 examples/s  11 s left

  The rate is that of the last half minute and starts with the first update,
  so neither compilation nor what an earlier process did enters. A stream
  that is closed or broken ends the display, never the work. Updates may come
  from several threads and out of order.

  Args:
    label: What is going on, one word.
    total: How many units there are in all.
    unit: The name of what is counted.
    examples: Those in one unit; the rate is then in examples/s. None where a
      unit is not made of them: the rate is in units/s.
    done: Units that were done before this process started.
    stream: Where to write; standard error by default.
    interval: Seconds between plain lines.
    clock: Gives seconds; replaced in tests.
  """

  def __init__(
      self, label: str, total: int, unit: str = "examples", *,
      examples: float | None = None, done: int = 0,
      stream: TextIO | None = None, interval: float = 5.0,
      clock: Callable[[], float] = time.monotonic):
    self._label, self._total, self._unit = label, total, unit
    self._examples = examples
    self._done, self._figures = done, {}
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._started = self._shown = clock()
    # (seconds, units done); the deque holds those of the last half minute.
    self._samples: collections.deque[tuple[float, int]] = collections.deque()
    self._first = self._last = (self._started, done)
    self._lock = threading.Lock()
    self._closed = False
    # Python has no standard error where the shell closed it.
    self._broken = self._stream is None
    self._bar = None
    with self._forgiving():
      if self._stream is not None and _is_terminal(self._stream):
        self._bar = _Bar(label, total, done, self._stream)
    self._interval = interval if self._bar is None else _REDRAW

  def __enter__(self) -> Meter:
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    self.close()

  @property
  def done(self) -> int:
    """Units done so far."""
    return self._done

  def update(self, done: int, /, **figures: Any) -> None:
    """Takes note that `done` units of the total are done by now.

    Cheap enough for every step: figures are converted only when shown.

    Args:
      done: Units done, those of earlier processes included.
      **figures: What else to show; anything that `float` accepts.
    """
    # The last of several steps that are executed at once may not exist.
    done = min(done, self._total)
    with self._lock:
      if self._closed or done < self._done:
        return
      self._done = done
      self._figures.update(figures)
      now = self._clock()
      self._sample(now)
      if now - self._shown >= self._interval:
        self._shown = now
        self._show(_slope(self._samples[0], self._last), now)

  def close(self) -> None:
    """Shows the last state and gives the stream back; twice is harmless."""
    with self._lock:
      if self._closed:
        return
      self._closed = True
      self._show(_slope(self._first, self._last), self._clock(), last=True)
      if self._bar is not None:
        with self._forgiving():
          self._bar.stop()

  @contextlib.contextmanager
  def _forgiving(self) -> Iterator[None]:
    # A closed file raises ValueError, a broken pipe OSError.
    try:
      yield
    except (OSError, ValueError):
      self._broken = True

  def _sample(self, now: float) -> None:
    samples = self._samples
    self._last = (now, self._done)
    if not samples:
      self._first = self._last
    if not samples or now - samples[-1][0] >= 0.1:
      samples.append(self._last)
    # Two stay however old they are: a unit may take longer than the window.
    while len(samples) > 2 and samples[1][0] <= now - _WINDOW:
      samples.popleft()

  def _show(self, rate: float | None, now: float, last: bool = False) -> None:
    if self._broken or self._stream is None:
      return
    with self._forgiving():
      figures = [f"{k} {figure(float(v))}" for k, v in self._figures.items()]
      speed, left = self._speed(rate), self._left(rate, now, last)
      if self._bar is not None:
        # What a narrow terminal cuts off comes last.
        self._bar.draw(self._done, "  ".join([*left, *speed, *figures]))
        return
      count = f"{self._done}/{self._total} {self._unit}"
      line = "  ".join([self._label, count, *figures, *speed, *left])
      self._stream.write(line + "\n")
      self._stream.flush()

  def _speed(self, rate: float | None) -> list[str]:
    if not rate:
      return []
    if self._examples is None:
      return [f"{figure(rate)} {self._unit}/s"]
    return [f"{figure(rate * self._examples)} examples/s"]

  def _left(self, rate: float | None, now: float, last: bool) -> list[str]:
    if last:
      return [f"in {duration(now - self._started)}"]
    if not rate:
      return []
    return [f"{duration((self._total - self._done) / rate)} left"]


class _Bar:
  """A bar of rich that draws only when told: no thread, no hidden cursor."""

  def __init__(self, label: str, total: int, done: int, stream: TextIO):
    # Loaded on terminals only.
    from rich import console, progress

    screen = console.Console(file=stream, force_terminal=True)
    self._progress = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=20),
        progress.TextColumn(
            "{task.completed}/{task.total}  {task.fields[now]}", markup=False),
        console=screen, auto_refresh=False,
        # What goes to standard output may be on its way to a file.
        redirect_stdout=False, redirect_stderr=stream is sys.stderr)
    self._task = self._progress.add_task(
        label, total=total, completed=done, now="")
    self._progress.start()
    # A process that is killed cannot bring a hidden cursor back.
    screen.show_cursor(True)

  def draw(self, done: int, now: str) -> None:
    self._progress.update(
        self._task, completed=done, now=now, refresh=True)

  def stop(self) -> None:
    self._progress.stop()


def duration(seconds: float) -> str:
  """Words a time: "8 s", "3 min 20 s", "2 h 05 min", "4 d 3 h"."""
  whole = max(0, round(seconds))
  if whole < 60:
    return f"{whole} s"
  if whole < 3600:
    return f"{whole // 60} min {whole % 60:02d} s"
  if whole < 86400:
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
  return f"{whole // 86400} d {whole % 86400 // 3600} h"


def figure(value: float) -> str:
  """Writes a number with three digits, or all those before the point."""
  if math.isfinite(value) and abs(value) >= 1000:
    return f"{value:.0f}"
  return f"{value:.3g}"


def _slope(
    start: tuple[float, int], end: tuple[float, int]) -> float | None:
  seconds, units = end[0] - start[0], end[1] - start[1]
  return units / seconds if seconds > 0 and units > 0 else None


def _is_terminal(stream: TextIO) -> bool:
  return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
