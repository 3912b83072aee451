"""How the runs of a table are gone through, with stand-ins for `train`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading

import gin
import pytest
from absl import flags

from fixtures import stand_in_runs
from wsl_extraction import cli, reproduce
from wsl_extraction.errors import InputError
from wsl_extraction.report import plots, run_folder
from wsl_extraction.report.grids import grid_runs, run_processes

TABLE = """\
from __gin__ import dynamic_registration

from wsl_extraction.report.grids import grid

grid.Grid.caption = "Digits."
grid.Grid.methods = {"slow": "a.gin", "quick": "b.gin"}
grid.Grid.budgets = (16, 32)
grid.Grid.seeds = (0, 1)
"""
RESULT = stand_in_runs.result({"accuracy_top1": 0.5, "fidelity_top1": 0.5})


class Trainer:
  """Stands for `train`: writes results, or fails.

  Attributes:
    statuses: Of the runs whose names begin so; 0 otherwise.
    ran: The names of the runs that were tried.
    clock: Seconds; a slow run takes 100, a quick one 10.
    others: What another process does meanwhile.
  """

  def __init__(self):
    self.statuses: dict[str, int] = {}
    self.ran: list[str] = []
    self.clock = 0.0
    self.others = lambda run, root: None

  def __call__(self, run, root, flags):
    del flags
    self.ran.append(str(run))
    self.others(run, root)
    self.clock += 100 if run.cell.row == "slow" else 10
    for name, status in self.statuses.items():
      if str(run).startswith(name):
        return status
    stand_in_runs.write(run, root, RESULT)
    return 0


@pytest.fixture(name="trainer")
def fixture_trainer(monkeypatch):
  trainer = Trainer()
  monkeypatch.setattr(run_processes, "_train", trainer)
  monkeypatch.setattr(reproduce, "_check", lambda *_: None)
  monkeypatch.setattr(run_processes.time, "monotonic", lambda: trainer.clock)
  return trainer


@pytest.fixture(name="reproduced")
def fixture_reproduced(tmp_path, capsys):
  """Runs the command in this process; gives its two outputs."""
  (tmp_path / "table.gin").write_text(TABLE)
  before = set(flags.FLAGS)
  reproduce.define_flags()
  own = set(flags.FLAGS) - before

  def reproduced(*arguments):
    cli.FLAGS.unparse_flags()
    for name in own:
      cli.FLAGS[name].unparse()
    cli.FLAGS(["reproduce", f"--gin_file={tmp_path / 'table.gin'}",
               f"--workdir={tmp_path / 'runs'}", *arguments])
    try:
      reproduce.main()
    finally:
      shown[:] = capsys.readouterr()
    return shown

  shown: list[str] = []
  reproduced.shown = shown
  yield reproduced
  for name in own:
    delattr(flags.FLAGS, name)
  cli.FLAGS["gin_file"].unparse()
  cli.FLAGS.mark_as_parsed()
  gin.clear_config()


def test_all_runs_in_order_with_the_time_left(trainer, reproduced):
  out, err = reproduced()
  assert trainer.ran == [
      f"{row}, {budget} queries, seed {seed}" for seed in (0, 1)
      for row in ("slow", "quick") for budget in (16, 32)]
  assert "8 of 8 runs" in out
  lines = err.splitlines()
  assert lines[0] == "run 1/8: slow, 16 queries, seed 0"
  # Nothing quick was run yet: each of the seven may take as long.
  assert lines[1].endswith("seed 0, about 11 min 40 s left")
  assert lines[3].endswith("seed 0, about 3 min 50 s left")  # 3 x 10 + 2 x 100
  again, silence = reproduced()
  assert (again, silence) == (out, "")
  assert len(trainer.ran) == 8


def test_a_run_that_fails_does_not_stop_the_others(
    trainer, reproduced, tmp_path):
  trainer.statuses = {"quick, 32": 2}
  said = (r"2 of 8 runs failed, first the one in \S*/quick/budget_32/seed_0, "
          "for the reasons above; run the same command again")
  with pytest.raises(InputError, match=said):
    reproduced()
  assert len(trainer.ran) == 8
  assert "6 of 8 runs" in reproduced.shown[0]
  assert "0 of 2" in (tmp_path / "runs/table.md").read_text()
  # Even where all that is left fails: something has succeeded before.
  with pytest.raises(InputError, match=r"2 of 2 runs failed"):
    reproduced()
  trainer.statuses = {}
  assert "8 of 8 runs" in reproduced()[0]


def test_if_the_very_first_fails_the_others_are_not_tried(
    trainer, reproduced, tmp_path):
  trainer.statuses = {"slow, 16": 1}
  said = r"slow/budget_16/seed_0 ended with status 1, .* were not tried"
  with pytest.raises(InputError, match=said):
    reproduced()
  assert len(trainer.ran) == 1
  assert reproduced.shown[0] == ""
  assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("status", [130, -signal.SIGINT])
def test_an_interrupted_run_interrupts_the_table(trainer, reproduced, status):
  trainer.statuses = {"quick": status}
  with pytest.raises(KeyboardInterrupt):
    reproduced()
  assert len(trainer.ran) == 3


def test_two_runs_at_once_give_the_same_table(trainer, reproduced, tmp_path):
  out, _ = reproduced()
  order = list(trainer.ran)
  shutil.rmtree(tmp_path / "runs")
  trainer.ran.clear()
  # Each waits until the other has begun.
  meeting = threading.Barrier(2, timeout=60)
  trainer.others = lambda run, root: meeting.wait()
  again, err = reproduced("--processes=2")
  assert again == out
  assert sorted(trainer.ran) == sorted(order)
  assert "run 8/8" in err


def test_bindings_reach_the_grid(trainer, reproduced):
  out, _ = reproduced("--gin_bindings=Grid.seeds = (7,)",
                      "--gin_bindings=grid.Grid.budgets = (3,)")
  assert trainer.ran == ["slow, 3 queries, seed 7", "quick, 3 queries, seed 7"]
  assert "2 of 2 runs" in out


def bound_in(monkeypatch, reproduced, *arguments):
  """The bindings that the first run is started with."""
  started = []

  def run(command, **_):
    started.append([word.removeprefix("--gin_bindings=") for word in command
                    if word.startswith("--gin_bindings=")])
    return subprocess.CompletedProcess(command, 1)

  monkeypatch.setattr(run_processes.subprocess, "run", run)
  with pytest.raises(InputError, match="ended with status 1"):
    reproduced(*arguments)
  return started[0]


def test_run_bindings_come_just_before_the_seed(monkeypatch, reproduced):
  monkeypatch.setattr(reproduce, "_check", lambda *_: None)
  assert bound_in(
      monkeypatch, reproduced, "--run_bindings=STEPS = 20",
      "--run_bindings=a.b = 'c'",
      "--gin_bindings=Grid.settings = ('STEPS = 30',)") == [
          "STEPS = 30", "Experiment.budget = 16", "STEPS = 20", "a.b = 'c'",
          "Experiment.seed = 0"]


def test_run_bindings_reach_searches(monkeypatch, reproduced, tmp_path):
  monkeypatch.setattr(reproduce, "_check", lambda *_: None)
  (tmp_path / "table.gin").write_text(
      "from __gin__ import dynamic_registration\n"
      "from wsl_extraction.report.grids import search\n"
      "search.Search.caption = 'c'\nsearch.Search.settings = 'a.gin'\n"
      "search.Search.parameter = 'd.e'\nsearch.Search.low = 1\n"
      "search.Search.high = 2\nsearch.Search.trials = 1\n"
      "search.Search.seeds = %SEEDS\nSEEDS = (0,)\n")
  first, *rest = bound_in(
      monkeypatch, reproduced, "--run_bindings=STEPS = 20",
      "--gin_bindings=SEEDS = (4,)")
  assert first.startswith("d.e = 1.")
  assert rest == ["STEPS = 20", "Experiment.seed = 4"]


@pytest.mark.parametrize("binding", [
    "STEPS = 20", "Experiment.budget = 3", "surrogate/recipe.Recipe.steps=1"])
def test_bindings_that_no_table_reads_are_refused(trainer, reproduced, binding):
  with pytest.raises(InputError, match=r"is no parameter of .* --run_b"):
    reproduced(f"--gin_bindings={binding}")
  assert not trainer.ran


def test_runs_of_another_process_are_left_to_it(trainer, reproduced, tmp_path):
  held = run_folder.RunFolder(tmp_path / "runs/quick/budget_16/seed_0")

  def others(run, root):
    if len(trainer.ran) == 1:
      stand_in_runs.write(grid_runs.Run(run.cell, 1), root, RESULT)
      held.prepare("made.up = 1")

  trainer.others = others
  out, err = reproduced()
  held.close()
  assert len(trainer.ran) == 6
  assert "quick, 16 queries, seed 0" not in trainer.ran
  assert "slow, 16 queries, seed 1" not in trainer.ran
  assert "7 of 8 runs" in out
  assert err.splitlines()[-1] == (
      "2 of 8 runs were left to another process that runs them")
  with pytest.raises(FileExistsError):  # it is tried now that it is free
    reproduced()
  assert trainer.ran[-1] == "quick, 16 queries, seed 0"


def test_a_run_that_another_was_first_to_take_has_not_failed(
    trainer, reproduced):
  trainer.statuses = {"quick, 16": 2}

  def others(run, root):
    if str(run).startswith("quick, 16"):
      stand_in_runs.write(run, root, RESULT)

  trainer.others = others
  out, err = reproduced()
  assert "8 of 8 runs" in out
  assert "2 of 8 runs were left to another process" in err


def test_a_killed_run_is_said_to_be_killed(trainer, reproduced):
  trainer.statuses = {"quick, 16": -9}
  with pytest.raises(InputError, match="2 of 8 runs failed"):
    reproduced()
  assert reproduced.shown[1].count("seed_0 was killed by signal 9\n") == 1
  assert "| 0 of 2 (2 failed) |" in reproduced.shown[0]


def test_the_first_run_killed_gives_no_reason(trainer, reproduced):
  trainer.statuses = {"slow, 16": -9}
  with pytest.raises(InputError, match="was killed by signal 9, and the others "
                     "were not tried"):
    reproduced()


def test_nothing_is_shown_or_written_unless_all_can_be(
    trainer, reproduced, tmp_path, monkeypatch):
  def broken(_):
    raise KeyError("plot")

  monkeypatch.setattr(plots, "drawn", broken)
  with pytest.raises(KeyError):
    reproduced()
  assert reproduced.shown[0] == ""
  assert not (tmp_path / "runs/table.md").exists()


def test_a_dry_run_runs_and_writes_nothing(trainer, reproduced, tmp_path):
  trainer.statuses = {"quick": 2}
  with pytest.raises(InputError):
    reproduced()
  (tmp_path / "runs/table.md").unlink()
  out, err = reproduced("--dry_run")
  assert "4 of 8 runs" in out and not err
  assert len(trainer.ran) == 8
  assert not (tmp_path / "runs/table.md").exists()
