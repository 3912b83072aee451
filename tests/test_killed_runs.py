"""kill -9 at random moments of `label` and `train`: nothing lost, none twice.

How often is chosen by WSL_KILLS; 4 of each kind by default, to save time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import sqlite3
import subprocess
import time

import numpy as np
import pytest

from fixtures import stopped_commands
from fixtures.stopped_commands import BATCH, BUDGET, POOL, QUERIES, Command
from test_interruption import responses, weights

KILLS = int(os.environ.get("WSL_KILLS", "4"))
SEED = int(os.environ.get("WSL_KILLS_SEED", "0"))
REMOTE = "--gin_bindings=Function.remote = True"

pytestmark = pytest.mark.slow


def charges(store):
  """The keys charged, in order, and how many of them were charged before."""
  with contextlib.closing(sqlite3.connect(store)) as held:
    assert held.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = held.execute("SELECT rows, keys, resent FROM charges").fetchall()
    answered = {key for key, in held.execute("SELECT key FROM responses")}
  keys = [joined[start:start + 16] for _, joined, _ in rows
          for start in range(0, len(joined), 16)]
  assert len(keys) == sum(count for count, *_ in rows)
  return keys, sum(resent for *_, resent in rows), answered


def check_killed(command, batch, is_remote):
  """What a kill leaves: every answer was charged, at most one batch waits."""
  if not command.store.exists():
    return
  keys, resent, answered = charges(command.store)
  assert answered <= set(keys)
  assert len(set(keys) - answered) <= batch
  assert len(keys) - len(set(keys)) == resent
  if not is_remote:
    assert resent == 0


def strike(command, seconds):
  """Kills it after so many seconds; True if it came to its end before."""
  with command.start() as process:
    try:
      process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      process.communicate()
      return False
  assert process.returncode == 0
  return True


def killed(root, program, arguments, batch, check_end):
  """Kills fresh and resumed commands until that was done often enough."""
  rng, kills, number = random.Random(SEED), 0, 0
  # Forks share the seed of hashes: what they must come to is made without.
  whole = Command(root / "whole", "jax", program, arguments, cold=True)
  whole.finish()
  timed = Command(root / "timed", "jax", program, arguments)
  start = time.monotonic()
  timed.finish()
  duration = time.monotonic() - start
  while kills < KILLS:
    command = Command(root / f"killed{number}", "jax", program, arguments)
    number += 1
    # Half of the lives begin where an earlier one was killed.
    while kills < KILLS and not strike(command, rng.uniform(0, duration)):
      kills += 1
      check_killed(command, batch, REMOTE in arguments)
    # The last process has another seed of hashes than all before.
    said = dataclasses.replace(command, cold=True).finish()
    check_end(command, whole, said)
  return kills


def test_label_with_a_local_victim(tmp_path):
  def check_end(command, whole, said):
    del said
    assert responses(command.store) == responses(whole.store)
    keys, resent, answered = charges(command.store)
    assert (len(keys), len(set(keys)), resent, len(answered)) == (
        POOL, POOL, 0, POOL)

  stopped_commands.prepare(tmp_path)
  assert killed(tmp_path, "label", (), BATCH, check_end) >= KILLS


def test_label_with_a_remote_victim(tmp_path):
  def check_end(command, whole, said):
    keys, resent, answered = charges(command.store)
    assert len(answered) == POOL == len(set(keys))
    assert len(keys) == POOL + resent
    assert responses(command.store)[0] == responses(whole.store)[0]
    if resent:
      assert f"{resent} of them rows sent again" in said

  stopped_commands.prepare(tmp_path)
  assert killed(tmp_path, "label", (REMOTE,), BATCH, check_end) >= KILLS


def test_train(tmp_path):
  def check_end(command, whole, said):
    del said
    assert responses(command.store) == responses(whole.store)
    keys, resent, answered = charges(command.store)
    assert (len(keys), len(set(keys)), resent, len(answered)) == (
        BUDGET, BUDGET, 0, BUDGET)
    first, second = weights(command), weights(whole)
    assert first.keys() == second.keys() and len(first) > 40
    for name, array in second.items():
      np.testing.assert_array_equal(
          np.frombuffer(first[name], np.uint8),
          np.frombuffer(array, np.uint8), err_msg=str(name))

  stopped_commands.prepare(tmp_path)
  assert killed(tmp_path, "train", (), QUERIES, check_end) >= KILLS
