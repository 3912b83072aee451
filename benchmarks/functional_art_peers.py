"""The other implementations that functional_art.py runs, as processes."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import multiprocessing
import pathlib
import pickle
import runpy
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np


def answers(weights: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
  hidden, hidden_bias, outer, outer_bias = weights
  x = np.asarray(x, np.float64).reshape(len(x), -1)
  return np.maximum(x @ hidden + hidden_bias, 0) @ outer + outer_bias


def error(told: np.ndarray, true: np.ndarray) -> float:
  return float(np.abs(told - true).max() / np.abs(true).max())


class Tally:
  """Counts rows in a file, which tells them even of a run that was stopped."""

  def __init__(self, folder: str, mode: Literal["r+", "w+"] = "r+"):
    self._lock = multiprocessing.Lock()  # the processes share the file
    self._rows = np.memmap(
        pathlib.Path(folder, "rows"), np.int64, mode, shape=(1,))

  def add(self, rows: int) -> None:
    with self._lock:
      self._rows[0] += rows

  def __int__(self) -> int:
    return int(self._rows[0])


class Work:
  """What a process that runs one of the others was given, and what it tells."""

  def __init__(self, folder: str):
    self._folder, self.tally = pathlib.Path(folder), Tally(folder)
    with np.load(self._folder / "victim.npz") as stored:
      self.weights = [stored[f"arr_{i}"] for i in range(4)]
      self.x = stored["x"]

  def tell(self, attack: Callable[[], Callable], *packages: str) -> None:
    """Runs `attack`, which returns its copy of the victim."""
    start, told, reason = time.perf_counter(), None, ""
    try:
      copy = attack()
      seconds = time.perf_counter() - start
      told = error(np.asarray(copy(self.x)), answers(self.weights, self.x))
      if not np.isfinite(told):
        told, reason = None, "the copy's answers are no numbers"
    except (Exception, SystemExit) as problem:  # they fail in many ways
      seconds = time.perf_counter() - start
      reason = f"{type(problem).__name__}: {problem}"
    with open(self._folder / "result.json", "w", encoding="utf-8") as file:
      json.dump({"seconds": seconds, "error": told, "reason": reason,
                 "versions": ", ".join(
                     f"{name} {importlib.metadata.version(name)}"
                     for name in packages)}, file)


def toolbox(folder: str, seed: str) -> None:
  """Runs in the toolbox's own environment."""
  from art import config
  from art.attacks.extraction import FunctionallyEquivalentExtraction
  from art.estimators.classification import BlackBoxClassifierNeuralNetwork

  work, config.ART_NUMPY_DTYPE = Work(folder), np.float64
  np.random.seed(int(seed))  # noqa: NPY002, it draws from numpy's own
  classes = max(2, len(work.weights[3]))

  def predict(inputs):
    work.tally.add(len(inputs))
    return np.repeat(answers(work.weights, inputs),
                     classes // len(work.weights[3]), axis=1)

  def attack():
    black_box = BlackBoxClassifierNeuralNetwork(
        predict, input_shape=(64,), nb_classes=classes, clip_values=None,
        preprocessing=None)  # the default rounds inputs to single precision
    noise = np.random.default_rng([int(seed), 300]).standard_normal((300, 64))
    return FunctionallyEquivalentExtraction(
        black_box, num_neurons=work.weights[0].shape[1]).extract(
            np.concatenate([work.x[-300:], noise])).predict
  work.tell(attack, "adversarial-robustness-toolbox", "numpy")


def crypto(folder: str, seed: str) -> None:
  """Runs in the temporary copy of the code, its working directory."""
  work, code = Work(folder), pathlib.Path.cwd()
  name = "-".join(map(str, (*work.weights[0].shape, len(work.weights[3]))))
  stored = np.empty((2, 2), object)
  stored[0, :], stored[1, :] = work.weights[::2], work.weights[1::2]
  (code / "models").mkdir(exist_ok=True)
  np.save(code / "models" / f"{seed}_{name}.npy", stored)
  sys.argv = ["extract.py", name, seed]
  sys.path.insert(0, str(code))
  _old_jax()
  multiprocessing.cpu_count = lambda: 4  # a quarter of them make a pool
  _counted(work.tally)
  work.tell(lambda: _extracted(code, name), "jax", "numpy")


def _old_jax() -> None:
  """Gives two modules back the names that they had in 2020."""
  jax, experimental, optimizers = map(importlib.import_module, (
      "jax", "jax.experimental", "jax.example_libraries.optimizers"))
  config = types.ModuleType("jax.config")
  vars(config)["config"] = jax.config
  sys.modules["jax.config"] = config
  sys.modules["jax.experimental.optimizers"] = optimizers
  vars(experimental)["optimizers"] = optimizers


def _counted(tally: Tally) -> None:
  """Has the victim count, before other modules take hold of it."""
  name = "src.utils"  # of the code that is given, no requirement of this file
  utils = importlib.import_module(name)
  run = utils.run

  def counted(x, **inner):
    if not inner:  # else a check of the result, by weights that are given
      tally.add(len(x))
    return run(x, **inner)
  vars(utils)["run"] = counted


def _extracted(code: pathlib.Path, name: str) -> Callable:
  """Runs the code; its results go to its own folder instead of /tmp."""
  def local(path, mode):
    return open(code / pathlib.Path(path).name, mode)
  runpy.run_path("extract.py", {"open": local}, "__main__")
  with open(code / f"extracted-{name}.p", "rb") as file:
    (hidden, outer), (hidden_bias, outer_bias) = pickle.load(file)
  copy = [hidden, np.ravel(hidden_bias), outer, np.ravel(outer_bias)]
  return lambda x: answers(copy, x)
