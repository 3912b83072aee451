"""Running the package's commands as processes, for tests."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A victim that needs no training, and modules that tell when they were run.
MODULES = {
    "numpy_victim.py": '''
import pathlib, time
import numpy as np

def scores(images):
  flat = np.asarray(images, np.float32).reshape(len(images), -1) / 255
  mixed = flat @ np.random.default_rng(0).normal(size=(flat.shape[1], 10))
  powers = np.exp(mixed - mixed.max(axis=1, keepdims=True))
  return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

def logits(images):
  return np.log(scores(images)) + 3

def slow(images):
  pathlib.Path("waiting").touch()
  time.sleep(60)
''',
    "slow_import.py": '''
import pathlib, time
pathlib.Path("waiting").touch()
time.sleep(60)
''',
    "intruder.py": '''
import os, pathlib
import keras
pathlib.Path(os.environ["INTRUDED"]).touch()
class Layer(keras.layers.Dense):
  pass
''',
}

GIN = """\
from __gin__ import dynamic_registration

import keras
import numpy_victim
from wsl_extraction import experiment
from wsl_extraction.attacks.learning import learning
from wsl_extraction.data import split
from wsl_extraction.networks import resnet_v2
from wsl_extraction.objectives import distillation
from wsl_extraction.objectives import objective
from wsl_extraction.victims import function
from wsl_extraction.victims import keras_file

experiment.Experiment.dataset = "digits"
experiment.Experiment.split = @split.Split()
experiment.Experiment.victim = @function.Function()
experiment.Experiment.attack = @learning.Learning()
experiment.Experiment.budget = 32
split.Split.private = 10
split.Split.pool = 64
split.Split.test = 50
function.Function.function = @numpy_victim.scores
learning.Learning.objective = @distillation.Distillation()
learning.Learning.network = @resnet_v2.resnet_v2
learning.Learning.optimizer = @keras.optimizers.SGD
learning.Learning.steps = 2
learning.Learning.batch_size = 8
resnet_v2.resnet_v2.width = 2
"""


# Two runs of an experiment of that kind.
GRID = """\
from __gin__ import dynamic_registration

from wsl_extraction.report.grids import grid

grid.Grid.caption = "Digits."
grid.Grid.methods = {"two steps": "base.gin",
                      "one step": ("base.gin", "learning.Learning.steps = 1")}
grid.Grid.budgets = (16,)
grid.Grid.seeds = (0,)
grid.Grid.comparisons = (("two steps", "one step"),)
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a command did: its status, its output, its folder before and after."""

  status: int
  stdout: str
  stderr: str
  before: dict[str, bytes | None]
  after: dict[str, bytes | None]


def write_modules(folder: pathlib.Path) -> None:
  for name, text in MODULES.items():
    (folder / name).write_text(text)
  (folder / "base.gin").write_text(GIN)


def environment(modules: pathlib.Path, **changes: str) -> dict[str, str]:
  """The environment of a command that finds `modules` and this package."""
  inherited = {name: value for name, value in os.environ.items()
               if name != "TF_CPP_MIN_LOG_LEVEL"}
  return {**inherited, "PYTHONPATH": f"{modules}{os.pathsep}{ROOT}",
          "KERAS_BACKEND": "jax", "WSL_EXTRACTION_CACHE": "cache",
          "PYTHONWARNINGS": "default", **changes}


def command(name: str, *arguments: str) -> list[str]:
  return [sys.executable, "-m", f"wsl_extraction.{name}", *arguments]


def contents(folder: pathlib.Path) -> dict[str, bytes | None]:
  """Every file below a folder with its bytes, folders as None.

  The lock of a run folder holds the number of the last process, so it counts
  without its bytes.
  """
  return {
      str(path.relative_to(folder)):
          path.read_bytes() if path.is_file() and path.name != ".lock" else None
      for path in folder.rglob("*")}


def run(words: list[str], folder: pathlib.Path,
        environ: dict[str, str]) -> Outcome:
  """Runs a command in a folder to its end."""
  before = contents(folder)
  done = subprocess.run(
      words, cwd=folder, env=environ, capture_output=True, text=True,
      timeout=300, check=False)
  return Outcome(
      done.returncode, done.stdout, done.stderr, before, contents(folder))
