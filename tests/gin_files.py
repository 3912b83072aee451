"""The gin files that are shipped, and running one of them for a step."""

from __future__ import annotations

import pathlib
import re

import gin
import numpy as np
import pytest

import image_files
from wsl_extraction import cli
from wsl_extraction.attacks.attack import Surroundings
from wsl_extraction.victims import victim as victims

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(path.relative_to(ROOT).as_posix()
               for path in (ROOT / "gin").rglob("*.gin"))


@pytest.fixture(autouse=True)
def at_root(monkeypatch, tmp_path_factory):
  """For every test of a module that imports it: gin's state is its own."""
  monkeypatch.chdir(ROOT)
  # Those that share a victim train it once.
  monkeypatch.setenv("WSL_EXTRACTION_CACHE",
                     str(tmp_path_factory.getbasetemp() / "victims"))
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  yield
  gin.clear_config()


def is_table(name):
  return re.search(r"\b(Grid|Search)\.caption", (ROOT / name).read_text())


def is_shared(name):
  """Whether a file is only included by others, through which it is run."""
  return f"--gin_file={name}" not in (ROOT / name).read_text() and any(
      f'include "{name}"' in (ROOT / other).read_text() for other in FILES)


TABLES = [name for name in FILES if is_table(name)]
SHARED = [name for name in FILES if is_shared(name)]
# Run by test_hardness.py.
THEOREMS = [name for name in FILES
            if "wsl_extraction.hardness" in (ROOT / name).read_text()]
EXPERIMENTS = [name for name in FILES
               if name not in {*SHARED, *TABLES, *THEOREMS}]
# Those that make up their queries have no steps.
LEARNING = [name for name in EXPERIMENTS
            if "learning.Learning" in (ROOT / name).read_text()
            or 'include "' in (ROOT / name).read_text()]
SHAPES = {"mnist5k": (28, 28, 1), "cifar10": (32, 32, 3),
          "svhn_cropped": (32, 32, 3)}
# A single step costs less than tracing it.
EAGER = {"run_eagerly": True, "jit_compile": False}
# What takes the place of ImageNet at 224 pixels, and of its oracle.
STREAMED = ("from wsl_extraction.victims import function", "import gin_files",
            "Experiment.image_size = 32",
            "Experiment.victim = @function.Function()",
            "function.Function.function = @gin_files.brightest")


def brightest(images):
  """Probabilities [n, 10] of images [n, h, w, d]."""
  means = images.reshape(len(images), -1)[:, :10].astype(np.float64) + 1
  return means / means.sum(axis=1, keepdims=True)


# The smallest of each network.
SMALL = {"resnet_v2.resnet_v2": ("depth = 8",),
         "wide_resnet.wide_resnet": ("depth = 10", "width = 1")}


def stand_in(name, folder):
  """Random images of the data set's kind and of ten classes."""
  rng = np.random.default_rng(0)
  if name == "imagenet2012":
    return image_files.imagenet(folder / name, classes=10, train=5, val=2)
  path = folder / f"{name.split(':')[0]}.npz"
  shape = SHAPES[name.split(":")[0]]
  np.savez(path, x=rng.integers(0, 256, (60, *shape), np.uint8),
           y=np.arange(60) % 10)
  return path


def small_networks(config):
  """Bindings that make the networks of a configuration small, in each scope."""
  return [f"{scope}{network}.{size}" for network, sizes in SMALL.items()
          for scope in sorted(set(re.findall(rf"@((?:\w+/)*){network}\b",
                                             config)))
          for size in sizes]


def one_step(name, folder, *bindings):
  """Runs an experiment for a step on random images; checks what comes of it."""
  from wsl_extraction import experiment as experiments

  cli.configure([name], [])
  dataset_name = gin.query_parameter("experiment.Experiment.dataset")
  cli.configure([name], [
      *(STREAMED if dataset_name == "imagenet2012" else ()),
      f"Experiment.dataset = {str(stand_in(dataset_name, folder))!r}",
      "Experiment.budget = 8", "Split.private = 20", "Split.pool = 20",
      "Split.test = 20", "Split.overlap = 0", "STEPS = 1",
      "Learning.round_steps = 1", *small_networks(gin.config_str()),
      *(("Trained.steps = 1", "Trained.batch_size = 8")
        if "trained.Trained" in gin.config_str() else ()),
      "Learning.batch_size = 8", "Learning.unlabeled_batch_size = 8",
      *bindings])
  experiment = cli.built(experiments.Experiment)
  dataset, parts = experiment.data()
  experiment.check(dataset, parts)
  victim = experiment.victim(dataset, parts, victims.Surroundings(
      cli.cache_folder(), compile_options=EAGER))
  with experiment.attacked(folder / "r.sqlite", victim, dataset) as oracle:
    extraction = experiment.attack(
        oracle, parts.pool, 0,
        Surroundings(compile_options=EAGER))
  figures = experiments.examine(extraction.surrogate, victim, parts.test)
  assert extraction.queries == (8 if experiment.attack.asks else 0)
  assert 0 <= figures["surrogate"]["fidelity_top1"].value <= 1
