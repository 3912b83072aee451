"""Every gin file that is shipped runs one step."""

from __future__ import annotations

import pathlib

import gin
import numpy as np
import pytest

from wsl_extraction import cli, devices
from wsl_extraction.attacks.attack import Surroundings
from wsl_extraction.report import grids

ROOT = pathlib.Path(__file__).parent.parent
# Those that others include are run through them.
SHARED = {"gin/mnist5k.gin", "gin/cifar10/cifar10.gin"}
FILES = sorted(path.relative_to(ROOT).as_posix()
               for path in (ROOT / "gin").rglob("*.gin"))
TABLES = [name for name in FILES if name.startswith("gin/tables/")]
EXPERIMENTS = [name for name in FILES if name not in {*SHARED, *TABLES}]
SHAPES = {"mnist5k": (28, 28, 1), "cifar10": (32, 32, 3)}


@pytest.fixture(autouse=True)
def _parsed_flags():
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  yield
  gin.clear_config()


def stand_in(name, folder):
  """Random images of the data set's shape and ten classes."""
  rng = np.random.default_rng(0)
  path = folder / f"{name}.npz"
  np.savez(path, x=rng.integers(0, 256, (60, *SHAPES[name]), np.uint8),
           y=np.arange(60) % 10)
  return path


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_step(name, tmp_path, monkeypatch):
  from wsl_extraction import experiment as experiments

  monkeypatch.chdir(ROOT)
  cli.configure([name], [])
  dataset_name = gin.query_parameter("experiment.Experiment.dataset")
  cli.configure([name], [
      f"Experiment.dataset = {str(stand_in(dataset_name, tmp_path))!r}",
      "Experiment.budget = 8", "Split.private = 20", "Split.pool = 20",
      "Split.test = 20", "STEPS = 1", "Trained.steps = 1",
      "resnet_v2.resnet_v2.depth = 8",
      "Trained.batch_size = 8", "Learning.batch_size = 8",
      "Learning.unlabeled_batch_size = 8"])
  experiment = cli.built(experiments.Experiment)
  dataset, parts = experiment.data()
  experiment.check(dataset, parts)
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path))
  victim = experiments.make_victim(
      experiment, dataset, parts, lambda *size: [])
  with experiment.attacked(tmp_path / "r.sqlite", victim, dataset) as oracle:
    extraction = experiment.attack(
        oracle, parts.pool, 0,
        Surroundings(compile_options=devices.compile_options()))
  figures = experiments.examine(extraction.surrogate, victim, parts.test)
  assert extraction.queries == (0 if "supervised" in name else 8)
  assert 0 <= figures["surrogate"]["fidelity_top1"].value <= 1


@pytest.mark.parametrize("name", TABLES)
def test_tables_name_gin_files_that_exist(name, monkeypatch):
  monkeypatch.chdir(ROOT)
  cli.configure([name], [])
  grid = gin.get_configurable(grids.Grid)()
  assert set(grid.methods.values()) <= set(EXPERIMENTS)
  assert len(list(grid.runs())) == (
      len(grid.methods) * len(grid.budgets) * len(grid.seeds))


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is(name):
  """The header of a config: what it runs, by which command."""
  first = (ROOT / name).read_text().splitlines()[0]
  assert first.startswith("# ")
  if name not in SHARED:
    assert f"--gin_file={name}" in (ROOT / name).read_text()
