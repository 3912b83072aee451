"""Labelling by actors on two hosts, while actors and the owner are killed."""

from __future__ import annotations

import collections
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from fixtures import labellers, ray_clusters
from wsl_extraction.oracle.rows import row_keys

ROOT = pathlib.Path(__file__).parents[3]
ROWS, BATCH = 5000, 50

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="address")
def fixture_address():
  with ray_clusters.two_nodes() as address:
    yield address


def start(path, address, kind="local", rows=ROWS):
  return subprocess.Popen(
      [sys.executable, str(ROOT / "tests/fixtures/labellers.py"), str(path),
       address, kind, str(rows)], stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True,
      env={**os.environ, **ray_clusters.variables(),
           "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"})


def asked(path):
  """Which rows were sent to which process, in order."""
  log = pathlib.Path(f"{path}-log")
  return [tuple(map(int, line.split())) for line in (
      log.read_text().splitlines() if log.exists() else ())]


def users(path):
  """The processes that have the file open."""
  return {int(folder.parent.name) for folder in pathlib.Path("/proc").glob(
      "[0-9]*/fd") for link in _links(folder) if link == str(path)}


def _links(folder):
  try:
    return [os.readlink(one) for one in folder.iterdir()]
  except OSError:
    return []


def kill_actors(path, process, rng, most, gone):
  """Kills actors at random moments while they answer, so many in all.

  None of those in `gone`: actors of an owner that was killed may take a moment
  to end.
  """
  kills = 0
  while kills < most and process.poll() is None:
    before = len(asked(path))
    ray_clusters.await_(
        lambda before=before: len(asked(path)) > before + 4 * BATCH, process)
    time.sleep(rng.uniform(0, 0.1))
    if actors := [actor for actor in ray_clusters.workers("Holder")
                  if actor.pid not in gone]:
      assert users(path) <= {process.pid}
      actor = rng.choice(actors)
      actor.kill()
      gone.add(actor.pid)
      kills += 1
  return kills


def charges(path):
  with sqlite3.connect(path) as database:
    spent, resent = database.execute(
        "SELECT SUM(rows), SUM(resent) FROM charges").fetchone()
    keys = [key for key, in database.execute("SELECT key FROM responses")]
  return spent, resent, keys


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_actors_and_the_owner_are_killed(tmp_path, address, kind):
  path, rng = tmp_path / "s", random.Random(kind)
  with start(path, address, kind) as process:
    kills = kill_actors(path, process, rng, 2, set())
    ray_clusters.await_(lambda: len(set(asked(path))) > ROWS / 3,
                        process)
    process.send_signal(signal.SIGKILL)
  gone = {actor.pid for actor in ray_clusters.workers("Holder")}
  with start(path, address, kind) as process:
    kills += kill_actors(path, process, rng, 1, gone)
    out, err = process.communicate(timeout=120)
  assert (process.returncode, out) == (0, ""), err
  assert kills == 3
  assert err.count("another one takes its place") == len(
      err.splitlines()) == 1, err
  rows = labellers.pool(ROWS)
  spent, resent, keys = charges(path)
  assert collections.Counter(keys) == dict.fromkeys(row_keys(rows), 1)
  times = collections.Counter(row for _, row in asked(path))
  assert set(times) == set(range(ROWS))
  if kind == "local":
    # Some were asked twice; their answers died with those who knew them.
    assert (spent, resent) == (ROWS, 0)
  else:
    # Charged before it is sent: a kill in between charges, and asks nobody.
    assert spent == ROWS + resent >= sum(times.values()) > ROWS
  with labellers.store(path) as kept:
    np.testing.assert_array_equal(kept.read(row_keys(rows)).values,
                                  labellers.scores(rows).arrays["values"])
