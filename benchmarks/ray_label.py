"""Labelling by Ray's actors: their speed together, and their owner's limit.

"plain process" is what `label` does without Ray: one process, here with one
thread, looks up which rows are missing, charges a batch of 8, asks the victim,
and keeps the responses. "one actor" and "two actors" do the same through Ray on
this machine, with one CPU an actor, started and warm. The victim is ResNeXt-50
32x4d at 224 pixels with random weights (`--real=1`: the 32x16d of 101 layers).

The owner is the command `label --engine=ray` with one actor, whose victim looks
its 1,000 scores up; they are kept in float16. "rows/s" are booked and stored
ones, from the first answer to the last; "CPU" is the owner's own, all of its
start included; "memory" is the most that the owner held at any time, pages that
it shares with Ray's object store included. `--rows` says how many rows.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import timing

_SIZES = {"depth": 50, "groups": 32, "width_per_group": 4}
_REAL = {"depth": 101, "groups": 32, "width_per_group": 16}
_QUICK = {"depth": 14, "groups": 4, "width_per_group": 8}
_BATCH = 8
_ROWS, _CLASSES = 1_281_167, 1000
_CONTESTANTS = ("plain process", "one actor", "two actors")
_TICKS = os.sysconf("SC_CLK_TCK")


class Oracle:
  """A ResNeXt that answers batches, as `cli_workers.VictimWorker` does."""

  def __init__(self, sizes, side):
    from wsl_extraction.runtime import backend
    backend.start_backend()
    from wsl_extraction.networks.resnext import resnext
    from wsl_extraction.oracle.responders import BareVictim, Live
    from wsl_extraction.oracle.response import Quantity
    from wsl_extraction.oracle.response_codec import ResponseCodec
    from wsl_extraction.oracle.reveals import Scores
    from wsl_extraction.oracle.spaces import Images
    from wsl_extraction.victims.victim import in_batches
    network = resnext((side, side, 3), _CLASSES, seed=0, **sizes)
    self._live = Live(BareVictim(
        Images(side, side, 3), _CLASSES,
        {Quantity.LOGITS: in_batches(network)}), Scores())
    self._codec = ResponseCodec(Scores(), _CLASSES, "float16")

  def answer(self, rows, keys):
    return self._codec.pack(self._live(rows, keys))


def _actors(args, contestant: str) -> Iterator[float]:
  """Labels again and again; gives rows/s, first those of a warm-up."""
  from wsl_extraction.oracle.labelling import Labelling
  from wsl_extraction.oracle.ledger import Ledger
  from wsl_extraction.oracle.response_store import ResponseStore
  from wsl_extraction.oracle.reveals import Scores
  from wsl_extraction.oracle.rows import row_keys
  from wsl_extraction.oracle.spaces import Images
  from wsl_extraction.runtime.engines.crew import Crew
  from wsl_extraction.runtime.engines.in_process import InProcess
  from wsl_extraction.runtime.engines.ray_cluster import RayCluster

  sizes = _QUICK if args.quick else _REAL if args.real else _SIZES
  side, count = (32, 32) if args.quick else (224, 32 if args.real else 160)
  tiles = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), "uint8")
  images = tiles.repeat(side // 4, 1).repeat(side // 4, 2)
  keys = row_keys(images)
  actors = _CONTESTANTS.index(contestant)
  engine = RayCluster(None, 2, None, 600.0, dict(os.environ), keeps=True) if (
      actors) else InProcess()
  with (engine, timing.scratch() as folder,
        Crew(engine, functools.partial(Oracle, sizes, side)) as crew):
    crew.grow(actors)
    while crew.room() < actors * engine.depth:  # all of them are ready
      crew.wait(1.0)
    for turn in range(args.rounds + 1):
      path = pathlib.Path(folder) / f"{turn}.sqlite"
      with ResponseStore(path, Scores(), _CLASSES, {}, "float16") as store:
        work = Labelling(crew, Ledger(book=store), store,
                         Images(side, side, 3), False, engine.depth,
                         lambda *_: None)
        yield timing.rate(count, functools.partial(
            work.run, images, keys, np.arange(count), _BATCH))


def _measured(args) -> timing.Rates:
  """Rows/s of all contestants, in turns."""
  size = [word for word in ("--quick" * args.quick, args.real and
                            f"--real={args.real}") if word]
  from wsl_extraction.runtime.engines import shares
  workers = {name: timing.Worker(
      name, [*size, f"--rounds={args.rounds}"], **shares.threads(1))
      for name in _CONTESTANTS}
  try:
    turns = {name: functools.partial(worker.ask, name)
             for name, worker in workers.items()}
    timing.in_turns(turns, 1)
    return timing.in_turns(turns, args.rounds)
  finally:
    for worker in workers.values():
      worker.__exit__()


_MODULE = """
import numpy as np

