"""Runs that workers of an engine do, of which some end or fail."""

from __future__ import annotations

import itertools

import pytest

from fixtures import stand_in_runs
from fixtures.scripted_engine import ScriptedEngine
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid_runs, run_processes
from wsl_extraction.report.grids.grid_runs import Cell, GinSettings, Run
from wsl_extraction.report.grids.run_processes import Ended
from wsl_extraction.report.run_folder import RunFolder
from wsl_extraction.runtime.engines.engine import WorkerLost

RESULT = stand_in_runs.result({"accuracy_top1": 0.5})
CELLS = [Cell(row, "16", GinSettings(), row) for row in "ab"]
PLANNED = grid_runs.runs(CELLS, (0, 1, 2))


class Runs:
  """Writes a result for each run, or fails.

  Attributes:
    ran: The names of the runs that were tried.
  """

  def __init__(self, root, statuses=()):
    self._root, self._statuses = root, dict(statuses)
    self.ran: list[str] = []

  def __call__(self):
    return self

  def train(self, run):
    self.ran.append(str(run))
    status = self._statuses.get(str(run), 0)
    if isinstance(status, Exception):
      raise status
    if not status and not run.folder(self._root).exists():
      stand_in_runs.write(run, self._root, RESULT)
    return Ended(status, "error: no reason\n" if status else "")


class RunEngine(ScriptedEngine):
  """Whose scripted calls are of runs."""

  def start(self, make, number):
    worker = super().start(make, number)
    call = worker.call
    worker.call = lambda method, *arguments: call("answer", *arguments)
    worker._held = _Answering(worker._held)
    return worker


class _Answering:

  def __init__(self, runs):
    self.answer = runs.train


def run_all(root, runs, **script):
  return run_processes.run_all(
      PLANNED, root, False, RunEngine(2, depth=1, **script), runs)


def results(root):
  return [run.folder(root).joinpath("result.json").exists() for run in PLANNED]


def test_runs_that_were_lost_are_done_again(tmp_path, capsys):
  runs = Runs(tmp_path)
  assert run_all(tmp_path, runs, lost=(1, 4)) == ([], 0)
  assert all(results(tmp_path))
  assert len(runs.ran) == 8 and set(runs.ran) == set(map(str, PLANNED))
  err = capsys.readouterr().err.splitlines()
  assert sum("another one takes its place" in line for line in err) == 2
  # Each is announced when it is started, lost ones again.
  assert sum(line.startswith("run ") for line in err) == 8


def test_a_run_that_ends_every_worker_has_failed_and_others_go_on(
    tmp_path, capsys):
  runs = Runs(tmp_path, {str(PLANNED[3]): WorkerLost("it fell")})
  assert run_all(tmp_path, runs) == ([PLANNED[3]], 0)
  assert results(tmp_path) == [True, True, True, False, True, True]
  assert capsys.readouterr().err.count(
      f"error: 4 workers ended one after the other on the run {PLANNED[3]} (it "
      "fell); see") == 1


def test_reasons_of_failed_runs_are_shown(tmp_path, capsys):
  failing = str(PLANNED[3])
  runs = Runs(tmp_path, {failing: 2})
  assert run_all(tmp_path, runs) == ([PLANNED[3]], 0)
  assert results(tmp_path) == [True, True, True, False, True, True]
  assert capsys.readouterr().err.count("error: no reason\n") == 1


def test_a_host_that_cannot_do_a_run_says_so(tmp_path, capsys):
  runs = Runs(tmp_path, {str(PLANNED[3]): InputError("no data there")})
  assert run_all(tmp_path, runs)[0] == [PLANNED[3]]
  assert "error: no data there\n" in capsys.readouterr().err


def test_if_those_that_begin_all_fail_no_others_are_tried(tmp_path):
  runs = Runs(tmp_path, zip(map(str, PLANNED), itertools.repeat(2)))
  with pytest.raises(InputError, match=(
      r"a/seed_0 ended with status 2, .* the others were not tried")):
    run_all(tmp_path, runs)
  assert len(runs.ran) == 1  # the other worker is not ready so soon


def test_if_the_first_fails_and_another_succeeds_all_are_tried(tmp_path):
  runs = Runs(tmp_path, {str(PLANNED[1]): 2})
  assert run_all(tmp_path, runs) == ([PLANNED[1]], 0)
  assert len(runs.ran) == 6


def test_an_interrupted_run_interrupts_the_table(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    run_all(tmp_path, Runs(tmp_path, {str(PLANNED[2]): 130}))


def test_files_of_a_run_elsewhere_are_written(tmp_path):
  """Its host shares no file system with the owner of the table."""
  there, here = tmp_path / "there", tmp_path / "here"
  run = Run(CELLS[0], 0)
  source = stand_in_runs.write(run, there, RESULT)
  (source / "surrogate.keras").write_bytes(b"\0weights")
  (source / "checkpoint.npz").write_bytes(b"large")

  class Elsewhere:
    def train(self, run):
      from wsl_extraction.cli_runs import _contents
      return Ended(0, "", _contents(run.folder(there)))

  assert run_processes.run_all(
      [run], here, False, RunEngine(1, depth=1), Elsewhere) == ([], 0)
  folder = RunFolder(run.folder(here))
  assert folder.read_json("result.json") == RESULT
  assert folder.surrogate.read_bytes() == b"\0weights"
  assert folder.config.read_text() == (source / "config.gin").read_text()
  assert not folder.checkpoint.exists()
  folder.refuse_use()  # it is free
