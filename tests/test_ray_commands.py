"""`label` and `reproduce` on a cluster of two hosts, with workers killed."""

from __future__ import annotations

import concurrent.futures
import csv
import io
import random
import signal
import sqlite3
import subprocess
import time

import numpy as np
import psutil
import pytest

from fixtures import commands, jpeg_files, ray_clusters

pytestmark = pytest.mark.slow

POOL, BATCH = 5000, 100
# Answers by arithmetic on each row alone, and takes its time.
VICTIM = """
import os, pathlib, time
import numpy as np

def scores(images):
  time.sleep(0.1)
  pathlib.Path("asked").open("a").write(f"{os.getpid()}\\n")
  sums = np.asarray(images, np.float64).reshape(len(images), -1).sum(1)
  values = 1 + np.sin(sums[:, None] + np.arange(10))
  return values / values.sum(1, keepdims=True)

def failing(images):
  raise ValueError("out of paper")
"""
GIN = f"""
from __gin__ import dynamic_registration
import own_victim
from wsl_extraction import experiment
from wsl_extraction.data import split
from wsl_extraction.victims import function
from wsl_extraction.victims import keras_file

include 'base.gin'
experiment.Experiment.dataset = "rows.npz"
split.Split.private = 0
split.Split.pool = {POOL}
function.Function.function = @own_victim.scores
"""


@pytest.fixture(scope="module", name="lab")
def fixture_lab(tmp_path_factory):
  """A folder to label in, and a cluster."""
  folder = tmp_path_factory.mktemp("lab")
  commands.write_modules(folder)
  (folder / "own_victim.py").write_text(VICTIM)
  (folder / "rows.gin").write_text(GIN)
  (folder / "grid.gin").write_text(commands.GRID)
  rng = np.random.default_rng(0)
  np.savez(folder / "rows.npz",
           x_train=rng.integers(0, 256, (POOL + 60, 4, 4, 1), np.uint8),
           y_train=np.arange(POOL + 60) % 10)
  with ray_clusters.two_nodes() as address:
    yield folder, address


def words(name, address, *more):
  engine = ("--engine=ray", f"--ray_address={address}") if address else ()
  return commands.command(name, *engine, *more)


def environment(folder):
  return commands.environment(folder, **ray_clusters.variables())


def label(address, store, *more):
  return words("label", address, "--gin_file=rows.gin", f"--output={store}",
               f"--batch_size={BATCH}", *more)


