"""The label store at 200,000 rows of 1,000 scores in float16.

Written by `LabelStore.answer` in batches of 256, each one transaction that is
on the disk when it returns; then read back with `LabelStore.read`, in order
and at random, 256 rows at a time. The limit is a numpy memmap of the values
alone, without keys, checksums or transactions, flushed once a round. A round
is a part of the rows (all of them together make the file), and the file stays
in the system's cache. Memory is the most that the process grows by in a round,
looked up after each batch; the pages of the memmap's file count.
"""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np
import psutil
import timing

_BATCH, _CLASSES, _ROWS = 256, 1000, 200_000
_MIB = 1 << 20
_NAMES = ("numpy memmap", "LabelStore")


class Rounds:
  """Works on the rows of one round after another."""

  def __init__(self, order: np.ndarray, rounds: int, work, end=lambda: None):
    self._parts = iter(np.array_split(order, rounds))
    self._work, self._end = work, end
    self.mebibytes = 0.0

  def __call__(self) -> float:
    rows = next(self._parts)
    return timing.rate(len(rows), lambda: self._run(rows))

  def _run(self, rows: np.ndarray) -> None:
    start = psutil.Process().memory_info().rss
    for first in range(0, len(rows), _BATCH):
      self._work(rows[first:first + _BATCH])
      held = psutil.Process().memory_info().rss - start
      self.mebibytes = max(self.mebibytes, held / _MIB)
    self._end()


def _store(path: pathlib.Path, count: int):
  """The store's functions to write and read rows, and their responses."""
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.response import Response
  from wsl_extraction.oracle.response_store import ResponseStore
  from wsl_extraction.oracle.reveals import Access
  scores = np.random.default_rng(0).dirichlet(
      np.ones(_CLASSES), 4096).astype(np.float16)
  keys = [row.to_bytes(16, "little") for row in range(count)]
  every = np.arange(_CLASSES, dtype=np.int32)

  def respond(rows: np.ndarray) -> Response:
    values = scores[rows % len(scores)]
    return Response(
        Access.SCORES, np.broadcast_to(every, values.shape), values)

  # An oracle that knows all answers: nothing but the store is measured.
  oracle = Oracle(lambda rows: rows, outputs="probabilities", input_shape=(),
                  num_classes=_CLASSES).relayed(respond)
  store = ResponseStore(path, {
      "access": "scores", "k": None, "num_classes": _CLASSES}, "float16")

  def write(rows: np.ndarray) -> None:
    store.answer(oracle, [keys[row] for row in rows], rows)

  def read(rows: np.ndarray) -> np.ndarray:
    return store.read([keys[row] for row in rows]).values

  return write, read, lambda rows: respond(rows).values


def _phases(folder: pathlib.Path, count: int, rounds: int):
  """What is measured in turns, phase by phase: its name and contestants."""
  write, read, scores = _store(folder / "responses.sqlite", count)
  plain = np.memmap(folder / "values.bin", np.float16, "w+",
                    shape=(count, _CLASSES))

  def store_plain(rows: np.ndarray) -> None:
    plain[rows[0]:rows[-1] + 1] = scores(rows)

  order = np.arange(count)
  shuffled = np.random.default_rng(1).permutation(count)
  yield "written", [Rounds(order, rounds, store_plain, plain.flush),
                    Rounds(order, rounds, write)]
  assert (read(shuffled[:_BATCH]) == scores(shuffled[:_BATCH])).all()
  for name, rows in (("read in order", order), ("read at random", shuffled)):
    yield name, [Rounds(rows, rounds, lambda part: plain[part].copy()),
                 Rounds(rows, rounds, read)]


def main() -> None:
  args = timing.arguments(__doc__, rounds=8)
  count = 2000 if args.quick else _ROWS
  rows = []
  with tempfile.TemporaryDirectory(dir=timing.ROOT) as name:
    folder = pathlib.Path(name)
    for phase, contestants in _phases(folder, count, args.rounds):
      named = dict(zip(_NAMES, contestants, strict=True))
      rates = timing.in_turns(named, args.rounds)
      ratio = timing.spread(rates[_NAMES[1]] / rates[_NAMES[0]], ".3f")
      rows.append([phase, *(timing.spread(rates[n]) for n in _NAMES), ratio,
                   *(f"{c.mebibytes:,.0f}" for c in contestants)])
    sizes = [(folder / file).stat().st_size / _MIB
             for file in ("values.bin", "responses.sqlite")]
  header = ["rows/s", *_NAMES, "ratio", *(f"{n}, MiB" for n in _NAMES)]
  timing.publish(
      args, f"The label store at {count:,} rows", __doc__.strip(),
      timing.table(header, rows),
      f"Files: {sizes[0]:,.0f} MiB and {sizes[1]:,.0f} MiB.")


if __name__ == "__main__":
  main()
