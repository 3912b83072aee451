"""The label store at the size of ImageNet: 1,281,167 rows, 1,000 classes.

All scores in 16 bits (dtype log16), and the five largest with their classes
(WSL-5), of random logits that are as peaked as a confident victim's. Keys are
16 bytes, random as those of images are. Each contestant works in a process of
its own: it writes all rows in batches of 256, in the order of the pool, reads
256 random rows at a time, at most 102,400 of them, and once more 25,600 after
the system was asked to drop the file from its cache ("cold"; that it does not
do with pages that a process has mapped, so the memmap's are still there and
that figure is a second warm one). `LabelStore`
keeps each batch in a transaction of its own, on the disk when it returns, with
a checksum for every row, turns float32 into log16, and gives a `Response` in
float32; the others keep float16 that they were given, flush it at the end, give
it back as it is, and find a key's row through a dictionary in memory. The
memmap is the limit; HDF5 is a file format that one would take. Rates are by the
clock and, in brackets, by the processor time that the process had, which other
work on the machine does not shorten. Memory is the most that the process grew
by in any step, the pages of a mapped file included; the keys, and a dictionary
of them, were there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import timing

_BATCH, _CLASSES, _TOP, _MIB = 256, 1000, 5, 1 << 20
_ROWS, _WARM, _COLD = 1_281_167, 102_400, 25_600
_KINDS = {"scores": "1,000 scores", "top_k": "Top 5"}
_STEPS = ("written", "warm", "cold")
_NAMES = ("LabelStore", "numpy memmap", "HDF5")


class Answers:
  """What an oracle would say, from a table: nothing but stores is measured."""

  def __init__(self, kind: str, count: int):
    from wsl_extraction.oracle.response import softmax
    from wsl_extraction.oracle.reveals import Access
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(4096, _CLASSES))
    logits[:, 0] += 12
    values = softmax(rng.permuted(logits, axis=1)).astype(np.float32)
    classes = np.broadcast_to(np.arange(_CLASSES, dtype=np.int32), values.shape)
    if kind == "top_k":
      classes = np.argsort(-values, axis=1)[:, :_TOP].astype(np.int32)
      values = np.take_along_axis(values, classes, axis=1)
    self.access, self.k = Access.parse(kind), _TOP if kind == "top_k" else None
    self.values, self.classes = values, classes
    self.keys = [hashlib.blake2b(row.to_bytes(8, "little"), digest_size=16)
                 .digest() for row in range(count)]

  def __call__(self, rows: np.ndarray):
    from wsl_extraction.oracle.response import Response
    places = rows % len(self.values)
    return Response(self.access, self.classes[places], self.values[places])


def _store(path: pathlib.Path, answers: Answers):
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.response_store import ResponseStore
  oracle = Oracle(
      lambda rows: rows, outputs="probabilities", input_shape=(), k=answers.k,
      num_classes=_CLASSES, access=answers.access).relayed(answers)
  keys = answers.keys
  store = ResponseStore(path, {"access": answers.access, "k": answers.k,
                            "num_classes": _CLASSES}, "log16")
  return (lambda rows: store.answer(oracle, keys[rows[0]:rows[-1] + 1], rows),
          lambda rows: store.read([keys[row] for row in rows]), store.close)


def _arrays(answers: Answers, values, classes, close, place):
  """The functions for rows of arrays, the classes' only at top-k."""
  places = {key: row for row, key in enumerate(answers.keys)}

  # Not at each turn: the store alone is to be measured.
  given, named = answers.values.astype("f2"), answers.classes.astype("u2")

  def write(rows: np.ndarray) -> None:
    known = rows % len(given)
    values[rows[0]:rows[-1] + 1] = given[known]
    if classes is not None:
      classes[rows[0]:rows[-1] + 1] = named[known]

  def read(rows: np.ndarray):
    found = place(np.array([places[answers.keys[row]] for row in rows]))
    return values[found], None if classes is None else classes[found]

  return write, read, close


def _memmap(path: pathlib.Path, answers: Answers):
  shape = len(answers.keys), answers.values.shape[1]
  mode = "r+" if path.exists() else "w+"
  kept = np.memmap(path, np.dtype([("v", "f2", shape[1])] + (
      [("c", "u2", shape[1])] if answers.k else [])), mode, shape=shape[:1])
  return _arrays(answers, kept["v"], kept["c"] if answers.k else None,
                 kept.flush, lambda rows: rows)


def _hdf5(path: pathlib.Path, answers: Answers):
  import h5py
  file = h5py.File(path, "a")
  shape = len(answers.keys), answers.values.shape[1]
  values = file.require_dataset("v", shape, "f2")
  classes = file.require_dataset("c", shape, "u2") if answers.k else None
  # It reads rows in rising order only.
  return _arrays(answers, values, classes, file.close, np.sort)


_MAKERS = dict(zip(_NAMES, (_store, _memmap, _hdf5), strict=True))


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


def _steps(name: str, path: pathlib.Path, answers: Answers):
  """Figures by name: of writing, warm and cold reading."""
  count = len(answers.keys)
  write, _, close = _MAKERS[name](path, answers)

  def fill() -> None:
    for rows in _batches(np.arange(count)):
      write(rows)
    close()

  yield "written", _measured(count, fill)
  order = np.random.default_rng(1).permutation(count)
  for step, most in (("warm", _WARM), ("cold", _COLD)):
    if step == "cold":
      _forget(path)
    _, read, close = _MAKERS[name](path, answers)
    rows = order[:most]
    yield step, _measured(
        len(rows), lambda rows=rows, read=read: [
            None for part in _batches(rows) if read(part) is None])
    close()


def _whole(path: pathlib.Path, answers: Answers) -> dict[str, float]:
  """Seconds for what a command does with a whole file, read from the disk."""
  from wsl_extraction.oracle.response_store import ResponseStore
  _forget(path)
  start = time.perf_counter()
  seconds = {}
  with ResponseStore(path, {"access": answers.access, "k": answers.k,
                         "num_classes": _CLASSES}, "log16") as store:
    for name, work in (("open", lambda: None), ("len", lambda: len(store)),
                       ("spent", lambda: store.spent),
                       ("missing", lambda: store.missing(answers.keys))):
      if name == "missing":
        *_, grown = _measured(1, work)
      else:
        work()
      seconds[name] = time.perf_counter() - start
      start = time.perf_counter()
  return {**seconds, "MiB": grown}


def _worker(job: str) -> None:
  kind, name, count, path = json.loads(job)
  path, answers = pathlib.Path(path), Answers(kind, count)
  found = dict(_steps(name, path, answers))
  found["size"] = path.stat().st_size / _MIB
  if name == _NAMES[0]:
    found["whole"] = _whole(path, answers)
  print(json.dumps(found))


def _figures(kind: str, name: str, count: int) -> dict:
  with tempfile.TemporaryDirectory(dir=timing.ROOT) as folder:
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
  timing.publish(args, "The label store at the size of ImageNet",
                 __doc__.strip(), *pages)


if __name__ == "__main__":
  main()