_SCORES = np.random.default_rng(0).dirichlet(
    np.ones({classes}), 4096).astype(np.float16).astype(np.float32)
_SCORES /= _SCORES.sum(1, keepdims=True)

def scores(rows):
  return _SCORES[np.array(rows).reshape(-1, 4).view("<u4")[:, 0] % 4096]
"""
_GIN = """
from __gin__ import dynamic_registration

import simulated_victim
from wsl_extraction import experiment
from wsl_extraction.data import split
from wsl_extraction.victims import function

include "gin/rotation.gin"

experiment.Experiment.dataset = "rows.npz"
experiment.Experiment.response_dtype = "float16"
experiment.Experiment.victim = @function.Function()
function.Function.function = @simulated_victim.scores
split.Split.private = 0
split.Split.pool = {rows}
split.Split.test = 128
"""


def _owner(folder: pathlib.Path, rows: int, classes: int) -> list[float]:
  """Rows/s, microseconds of CPU for a row, and MiB, of the command."""
  numbers = np.random.default_rng(0).permutation(rows + 1024).astype("<u4")
  np.savez(folder / "rows.npz", y_train=np.arange(rows + 1024) % classes,
           x_train=numbers.view(np.uint8).reshape(-1, 2, 2, 1))
  (folder / "simulated_victim.py").write_text(_MODULE.format(classes=classes))
  (folder / "own.gin").write_text(_GIN.format(rows=rows))
  with subprocess.Popen(
      [sys.executable, "-m", "wsl_extraction.label", "--gin_file=own.gin",
       "--output=labels.sqlite", "--engine=ray"], cwd=folder, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      env={**os.environ, "PYTHONPATH": str(timing.ROOT)}) as process:
    seconds, mebibytes = _watched(process)
    out, err = process.communicate()
  if process.returncode:
    raise SystemExit(err)
  assert f"{rows} of {rows} examples" in out, out
  [rate] = re.findall(r"([\d.]+) examples/s  in ", err)[-1:]
  return [float(rate), seconds / rows * 1e6, mebibytes]


def _watched(process: subprocess.Popen) -> tuple[float, float]:
  """Seconds of CPU and the most MiB of a process, looked up until it ends."""
  seconds = mebibytes = 0.0
  while process.poll() is None:
    try:
      status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
      times = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
      break
    if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
      mebibytes = int(peak[1]) / 1024
      seconds = sum(map(int, times.rpartition(")")[2].split()[11:13])) / _TICKS
    time.sleep(0.1)
  return seconds, mebibytes


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=5, real="1 for the WSL oracle's own size",
      rows=f"how many rows the owner stores; {_ROWS:,} by default",
      part="actors or owner; by default both")
  if args.worker:
    rates = _actors(args, args.worker)
    timing.serve({args.worker: functools.partial(next, rates)})
    return
  text = []
  if args.part != "owner":
    rates = _measured(args)
    plain = rates[_CONTESTANTS[0]]
    text += [timing.table(
        ["", "images/s", f"ratio to {_CONTESTANTS[0]}"],
        [[name, timing.spread(figures, ",.2f"),
          timing.spread(figures / plain, ".3f")]
         for name, figures in rates.items()]),
             "Two actors give " + timing.spread(
                 rates["two actors"] / rates["one actor"], ".2f")
             + " times the images/s of one."]
  if args.part != "actors":
    rows = 3000 if args.quick else int(args.rows or _ROWS)
    with timing.scratch() as folder:
      figures = _owner(pathlib.Path(folder), rows, 10 if args.quick else
                       _CLASSES)
    text.append(timing.table(
        ["the owner", "rows/s", "CPU a row, µs", "memory, MiB"],
        [[f"{rows:,} rows", *(f"{figure:,.0f}" for figure in figures)]]))
  timing.publish(args, "Labelling by Ray's actors", *text)


if __name__ == "__main__":
  main()
