"""Processes and threads at one store: one owner, and exact charges."""

from __future__ import annotations

import concurrent.futures
import contextlib
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

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Label, Scores
from wsl_extraction.oracle.rows import row_keys
from wsl_extraction.oracle.store_file import Mode
from wsl_extraction.runtime import folder_lock

ROOT = pathlib.Path(__file__).parent.parent.parent
# Asks 200 rows in batches that overlap, with a budget; logs what it is asked
# before it answers. Arguments: the store, whether the victim is remote.
ASK = """
import sys, time
import numpy as np
from fixtures import oracles
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Scores

path, remote, wait = sys.argv[1], sys.argv[2] == "remote", float(sys.argv[3])

def predict(x):
  with open(path + "-log", "a") as log:
    log.write("".join(f"{int(i)}\\n" for i in x[:, 0]))
  time.sleep(wait)
  return np.sin(x + np.arange(3))

with ResponseStore(path, Scores(), 3) as store:
  oracle = oracles.oracle(predict, 3, 1, store=store, remote=remote,
                          budget=None if remote else 203)
  print("ready", flush=True)
  sys.stdin.readline()
  for start in range(0, 200, 5):
    oracle.query(np.arange(start, start + 8.0)[:, None])
"""


@contextlib.contextmanager
def process(path, remote=False, wait=0.0):
  with subprocess.Popen(
      [sys.executable, "-c", ASK, str(path), "remote" if remote else "local",
       str(wait)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True, env={
          **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
  ) as running:
    try:
      yield running
    finally:
      running.kill()


def start(running):
  assert running.stdin and running.stdout
  assert running.stdout.readline() == "ready\n"
  running.stdin.write("\n")
  running.stdin.flush()


def asked(path):
  log = pathlib.Path(f"{path}-log")
  return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_a_second_process_is_refused_and_spends_nothing(tmp_path):
  path = tmp_path / "s"
  with process(path) as first:
    assert first.stdin and first.stdout
    assert first.stdout.readline() == "ready\n"
    with process(path) as second:
      _, text = second.communicate(timeout=60)
    assert second.returncode
    assert text.splitlines()[-1].endswith(
        f"InputError: {path} is in use by process {first.pid}; one process at "
        "a time asks for its responses: wait until it has ended")
    assert not asked(path)
    first.stdin.write("\n")
    first.stdin.flush()
    assert first.wait(60) == 0
  assert asked(path) == [*range(203)]
  assert not path.with_name("s.lock").exists()


def test_a_second_store_of_the_same_process_is_refused(tmp_path):
  with ResponseStore(tmp_path / "s", Label(), 2), pytest.raises(
      InputError, match=f"in use by process {os.getpid()}"):
    ResponseStore(tmp_path / "s", Label(), 2)
  ResponseStore(tmp_path / "s", Label(), 2).close()


def test_a_reader_is_refused_while_there_is_an_owner(tmp_path):
  with ResponseStore(tmp_path / "s", Label(), 2), pytest.raises(
      InputError, match="in use by process"):
    ResponseStore(tmp_path / "s", Label(), 2, mode=Mode.READER)
  # Readers bear with each other, and keep an owner out.
  with ResponseStore(tmp_path / "s", Label(), 2, mode=Mode.READER) as one:
    with ResponseStore(tmp_path / "s", Label(), 2, mode=Mode.READER) as two:
      assert len(one) == len(two) == 0
    with pytest.raises(InputError, match="in use by process"):
      ResponseStore(tmp_path / "s", Label(), 2)


def test_a_patient_process_waits_for_its_turn(tmp_path):
  path = tmp_path / "s"
  with process(path, wait=0.02) as first:
    start(first)
    while not asked(path):
      time.sleep(0.01)
    with ResponseStore(path, Scores(), 3, patience=60) as store:
      assert (first.wait(60), len(store)) == (0, 203)


def test_two_owners_without_a_lock_are_noticed_before_they_spend(
    tmp_path, monkeypatch):
  """Some file systems of the network know no locks."""
  monkeypatch.setattr(folder_lock, "_is_taken", lambda *_: False)
  served = []

  def oracle(store):
    def predict(x):
      served.append(len(x))
      return np.eye(2)[x[:, 0].astype(int) % 2]
    return oracles.oracle(predict, 2, 1, "label", store=store, budget=10)

  with (ResponseStore(tmp_path / "s", Label(), 2) as one,
        ResponseStore(tmp_path / "s", Label(), 2) as two):
    oracle(one).query(np.arange(10.0)[:, None])
    with pytest.raises(InputError, match="written by another process"):
      oracle(two).query(np.arange(10.0, 20)[:, None])
  assert served == [10]


def test_threads_that_share_a_store_pay_once(tmp_path):
  served = []

  def predict(x):
    served.extend(x[:, 0].tolist())
    time.sleep(0.002)
    return np.sin(x + np.arange(3))

  with ResponseStore(tmp_path / "s", Scores(), 3) as store:
    oracle = oracles.oracle(predict, 3, 1, store=store)

    def work(seed):
      rng = np.random.default_rng(seed)
      for _ in range(20):
        x = rng.integers(0, 60, (6, 1)) * 1.0
        response = oracle.query(x)
        np.testing.assert_array_equal(response.values,
                                      store.read(row_keys(x)).values)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
      list(threads.map(work, range(4)))
    assert store.spent == len(store) == len(served) == len(set(served))


def test_two_oracles_on_one_store_share_its_budget(tmp_path):
  with ResponseStore(tmp_path / "s", Label(), 2) as store:
    first, second = (oracles.oracle(lambda x: np.zeros((len(x), 2)), 2, 1,
                                    "label", store=store, budget=10)
                     for _ in range(2))
    first.query(np.arange(7.0)[:, None])
    assert second.ledger.left() == 3
    with pytest.raises(InputError, match="7 of 10"):
      second.query(np.arange(20.0, 24)[:, None])


def killed(path, remote, seed):
  """Kills a process that asks, at a random moment, until one comes through."""
  rng = random.Random(seed)
  kills = 0
  for _ in range(100):
    with process(path, remote, wait=0.01) as running:
      start(running)
      try:
        running.wait(rng.uniform(0, 0.7) if kills else 0.1)
      except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        kills += 1
      if running.wait() == 0:
        return kills
  raise AssertionError("never came through")


def test_kill_9_between_answer_and_commit_pays_each_row_once(tmp_path):
  """A local victim dies with the process that lost its answer."""
  path = tmp_path / "s"
  assert killed(path, remote=False, seed=0) > 0
  assert set(asked(path)) == set(range(203))
  with ResponseStore(path, Scores(), 3) as store:
    assert (store.spent, store.resent, len(store)) == (203, 0, 203)
    kept = store.read(row_keys(np.arange(203.0)[:, None])).values
  with process(tmp_path / "once") as running:
    start(running)
    assert running.wait(60) == 0
  with ResponseStore(tmp_path / "once", Scores(), 3) as store:
    np.testing.assert_array_equal(
        kept, store.read(row_keys(np.arange(203.0)[:, None])).values)


def test_kill_9_charges_the_lost_rows_of_a_remote_victim_again(tmp_path):
  path = tmp_path / "s"
  assert killed(path, remote=True, seed=1) > 0
  with ResponseStore(path, Scores(), 3) as store:
    # Charged before it is asked: a kill in between charges, and asks nobody.
    assert store.spent >= len(asked(path)) >= 203
    assert store.spent == 203 + store.resent
  with contextlib.closing(sqlite3.connect(path)) as database:
    assert database.execute(
        "SELECT SUM(rows), SUM(resent) FROM charges").fetchone() == (
            store.spent, store.resent)
