"""The response store with rows of 1,000 scores in float16.

Written in batches of 256 as `label` does: a batch is charged by key in one
transaction, and answered in another one, which also charges the next batch, but
for one batch in four; transactions are on the disk when they return. Then read
back, in order and at random, 256 rows at a time. "charged by number" is the
same store as it was before charges had keys: one transaction a batch, which
adds a number of rows. The limit is a numpy memmap of the values alone, without
keys, checksums or transactions, flushed once a round. A round is a part of the
rows (all of them together make the file), and the file stays in the system's
cache. Memory is the most that the process grows by in a round, looked up after
each batch; the pages of the memmap's file count. `--rows=1281167` is ImageNet's
size.
"""

from __future__ import annotations

import pathlib

import numpy as np
import psutil
import timing

_BATCH, _QUERY, _CLASSES, _ROWS = 256, 4, 1000, 200_000
_MIB = 1 << 20
_SCORES: list[np.ndarray] = []
_NAMES = ("numpy memmap", "charged by number", "charged by key")


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
      self._work(rows[first:first + _BATCH],
                 rows[first + _BATCH:first + 2 * _BATCH])
      held = psutil.Process().memory_info().rss - start
      self.mebibytes = max(self.mebibytes, held / _MIB)
    self._end()


def _respond(rows: np.ndarray):
  from wsl_extraction.oracle.response import Quantity, Response

  if not len(_SCORES):
    _SCORES.append(np.random.default_rng(0).dirichlet(
        np.ones(_CLASSES), 4096).astype(np.float16))
  return Response(_CLASSES, Quantity.PROBABILITIES,
                  {"values": _SCORES[0][rows % 4096]})


def _store(path: pathlib.Path, keys: list[bytes], by_key: bool):
  """The store's functions to write and to read rows."""
  from wsl_extraction.oracle.response_store import ResponseStore
  from wsl_extraction.oracle.reveals import Scores

  class ByNumber(ResponseStore):
    """Keeps the number of rows beside their responses, and no keys."""

    def charge(self, keys, most=None, resends=False):
      self._charges.spent += len(keys)

    def write(self, keys, response):
      with self._file.transaction():
        written = super().write(keys, response)
        self._file.database.execute(
            "INSERT INTO charges (rows, keys) VALUES (?, '')", (len(keys),))
      return written

  store = (ResponseStore if by_key else ByNumber)(
      path, Scores(), _CLASSES, {}, "float16")

  def write(rows: np.ndarray, following: np.ndarray) -> None:
    unknown = [keys[row] for row in rows]
    if not store.is_charged(unknown[0]):
      store.charge(unknown)
    with store.transaction():
      store.write(unknown, _respond(rows))
      if rows[0] // _BATCH % _QUERY < _QUERY - 1 and len(following):
        store.charge([keys[row] for row in following])

  def read(rows: np.ndarray, following: object = None) -> np.ndarray:
    del following
    return store.read([keys[row] for row in rows]).values

  return write, read


def _phases(folder: pathlib.Path, count: int, rounds: int):
  """What is measured in turns, phase by phase: its name and contestants."""
  keys = [row.to_bytes(16, "little") for row in range(count)]
  stores = [_store(folder / f"{by_key}.sqlite", keys, by_key)
            for by_key in (False, True)]
  plain = np.memmap(folder / "values.bin", np.float16, "w+",
                    shape=(count, _CLASSES))

  def store_plain(rows: np.ndarray, following: object) -> None:
    del following
    plain[rows[0]:rows[-1] + 1] = _respond(rows).values

  order = np.arange(count)
  shuffled = np.random.default_rng(1).permutation(count)
  yield "written", [Rounds(order, rounds, store_plain, plain.flush),
                    *(Rounds(order, rounds, write) for write, _ in stores)]
  for _, read in stores:
    assert (read(shuffled[:_BATCH]) == _respond(
        shuffled[:_BATCH]).values).all()
  for name, rows in (("read in order", order), ("read at random", shuffled)):
    yield name, [Rounds(rows, rounds, lambda part, _: plain[part].copy()),
                 *(Rounds(rows, rounds, read) for _, read in stores)]


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=8, rows=f"how many rows; {_ROWS:,} by default")
  count = 2000 if args.quick else int(args.rows or _ROWS)
  rows = []
  with timing.scratch() as name:
    folder = pathlib.Path(name)
    for phase, contestants in _phases(folder, count, args.rounds):
      named = dict(zip(_NAMES, contestants, strict=True))
      rates = timing.in_turns(named, args.rounds)
      rows.append([
          phase, *(timing.spread(rates[n]) for n in _NAMES),
          *(timing.spread(rates[_NAMES[2]] / rates[n], ".3f")
            for n in _NAMES[:2]),
          *(f"{c.mebibytes:,.0f}" for c in contestants)])
    sizes = [(folder / file).stat().st_size / _MIB
             for file in ("values.bin", "False.sqlite", "True.sqlite")]
  header = ["rows/s", *_NAMES, *(f"by key / {n}" for n in _NAMES[:2]),
            *(f"{n}, MiB" for n in _NAMES)]
  args.suffix = f"_{count}" if count > _ROWS else ""
  timing.publish(
      args, f"The response store at {count:,} rows",
      timing.table(header, rows),
      "Files: " + ", ".join(f"{size:,.0f} MiB" for size in sizes) + ".")


if __name__ == "__main__":
  main()
