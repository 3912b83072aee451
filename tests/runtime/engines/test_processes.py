"""Processes of this machine as workers: what they have, and when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from fixtures.source_tree import ROOT
from wsl_extraction.runtime.engines.crew import Crew
from wsl_extraction.runtime.engines.processes import Processes
from wsl_extraction.runtime.engines.shares import available_cpus


class Inside:
  """Tells of its process."""

  def variables(self):
    return dict(os.environ)


def test_they_have_the_environment_from_before_and_their_share_of_cpus(
    monkeypatch):
  monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
  monkeypatch.setenv("MKL_NUM_THREADS", "7")  # of the user's own choice
  monkeypatch.setenv("KERAS_BACKEND", "first")
  with Processes(2) as engine:
    monkeypatch.setenv("KERAS_BACKEND", "second")
    monkeypatch.setenv("NEW", "1")
    with Crew(engine, Inside) as crew:
      inside = crew.ask("variables")
  assert inside["KERAS_BACKEND"] == "first"
  assert "NEW" not in inside
  assert inside["OMP_NUM_THREADS"] == str(max(available_cpus() // 2, 1))
  assert inside["MKL_NUM_THREADS"] == "7"
  assert (os.environ["KERAS_BACKEND"], os.environ["NEW"]) == ("second", "1")


_OWNER = """
import os, time
from wsl_extraction.runtime.engines.crew import Crew
from wsl_extraction.runtime.engines.processes import Processes
class Inside:
  def pid(self): return os.getpid()
if __name__ == "__main__":
  with Crew(Processes(1), Inside) as crew:
    print(crew.ask("pid"), flush=True)
    time.sleep(60)
"""


def test_they_end_with_an_owner_that_is_killed():
  with subprocess.Popen(
      [sys.executable, "-c", _OWNER], stdout=subprocess.PIPE, text=True,
      env={**os.environ, "PYTHONPATH": str(ROOT)}) as owner:
    assert owner.stdout
    worker = psutil.Process(int(owner.stdout.readline()))
    assert worker.is_running()
    owner.send_signal(signal.SIGKILL)
  _, alive = psutil.wait_procs([worker], timeout=10)
  for one in alive:
    one.kill()
  assert not alive
