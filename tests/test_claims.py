"""Processes and threads at one store: who waits for whom, who pays what."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.special

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.claims import Claims
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response_store import ResponseStore

ROOT = pathlib.Path(__file__).parent.parent
HOLD = """
import pathlib, sys
from wsl_extraction.oracle.claims import Claims
claims = Claims(pathlib.Path(sys.argv[1]))
with claims.held([key.encode() for key in sys.argv[2:]]):
  print("held", flush=True)
  sys.stdin.readline()
print("given back", flush=True)
sys.stdin.readline()
claims.close()
"""
ANSWER = """
import pathlib, sys, time
import numpy as np
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.oracle import Oracle

def victim(x):
  with open(f"{path}-{sys.argv[2]}", "a") as log:
    log.write("".join(f"{int(i)}\\n" for i in x[:, 0]))
  time.sleep(0.02)
  return np.sin(x + np.arange(3))

path = sys.argv[1]
oracle = Oracle(victim, outputs="logits", input_shape=(1,), num_classes=3)
identity = {"access": "scores", "k": None, "num_classes": 3}
with ResponseStore(path, identity) as s:
  print("ready", flush=True)
  sys.stdin.readline()
  for start in range(0, 200, 5):
    numbers = np.arange(start, start + 8)  # batches overlap
    s.answer(oracle, [b"%d" % i for i in numbers], numbers[:, None] * 1.0)
