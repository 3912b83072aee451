"""Commands killed at any moment go on to what they would have come to."""

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import tempfile
import zipfile

import h5py
import numpy as np
import pytest

from fixtures import stopped_commands
from fixtures.stopped_commands import (
  BATCH,
  BUDGET,
  POOL,
  QUERIES,
  STEPS,
  TESTS,
  VICTIM_STEPS,
  Command,
)

# Moments: what a command has come to, as the disk tells it.


def in_victim_training(least):
  return lambda command: any(
      least <= steps_done(path) < VICTIM_STEPS
      for path in command.folder.glob("victims/[!.]*.npz"))


def in_labelling(least):
  return lambda command: least <= answers(command.store) < BUDGET


def before_training(command):
  return (answers(command.store) == BUDGET
          and not (command.run / "checkpoint.npz").exists())


def in_training(least, most=STEPS - 1):
  return lambda command: (
      least <= steps_done(command.run / "checkpoint.npz") <= most)


def in_checkpoint(command):
  return (steps_done(command.run / "checkpoint.npz") > 0
          and any(command.run.glob(".checkpoint-*.npz")))


def after_training(command):
  return (steps_done(command.run / "checkpoint.npz") == STEPS
          and not (command.run / "result.json").exists())


def in_asking(least):
  """So many batches were asked by all processes of the command."""
  return lambda command: least <= len(asked(command)) < POOL // BATCH


def in_transaction(command):
  """SQLite keeps this file while it writes a transaction."""
  return os.path.exists(f"{command.store}-journal")


def in_charge(command):
  """While rows are being charged: there is none that waits for its answer."""
  return in_transaction(command) and read(command.store, waiting) == 0


def in_answer(command):
  """While answers are being written: these rows wait for them on disk."""
  return in_transaction(command) and read(command.store, waiting) == 1


# What `hit` looks at before it stops the process, as copies take too long.
in_charge.quick = in_answer.quick = in_transaction


def asked(command):
  """Rows in each batch that the slow victim was asked about.

  Its owner, who looks at the answers before a file is begun, asks about others.
  """
  log = command.folder / "victim.log"
  rows = map(int, log.read_text().split()) if log.exists() else ()
  return [count for count in rows if count == BATCH]


def steps_done(path):
  """The steps of a checkpoint; its integers without shape are such counts."""
  try:
    with np.load(path) as arrays:
      return int(max(arrays[name] for name in arrays.files
                     if not arrays[name].shape
                     and arrays[name].dtype.kind == "i"))
  except FileNotFoundError:
    return 0


def answers(store):
  """How many responses a store holds for certain; -1 if it cannot be told."""
  return read(store, lambda copy: len(responses(copy)[0])) if (
      store.exists()) else 0


def waiting(store):
  """How many charges of a store have rows without a response."""
  with contextlib.closing(sqlite3.connect(store)) as held:
    return held.execute("SELECT SUM(open) FROM charges").fetchone()[0] or 0


def read(store, count):
  """Counts something in a copy of a store; -1 if it cannot be told.

  A copy is read as SQLite would: an unfinished transaction is taken back. So
  nothing is in the way of a running command, nor mended for a killed one.
  """
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / store.name
    try:
      for end in ("-journal", ""):
        if os.path.exists(f"{store}{end}"):
          shutil.copy(f"{store}{end}", f"{copy}{end}")
      return count(copy)
    except (sqlite3.Error, FileNotFoundError):
      return -1


# What is compared.


def responses(store):
  """The responses and the charges in a store."""
  with contextlib.closing(sqlite3.connect(store)) as held:
    return (held.execute("SELECT * FROM responses ORDER BY key").fetchall(),
            held.execute("SELECT * FROM charges ORDER BY batch").fetchall())


def remains(command, folder):
  """Responses and rows charged, read from a copy of what a kill left."""
  if not command.store.exists():
    return 0, 0
  shutil.copytree(command.run, folder)
  answered, charges = responses(folder / command.store.name)
  return len(answered), charged(charges)


def charged(charges):
  return sum(rows for _, rows, *_ in charges)


def weights(command):
  """Every array of victim, surrogate and checkpoint, as bytes."""
  found = {}
  victim, = command.folder.glob("victims/*.keras")
  for path in (victim, command.run / "surrogate.keras"):
    with zipfile.ZipFile(path) as parts, h5py.File(
        io.BytesIO(parts.read("model.weights.h5"))) as arrays:
      arrays.visititems(lambda name, item, of=path.name: found.update(
          {(of, name): item[()].tobytes()} if hasattr(item, "shape") else {}))
  with np.load(command.run / "checkpoint.npz") as arrays:
    found |= {name: arrays[name].tobytes() for name in arrays.files}
  return found


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()
          # The lock holds the number of a process.
          if path.is_file() and path.name != ".lock"}


def result(command):
  """The result but for the time that it took.

  And but for what its last process asked to measure: others asked before.
  """
  held = json.loads((command.run / "result.json").read_text())
  assert 0 <= held["measured_anew"] <= held["measured"] == TESTS
  return {name: value for name, value in held.items()
          if name not in ("seconds", "measured_anew")}


# What is run: all of it two processes at a time, from the first test on.