def start(lab, command):
  folder, _ = lab
  return subprocess.Popen(command, cwd=folder, env=environment(folder),
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def responses(path):
  with sqlite3.connect(path) as database:
    return database.execute(
        "SELECT key, vals FROM responses ORDER BY key").fetchall()


def test_labelling_while_actors_and_then_the_owner_are_killed(lab):
  folder, address = lab
  rng, asked = random.Random(0), folder / "asked"
  asked.write_text("")

  def answering():
    """The process of each batch, but for those that were killed."""
    return [int(line) for line in asked.read_text().split()
            if int(line) not in gone]

  gone: set[int] = set()
  for life in range(2):
    # Actors of an owner that was killed may take a moment to end.
    gone |= set(answering())
    with start(lab, label(address, "ray.sqlite")) as owner:
      for _ in range(2):
        before = len(answering())
        wanted = before + rng.randrange(2, 7)
        ray_clusters.await_(lambda wanted=wanted: len(answering()) >= wanted,
                            owner)
        actor = rng.choice(sorted(set(answering())))
        psutil.Process(actor).kill()
        gone.add(actor)
      if not life:
        time.sleep(rng.uniform(0, 1))
        owner.send_signal(signal.SIGKILL)
      out, err = owner.communicate(timeout=240)
  assert owner.returncode == 0, err
  assert out == (f"{POOL} of {POOL} examples answered at the reveal 'scores', "
                 f"{POOL} queries charged\nray.sqlite\n")
  assert err.count("has ended (its process was killed or crashed); another "
                   "one takes its place") == 2, err
  # The rate of all, and of each actor; nothing of Ray's own.
  assert all(line.startswith(("labels  ", "actor ")) for line in (
      err.splitlines())), err
  last = err.splitlines()[-1]
  assert f"{POOL}/{POOL} examples" in last and "examples/s" in last
  assert "  actor 1 " in last and "  actor 2 " in last
  # Some were lost.
  assert len(asked.read_text().splitlines()) > POOL / BATCH
  alone = commands.run(label(None, "alone.sqlite"), folder,
                       environment(folder))
  assert alone.stdout.replace("alone", "ray") == out
  assert responses(folder / "ray.sqlite") == responses(folder / "alone.sqlite")
  assert not list(folder.glob("*.lock"))


def test_processes_of_one_machine_give_the_same(lab):
  folder, _ = lab
  done = commands.run(label(None, "processes.sqlite", "--processes=2"),
                      folder, environment(folder), cold=True)
  assert done.status == 0, done.stderr
  assert "  process " in done.stderr.splitlines()[-1]
  alone = commands.run(label(None, "one.sqlite"), folder, environment(folder))
  assert alone.stdout.replace("one.", "processes.") == done.stdout
  assert responses(folder / "processes.sqlite") == responses(
      folder / "one.sqlite")


def test_images_that_are_files_of_the_owner_alone(lab):
  """Actors get the files with the rows, and decode them."""
  folder, address = lab
  for place, file in enumerate(list(jpeg_files.oddities().values())[:12]):
    path = folder / f"photographs/train/n{place % 10}/{place}.JPEG"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
  more = [f"--gin_bindings={binding}" for binding in (
      "Experiment.dataset = './photographs'", "Experiment.image_size = 32",
      "Experiment.streamed = True", "split.Split.pool = 10",
      "split.Split.test = 0")]
  for place, name in ((address, "photographs"), (None, "here")):
    done = commands.run(label(place, f"{name}.sqlite", *more), folder,
                        environment(folder))
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("10 of 10 examples")
  assert responses(folder / "photographs.sqlite") == responses(
      folder / "here.sqlite")


def test_a_victim_that_fails_in_its_actor(lab):
  folder, address = lab
  failed = commands.run(
      label(address, "failed.sqlite",
            "--gin_bindings=Function.function = @own_victim.failing"),
      folder, environment(folder))
  assert (failed.status, failed.stdout) == (2, "")
  assert failed.stderr.count("\n") == 1
  assert ("the victim failed on a batch of 16 rows (ValueError: out of paper"
          in failed.stderr)
  assert set(failed.after) == set(failed.before)


def test_an_actor_that_cannot_start(lab):
  folder, address = lab
  failed = commands.run(
      label(address, "none.sqlite",
            "--gin_bindings=Experiment.victim = @keras_file.KerasFile()",
            "--gin_bindings=KerasFile.path = 'none.keras'"),
      folder, environment(folder))
  assert (failed.status, failed.stdout) == (2, "")
  assert failed.stderr == (
      "error: actor 1: there is no model file none.keras; give the path of a "
      ".keras file\n")
  assert set(failed.after) == set(failed.before)


def test_no_place_for_an_actor_or_a_run(lab):
  folder, address = lab
  # Another owner's actors have all CPUs, for a minute.
  with start(lab, label(address, "first.sqlite", "--batch_size=5")) as first:
    ray_clusters.await_(lambda: len(ray_clusters.workers("Holder")) == 2,
                        first)
    refused = [commands.run([*command, "--start_timeout=2"], folder,
                            environment(folder))
               for command in (label(address, "second.sqlite"),
                               reproduce(address, "second"))]
    first.terminate()
    first.communicate()
  for noun, done in zip(("actor", "task"), refused, strict=True):
    assert done.status == 2
    assert done.stderr.startswith(
        f"error: no {noun} had a place within 2 s: each takes 1 CPUs; see ")
    assert done.stderr.count("\n") == 1


def table(text):
  """A table of figures, without the hours that runs took."""
  return [{name: value for name, value in row.items()
           if name not in ("hours", "seconds")}
          for row in csv.DictReader(io.StringIO(text))]


def reproduce(address, folder, *more):
  return words("reproduce", address, "--gin_file=grid.gin",
               f"--workdir={folder}", *more,
               "--run_bindings=surrogate/recipe.Recipe.steps = 200")


def test_a_grid_with_a_killed_run_gives_the_table_of_one_process(lab):
  folder, address = lab
  with concurrent.futures.ThreadPoolExecutor(1) as threads:
    alone = threads.submit(commands.run, reproduce(None, "alone"), folder,
                           environment(folder))
    with start(lab, reproduce(address, "ray")) as owner:
      ray_clusters.await_(
          lambda: list(folder.glob("ray/*/*/*/checkpoint.npz")), owner)
      [one, *_] = ray_clusters.workers("_make_and_call")
      one.kill()
      out, err = owner.communicate(timeout=240)
  assert owner.returncode == 0, err
  assert "another one takes its place" in err
  assert alone.result().status == 0
  for name in ("table.csv", "runs.csv", "differences.csv"):
    assert table((folder / "ray" / name).read_text()) == table(
        (folder / "alone" / name).read_text())
  assert (out.splitlines()[2:] and "2 of 2 runs" in out)
  assert not list(folder.glob("ray/.owner-*"))
