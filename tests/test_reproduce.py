"""Tables run as commands: killed, gone on with, and shown again."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from fixtures import commands

# Writes down how many rows it is asked about, and waits as long as the file
# "hold" exists.
HELD = '''
import pathlib, time
import numpy_victim

def scores(images):
  with open("asked.txt", "a") as log:
    log.write(f"{len(images)}\\n")
  if pathlib.Path("hold").exists():
    pathlib.Path("waiting").touch()
  while pathlib.Path("hold").exists():
    time.sleep(0.02)
  return numpy_victim.scores(images)
'''
GRID = commands.GRID + """
grid.Grid.settings = ("import held_victim",
                       "function.Function.function = @held_victim.scores")
"""
RUNS = ("runs/two_steps/budget_16/seed_0", "runs/one_step/budget_16/seed_0")
TESTS = 50  # rows of the test set of each run
OUTPUT = ("table.md", "table.tex", "table.csv", "runs.csv", "plot.png",
          "plot.pdf")


def prepare(folder: pathlib.Path) -> dict[str, str]:
  """Writes a grid; gives the environment of the command."""
  folder.mkdir(exist_ok=True)
  commands.write_modules(folder)
  (folder / "held_victim.py").write_text(HELD)
  (folder / "grid.gin").write_text(GRID)
  return commands.environment(folder)


def words(*more: str) -> list[str]:
  return commands.command(
      "reproduce", "--gin_file=grid.gin", "--workdir=runs", *more)


def undisturbed(folder: pathlib.Path) -> list[commands.Outcome]:
  """Runs the grid, and once more."""
  environ = prepare(folder)
  return [commands.run(words(), folder, environ) for _ in range(2)]


def disturbed(folder: pathlib.Path) -> list[commands.Outcome]:
  """Kills the grid but not its run, which still holds its folder; goes on."""
  environ = prepare(folder)
  (folder / "hold").touch()
  with subprocess.Popen(
      words(), cwd=folder, env=environ, stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL) as process:
    wait_for((folder / "waiting").exists)
    process.send_signal(signal.SIGKILL)
  refusal = commands.run(words(), folder, environ)
  (folder / "hold").unlink()
  # The run that lost its parent ends well.
  wait_for((folder / RUNS[0] / "result.json").exists)
  wait_for(lambda: not is_locked(folder / RUNS[0] / ".lock"))
  return [refusal, commands.run(words(), folder, environ)]


def wait_for(condition, patience: float = 120) -> None:
  deadline = time.monotonic() + patience
  while not condition():
    assert time.monotonic() < deadline, "it did not come"
    time.sleep(0.02)


def is_locked(path: pathlib.Path) -> bool:
  with open(path) as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
      return True
  return False


@pytest.fixture(scope="module", name="grids_run")
def fixture_grids_run(tmp_path_factory):
  root = tmp_path_factory.mktemp("grids")
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    jobs = {job: threads.submit(job, root / job.__name__)
            for job in (disturbed, undisturbed)}
    yield {job: (root / job.__name__, future.result())
           for job, future in jobs.items()}


def test_the_same_command_again_runs_nothing_and_prints_the_same(grids_run):
  _, (first, second) = grids_run[undisturbed]
  assert (first.status, second.status) == (0, 0), first.stderr
  for number, row in enumerate(("two steps", "one step"), 1):
    assert f"run {number}/2: {row}, 16 queries, seed 0" in first.stderr
  assert " left\n" in first.stderr
  assert second.stderr == ""
  assert second.stdout == first.stdout
  assert second.after == first.after
  assert first.stdout == first.after["runs/table.md"].decode()
  assert set(OUTPUT) <= {os.path.basename(name) for name in first.after}
  assert "2 of 2 runs" in first.stdout
  assert "two steps minus one step, 16 queries" in first.stdout


def results(files: dict[str, bytes | None], *runs: str) -> list[dict]:
  return [json.loads(files[f"{run}/result.json"] or "") for run in runs]


def test_the_victim_is_asked_about_the_test_set_once_for_all_runs(grids_run):
  for job in (undisturbed, disturbed):
    _, outcomes = grids_run[job]
    after = outcomes[-1].after
    first, second = results(after, *RUNS)
    assert first["measured"] == second["measured"] == TESTS
    assert (first["measured_anew"], second["measured_anew"]) == (TESTS, 0)
    assert sum(map(int, after["asked.txt"].split())) == TESTS + 2 * 16
    kept = {name for name in after if name.startswith("runs/measured/")}
    assert len(kept) == 1 and kept.pop().endswith(".sqlite")
    assert not any(f"{run}/measured.sqlite" in after for run in RUNS)


def test_runs_at_once_wait_for_each_other_and_ask_once(tmp_path):
  environ = prepare(tmp_path)
  (tmp_path / "hold").touch()
  processes = [start_train(tmp_path, environ, "a")]
  try:
    # It asks about its first rows of the test set, and holds their file.
    wait_for((tmp_path / "waiting").exists)
    processes.append(start_train(tmp_path, environ, "b"))
    wait_for((tmp_path / "b/config.gin").exists)
    time.sleep(1)
    assert all(process.poll() is None for process in processes)
    (tmp_path / "hold").unlink()
    for process in processes:
      _, said = process.communicate(timeout=120)
      assert process.returncode == 0, said
  finally:
    for process in processes:
      process.kill()
  after = commands.contents(tmp_path)
  assert sum(one["measured_anew"] for one in results(after, "a", "b")) == TESTS
  asked = after["asked.txt"]
  assert asked is not None
  assert sum(map(int, asked.split())) == TESTS + 2 * 16


def start_train(folder: pathlib.Path, environ: dict[str, str],
                name: str) -> subprocess.Popen:
  return subprocess.Popen(
      commands.command(
          "train", "--gin_file=base.gin", f"--workdir={name}",
          "--measured=shared", "--gin_bindings=Experiment.budget = 16",
          "--gin_bindings=import held_victim",
          "--gin_bindings=function.Function.function = @held_victim.scores"),
      cwd=folder, env=environ, text=True, stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE)


def without_hours(table: str) -> list[list[str]]:
  return [line.split("|")[:-2] for line in table.splitlines()
          if line.startswith("|")]


def test_a_killed_table_comes_to_the_same(grids_run):
  _, (whole, _) = grids_run[undisturbed]
  _, (refusal, last) = grids_run[disturbed]
  assert (refusal.status, refusal.stdout) == (2, "")
  assert refusal.stderr.count("\n") == 1
  assert f"error: {RUNS[0]} is in use by process " in refusal.stderr
  assert "wait until it ends" in refusal.stderr
  assert refusal.after == refusal.before
  assert last.status == 0, last.stderr
  assert "run 1/1: one step" in last.stderr
  assert without_hours(last.stdout) == without_hours(whole.stdout)
  assert last.after["runs/plot.png"] == whole.after["runs/plot.png"]
  assert names(last.after) == names(whole.after)


def names(files: dict[str, bytes | None]) -> set[str]:
  """The files of the grid, but for TensorBoard's, which are named by time."""
  return {name for name in files if name.startswith("runs/")
          and "/events/" not in name}


def test_results_of_other_settings_are_refused_and_left_alone(
    grids_run, tmp_path):
  folder, _ = grids_run[undisturbed]
  shutil.copytree(folder, tmp_path / "copy")
  outcome = commands.run(
      words("--gin_bindings=Grid.settings = "
            "'surrogate/recipe.Recipe.steps = 5'"),
      tmp_path / "copy",
      commands.environment(tmp_path / "copy"))
  assert (outcome.status, outcome.stdout) == (2, "")
  assert outcome.stderr.count("\n") == 1
  assert RUNS[0] in outcome.stderr
  assert "another configuration" in outcome.stderr
  assert outcome.after == outcome.before