"""


@contextlib.contextmanager
def process(script, *arguments):
  with subprocess.Popen(
      [sys.executable, "-c", script, *map(str, arguments)],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
      env={**os.environ, "PYTHONPATH": str(ROOT)}) as running:
    try:
      yield running
    finally:
      running.kill()


def told(running):
  return running.stdout.readline().strip()


def go_on(running):
  running.stdin.write("\n")
  running.stdin.flush()


def silent(running, seconds=0.3):
  return not select.select([running.stdout], [], [], seconds)[0]


def test_a_claim_is_waited_for_and_others_are_not(tmp_path):
  path = tmp_path / "claims"
  with process(HOLD, path, "a", "b") as first:
    assert told(first) == "held"
    with process(HOLD, path, "c", "d") as other:
      assert told(other) == "held"
    with process(HOLD, path, "c", "b") as second:
      assert silent(second, 1.5)
      go_on(first)
      assert told(first) == "given back"
      assert told(second) == "held"


def test_the_claims_of_a_killed_process_end_with_it(tmp_path):
  path = tmp_path / "claims"
  with process(HOLD, path, "a") as first:
    assert told(first) == "held"
    with process(HOLD, path, "a") as second:
      assert silent(second, 1.5)
      first.send_signal(signal.SIGKILL)
      assert told(second) == "held"
      go_on(second)
      go_on(second)
      assert second.wait(60) == 0
  assert not path.exists()


def test_the_last_to_close_removes_the_file(tmp_path):
  path = tmp_path / "claims"
  claims = Claims(path)
  with process(HOLD, path, "a") as other:
    assert told(other) == "held"
    with claims.held([b"b"]):
      assert not claims.alone()
    claims.close()
    assert path.exists()
    go_on(other)
    go_on(other)
    assert other.wait(60) == 0
  assert not path.exists()
  with claims.held([b"b"]):  # opens another file
    assert path.exists()
  assert claims.alone()
  claims.close()
  claims.close()
  assert not path.exists()


def test_claims_that_cannot_be_made_are_named(tmp_path):
  claims = Claims(tmp_path / "no" / "claims")
  with pytest.raises(
      InputError, match=r"cannot write .*no.claims.*; choose"
  ), claims.held([b"a"]):
    pass


def test_processes_that_ask_the_same_pay_once(tmp_path):
  path = tmp_path / "s"
  with process(ANSWER, path, 1) as one, process(ANSWER, path, 2) as two:
    assert told(one) == told(two) == "ready"
    go_on(one)
    go_on(two)
    assert (one.wait(60), two.wait(60)) == (0, 0)
  asked = [np.loadtxt(f"{path}-{i}", dtype=int, ndmin=1) for i in (1, 2)]
  assert min(map(len, asked)) > 0
  np.testing.assert_array_equal(
      np.sort(np.concatenate(asked)), np.arange(203))
  with ResponseStore(path, {"access": "scores", "k": None,
                         "num_classes": 3}) as store:
    assert store.spent == len(store) == 203


def test_a_victim_at_work_holds_up_no_other_process(tmp_path):
  """One asks for a long time; another one writes meanwhile."""
  slow = ANSWER.replace("sleep(0.02)", "sleep(600)")
  path = tmp_path / "s"
  with process(slow, path, 1) as first:
    assert told(first) == "ready"
    go_on(first)
    while not pathlib.Path(f"{path}-1").exists():
      time.sleep(0.01)
    script = ANSWER.replace("range(0, 200, 5)", "range(100, 120, 5)")
    with process(script, path, 2) as second:
      assert told(second) == "ready"
      go_on(second)
      assert second.wait(60) == 0
    first.send_signal(signal.SIGKILL)
    first.wait()
  with ResponseStore(path, {"access": "scores", "k": None,
                         "num_classes": 3}) as store:
    assert store.spent == len(store) == 23


def test_threads_that_share_a_store_pay_once(tmp_path):
  asked = []

  def victim(x):
    asked.extend(x[:, 0].tolist())
    time.sleep(0.002)
    return np.sin(x + np.arange(3))

  oracle = Oracle(victim, outputs="logits", input_shape=(1,), num_classes=3)
  with ResponseStore(tmp_path / "s", {"access": "scores", "k": None,
                                   "num_classes": 3}) as store:
    def work(seed):
      rng = np.random.default_rng(seed)
      for _ in range(20):
        numbers = rng.integers(0, 60, 6)
        keys = [b"%d" % number for number in numbers]
        said = store.answer(oracle, keys, numbers[:, None] * 1.0)
        np.testing.assert_array_equal(said.values, store.read(keys).values)
        np.testing.assert_allclose(
            said.values, scipy.special.softmax(
                np.sin(numbers[:, None] + np.arange(3)), axis=1), rtol=1e-6)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
      list(threads.map(work, range(4)))
    assert store.spent == len(store) == len(asked) == len(set(asked))


def test_two_stores_of_a_process_charge_all_that_they_ask(tmp_path):
  """Claims do not part them; the first response stays."""
  path, named = tmp_path / "s", {"access": "label", "k": None, "num_classes": 2}

  def oracle(victim):
    return Oracle(victim, outputs="probabilities", input_shape=(1,),
                  num_classes=2, access="label")

  first = oracle(lambda x: np.tile([0.0, 1.0], (len(x), 1)))
  with ResponseStore(path, named) as one, ResponseStore(path, named) as two:
    def late(x):
      two.answer(first, [b"a"], np.zeros((1, 1)))
      return np.tile([1.0, 0.0], (len(x), 1))

    said = one.answer(oracle(late), [b"a", b"b"], np.zeros((2, 1)))
    assert said.labels.tolist() == [1, 0]
    assert (one.spent, len(one)) == (3, 2)


def test_what_is_read_unchanged_belongs_together(tmp_path):
  path, named = tmp_path / "s", {"access": "label", "k": None, "num_classes": 2}
  oracle = Oracle(lambda x: np.tile([0.0, 1.0], (len(x), 1)), input_shape=(1,),
                  outputs="probabilities", num_classes=2, access="label")

  def write():
    with ResponseStore(path, named) as other:
      other.answer(oracle, [b"a"], np.zeros((1, 1)))

  with (ResponseStore(path, named) as store,
        concurrent.futures.ThreadPoolExecutor() as threads):
    with store.unchanged():
      assert not len(store)
      writing = threads.submit(write)
      with pytest.raises(TimeoutError):
        writing.result(0.3)
      assert store.spent == 0
    writing.result(60)
    assert store.spent == len(store) == 1