def moments(program, backend, rng):
  """Where to strike, in the order of a command's life, and with what."""
  kill, ctrl_c = signal.SIGKILL, signal.SIGINT
  if program == "label":
    rounds = 2 if backend == "tensorflow" else 3
    # Only the first batch of all is charged by itself: what is charged later is
    # so together with the answers to the batch before it.
    strikes = [(moment, kill) for number in range(rounds) for moment in (
        in_asking(rng.randint(2, 8) + 12 * number), in_answer)]
    return [(in_charge, kill), *strikes, (in_asking(45), ctrl_c)]
  strikes = [(in_victim_training(rng.randint(2, VICTIM_STEPS // 2)), kill)]
  if backend == "tensorflow":
    strikes += [(in_labelling(rng.randint(4, BUDGET // 2)), kill),
                (before_training, kill)]
  return [*strikes,
          (in_training(rng.randint(2, STEPS // 4)), kill),
          (in_checkpoint, kill),
          (in_training(STEPS // 3), ctrl_c),
          (after_training, kill)]


def undisturbed(command):
  """Runs a command; `train` twice. Gives what it printed and had on disk."""
  times = 2 if command.program == "train" else 1
  return [(command.finish(), contents(command.run)) for _ in range(times)]


def interrupted(command):
  """Interrupts a command at all its moments, then lets it end.

  Returns:
    For each interruption the signal, the exit status, the standard error, and
    how many responses and charges it left.
  """
  rng = random.Random(f"{command.program} {command.backend}")
  hits = []
  for moment, blow in moments(command.program, command.backend, rng):
    brief = moment in (in_answer, in_charge, in_checkpoint)
    found = command.hit(moment, 0 if brief else rng.uniform(0, 0.02), blow)
    kept = command.folder.with_name(f"{command.folder.name}-{len(hits)}")
    hits.append((blow, *found, *remains(command, kept)))
  # The last process has another seed of hashes than all before.
  dataclasses.replace(command, cold=True).finish()
  return hits


def needed(backend):
  absent = pytest.mark.skipif(
      importlib.util.find_spec(backend) is None,
      reason=f"the backend {backend} is not installed")
  # Checkpoints are the same code on all of them.
  return pytest.param(backend, marks=absent if backend == "tensorflow" else (
      absent, pytest.mark.slow))


BACKENDS = ("tensorflow", "jax", "torch")
on_each_backend = pytest.mark.parametrize(
    "backend", [needed(name) for name in BACKENDS])


@pytest.fixture(scope="module", name="lab")
def fixture_lab(tmp_path_factory, request):
  """Gives the command and the result of (job, program, backend)."""
  wanted = {item.callspec.params["backend"] for item in request.session.items
            if item.module is request.module}
  root = tmp_path_factory.mktemp("interruption")
  stopped_commands.prepare(root)
  # A shell may start jobs deaf to Ctrl-C, and children inherit that.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    jobs = {}
    for job, program, backend in itertools.product(
        (interrupted, undisturbed), ("train", "label"), BACKENDS):
      if backend in wanted and importlib.util.find_spec(backend) is not None:
        command = Command(root / f"{job.__name__}-{program}-{backend}",
                          backend, program,
                          # Forks share the seed of hashes, so these do not.
                          cold=job is undisturbed)
        jobs[job, program, backend] = command, pool.submit(job, command)
    yield lambda *key: (jobs[key][0], jobs[key][1].result())
    pool.shutdown(cancel_futures=True)
  signal.signal(signal.SIGINT, before)


def check_strikes(hits, word, batch):
  """Each hit what it was to hit; gives the responses that each left."""
  for blow, status, said, answered, paid in hits:
    # What the victim is asked about was charged before, and nothing else.
    assert paid in (answered, answered + batch)
    if blow == signal.SIGKILL:
      assert status == -signal.SIGKILL
    else:
      assert status == 130, said
      assert "Traceback" not in said
      progress, line = said.splitlines()[-2:]
      assert progress.startswith(word)
      assert line == "interrupted; run the same command again to go on"
  return [answered for *_, answered, _ in hits]


@on_each_backend
def test_interrupted_training_comes_to_the_same_weights(lab, backend):
  command, hits = lab(interrupted, "train", backend)
  whole, _ = lab(undisturbed, "train", backend)
  left = check_strikes(hits, "surrogate", QUERIES)
  assert left[0] == 0
  assert left[-4:] == [BUDGET] * 4
  if backend == "tensorflow":
    assert 0 < left[1] < BUDGET == left[2]
  assert responses(command.store) == responses(whole.store)
  assert len(weights(whole)) > 40
  assert weights(command) == weights(whole)
  assert result(command) == result(whole)


@on_each_backend
def test_interrupted_labelling_pays_once_for_the_same_responses(lab, backend):
  command, hits = lab(interrupted, "label", backend)
  whole, _ = lab(undisturbed, "label", backend)
  left = check_strikes(hits, "labels", BATCH)
  assert left == sorted(left)
  assert left[0] == 0 < left[1] < left[3] < left[-1] < POOL
  answers, charges = responses(command.store)
  assert (answers, charges) == responses(whole.store)
  assert len(answers) == charged(charges) == POOL
  # Each loses the batch in flight at most, which is asked again under the same
  # charge; one that hits the writing of answers does lose it, one that hits the
  # charge loses none.
  rounds = len(hits) // 2 - 1
  assert hits[0][-2:] == (0, 0)
  for *_, answered, paid in hits[2:-1:2]:
    assert paid == answered + BATCH
  assert len(asked(whole)) == POOL // BATCH
  lost = len(asked(command)) - POOL // BATCH
  assert rounds <= lost <= len(hits) - 1


@on_each_backend
def test_a_finished_run_is_shown_and_left_alone(lab, backend):
  _, (first, second) = lab(undisturbed, "train", backend)
  assert second == first
  assert {"result.json", "surrogate.keras", "metrics.jsonl"} <= set(first[1])
