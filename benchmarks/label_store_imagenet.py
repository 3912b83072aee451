"""The response store at the size of ImageNet: 1,281,167 rows, 1,000 classes.

All scores in 16 bits (dtype log16), and the five largest with their classes
(WSL-5), of random logits that are as peaked as a confident victim's. Keys are
16 bytes, random as those of images are. Each contestant works in a process of
its own: it writes all rows in batches of 256, in the order of the pool, reads
256 random rows at a time, at most 102,400 of them, and once more 25,600 after
the system was asked to drop the file from its cache ("cold"; that it does not
do with pages that a process has mapped, so the memmap's are still there and
that figure is a second warm one).

`ResponseStore` is written by an `Oracle` on a budget, whose responses come from
a table: a query makes the keys of its rows (a number each), looks up which have
no response, charges those by key in one transaction and answers them in a
second one, both on the disk when it returns. It keeps a checksum for every row,
turns float32 into log16, and gives a `Response` in float32. The others keep
float16 that they were given, flush it at the end, give it back as it is, and
find a key's row through a dictionary in memory. The memmap is the limit; HDF5
is a file format that one would take.

Rates are by the clock and, in brackets, by the processor time that the process
had, which other work on the machine does not shorten. Memory is the most that
the process grew by in any step, the pages of a mapped file included; the keys,
and a dictionary of them, were there before.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import timing

from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import Responder
from wsl_extraction.oracle.response import Quantity, Response, softmax
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Scores, TopK
from wsl_extraction.oracle.spaces import Vectors

_BATCH, _CLASSES, _MIB = 256, 1000, 1 << 20
_ROWS, _WARM, _COLD = 1_281_167, 102_400, 25_600
_KINDS = {"scores": "1,000 scores", "top_k": "Top 5"}
_STEPS = ("written", "warm", "cold")
_NAMES = ("ResponseStore", "numpy memmap", "HDF5")


class Table(Responder):
  """Responses from a table: nothing but stores is measured.

  Attributes:
    arrays: Of some responses, which repeat: "values", and "classes" at top-k.
    keys: Those of all rows.
  """

  def __init__(self, kind: str, count: int):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(4096, _CLASSES))
    logits[:, 0] += 12
    values = softmax(rng.permuted(logits, axis=1)).astype(np.float32)
    self.space, self.outputs = Vectors(1), _CLASSES
    self.reveal = Scores() if kind == "scores" else TopK(5)
    self.arrays = self.reveal.cut(Quantity.PROBABILITIES, values)
    self.keys = self.space.keys(_inputs(np.arange(count)))

  def __call__(self, rows, keys):
    places = rows[:, 0].astype(int) % len(self.arrays["values"])
    return Response(_CLASSES, self.reveal.scale, {
        name: array[places] for name, array in self.arrays.items()})


def _inputs(rows: np.ndarray) -> np.ndarray:
  """What the oracle is asked about: numbers [n, 1]."""
  return rows[:, None].astype(np.float64)


def _opened(path: pathlib.Path, table: Table) -> ResponseStore:
  return ResponseStore(path, table.reveal, _CLASSES, dtype="log16")


def _store(path: pathlib.Path, table: Table):
  store = _opened(path, table)
  oracle = Oracle(table, len(table.keys), store)
  return (lambda rows: oracle.query(_inputs(rows)),
          lambda rows: store.read([table.keys[row] for row in rows]),
          store.close)


def _arrays(table: Table, values, classes, close, place):
  """The functions for rows of arrays, the classes' only at top-k."""
  places = {key: row for row, key in enumerate(table.keys)}

  # Not at each turn: the store alone is to be measured.
  given = table.arrays["values"].astype("f2")
  named = None if classes is None else table.arrays["classes"].astype("u2")

  def write(rows: np.ndarray) -> None:
    known = rows % len(given)
    values[rows[0]:rows[-1] + 1] = given[known]
    if classes is not None and named is not None:
      classes[rows[0]:rows[-1] + 1] = named[known]

  def read(rows: np.ndarray):
    found = place(np.array([places[table.keys[row]] for row in rows]))
    return values[found], None if classes is None else classes[found]

  return write, read, close


def _memmap(path: pathlib.Path, table: Table):
  width = table.arrays["values"].shape[1]
  named = "classes" in table.arrays
  mode = "r+" if path.exists() else "w+"
  kept = np.memmap(
      path, np.dtype([("v", "f2", width), ("c", "u2", width)][:1 + named]),
      mode, shape=(len(table.keys),))
  return _arrays(table, kept["v"], kept["c"] if named else None, kept.flush,
                 lambda rows: rows)


