"""Progress of rows that several workers answer, with the rate of each."""

from __future__ import annotations

import re

from wsl_extraction.report.progress import Meter

_FEW = 8  # workers whose rates stand in one line
_KEPT = 0.9  # of what a rate counts, when another batch is answered


class WorkerProgress:
  """Shows rows/s of all workers together, and of each.

      labels  2048/5000 examples  actor 1 512  actor 2 498  1010 examples/s  ...

  Args:
    label: What is going on, one word.
    total: The rows in all.
    answered: Those that were answered before.
    noun: The name of a worker; "" shows none.
  """

  def __init__(self, label: str, total: int, answered: int, noun: str):
    self._label, self._total, self._noun = label, total, noun
    self._answered = answered
    self._meter: Meter | None = None
    # Of each: recent rows, and the seconds that they took.
    self._counts: dict[str, tuple[float, float]] = {}

  def __call__(self, rows: int, worker: str = "", seconds: float = 0) -> None:
    """Takes note of a batch of rows that a worker has answered.

    Args:
      rows: How many.
      worker: Its name.
      seconds: What it took.
    """
    # Not before: a victim that cannot be used makes no progress to show.
    self._meter = self._meter or Meter(
        self._label, self._total, "examples", done=self._answered)
    self._answered += rows
    if self._noun:
      before = self._counts.get(worker, (0.0, 0.0))
      self._counts[worker] = (
          _KEPT * before[0] + rows, _KEPT * before[1] + seconds)
    self._meter.update(self._answered, **self._figures())

  def _figures(self) -> dict[str, float]:
    rates = {name: rows / max(seconds, 1e-9)
             for name, (rows, seconds) in self._counts.items()}
    if len(rates) > _FEW:
      return {f"{len(rates)} {self._noun}s, each": min(rates.values()),
              "to": max(rates.values())}
    return {name: rates[name] for name in sorted(
        rates, key=lambda name: [*map(int, re.findall(r"\d+", name))])}

  def close(self) -> None:
    """Shows the last state."""
    if self._meter is not None:
      self._meter.close()