def _hdf5(path: pathlib.Path, table: Table):
  import h5py
  file = h5py.File(path, "a")
  shape = len(table.keys), table.arrays["values"].shape[1]
  values = file.require_dataset("v", shape, "f2")
  classes = None
  if "classes" in table.arrays:
    classes = file.require_dataset("c", shape, "u2")
  # It reads rows in rising order only.
  return _arrays(table, values, classes, file.close, np.sort)


_MAKERS: dict[str, Callable] = dict(
    zip(_NAMES, (_store, _memmap, _hdf5), strict=True))


def _measured(amount: int, work: Callable[[], object]) -> list[float]:
  """`amount` a second, a CPU second, and the MiB that the process grew by."""
  # Linux forgets the largest size so far, and tells it since.
  pathlib.Path("/proc/self/clear_refs").write_text("5")
  before = _kib("VmRSS")
  start = time.process_time()
  rate = timing.rate(amount, work)
  worked = time.process_time() - start
  return [rate, amount / worked, (_kib("VmHWM") - before) / 1024]


def _kib(name: str) -> int:
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(x.split()[1]) for x in lines if x.startswith(f"{name}:"))


def _forget(path: pathlib.Path) -> None:
  """Asks the system to drop the file from its cache."""
  with open(path, "rb+") as file:
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
  return (rows[i:i + _BATCH] for i in range(0, len(rows), _BATCH))


def _steps(name: str, path: pathlib.Path, table: Table):
  """Figures by name: of writing, warm and cold reading."""
  count = len(table.keys)
  write, _, close = _MAKERS[name](path, table)

  def fill() -> None:
    for rows in _batches(np.arange(count)):
      write(rows)
    close()

  yield "written", _measured(count, fill)
  order = np.random.default_rng(1).permutation(count)
  for step, most in (("warm", _WARM), ("cold", _COLD)):
    if step == "cold":
      _forget(path)
    _, read, close = _MAKERS[name](path, table)
    rows = order[:most]
    yield step, _measured(
        len(rows), lambda rows=rows, read=read: [
            None for part in _batches(rows) if read(part) is None])
    close()


def _whole(path: pathlib.Path, table: Table) -> dict[str, float]:
  """Seconds for what a command does with a whole file, read from the disk."""
  _forget(path)
  start = time.perf_counter()
  seconds = {}
  with _opened(path, table) as store:
    for name, work in (("open", lambda: None), ("len", lambda: len(store)),
                       ("spent", lambda: store.spent),
                       ("missing", lambda: store.missing(table.keys))):
      if name == "missing":
        *_, grown = _measured(1, work)
      else:
        work()
      seconds[name] = time.perf_counter() - start
      start = time.perf_counter()
  return {**seconds, "MiB": grown}


def _worker(job: str) -> None:
  kind, name, count, path = json.loads(job)
  path, table = pathlib.Path(path), Table(kind, count)
  found: dict[str, object] = dict(_steps(name, path, table))
  found["size"] = path.stat().st_size / _MIB
  if name == _NAMES[0]:
    found["whole"] = _whole(path, table)
  print(json.dumps(found))


def _figures(kind: str, name: str, count: int) -> dict:
  with timing.scratch() as folder:
    done = subprocess.run(
        [sys.executable, sys.argv[0], "--worker", json.dumps(
            [kind, name, count, f"{folder}/responses"])],
        stdout=subprocess.PIPE, text=True, check=True)
  found = json.loads(done.stdout)
  print(kind, name, found, file=sys.stderr)
  return found


def _row(name: str, found: list[dict]) -> list[str]:
  rates = np.array([[figures[step] for step in _STEPS] for figures in found])
  return [name, f"{found[0]['size']:,.0f}", f"{rates[..., 2].max():,.0f}", *(
      f"{timing.spread(rates[:, step, 0])} [{timing.spread(rates[:, step, 1])}]"
      for step in range(len(_STEPS)))]


def main() -> None:
  args = timing.arguments(__doc__, rounds=1)
  if args.worker:
    return _worker(args.worker)
  count = 2000 if args.quick else _ROWS
  pages = []
  for kind, title in _KINDS.items():
    rounds = {name: [_figures(kind, name, count) for _ in range(args.rounds)]
              for name in _NAMES}
    whole = rounds[_NAMES[0]][0]["whole"]
    pages += [f"{title}, {count:,} rows:", timing.table(
        ["rows/s", "file, MiB", "memory, MiB", "written", "read warm",
         "read cold"], [_row(*item) for item in rounds.items()]),
        "Cold, the store takes {open:.2f} s to open, {len:.2f} s for `len`, "
        "{spent:.2f} s for `spent`, and {missing:.1f} s and {MiB:,.0f} MiB to "
        "find which of all keys are missing.".format(**whole)]
  timing.publish(args, "The response store at the size of ImageNet", *pages)


if __name__ == "__main__":
  main()
