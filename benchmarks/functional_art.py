"""Functionally equivalent extraction beside the Adversarial Robustness Toolbox.

The same victims, scikit-learn's MLPClassifier on digits or Gaussian weights,
for this package's attack and for `FunctionallyEquivalentExtraction` of the
Adversarial Robustness Toolbox, which is told the number of units. --art names
the Python of an environment that holds it. `error` is the largest difference
divided by the victim's largest logit, on 10,000 Gaussian points and the digits;
a run is exact if it is at most 1e-6. Each run of the toolbox is stopped after
--limit seconds (600).
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import timing

_CASES = {"digits 64-4-10": 4, "digits 64-16-10": 16}


def victim(hidden: int, seed: int) -> list[np.ndarray]:
  import warnings

  from sklearn import datasets, neural_network

  digits = datasets.load_digits()
  model = neural_network.MLPClassifier(
      (hidden,), random_state=seed, max_iter=200)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    model.fit(digits.data / 16, digits.target)
  return [model.coefs_[0], model.intercepts_[0], model.coefs_[1],
          model.intercepts_[1]]


def answers(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
  hidden, hidden_bias, outer, outer_bias = weights
  x = np.asarray(x, np.float64).reshape(len(x), -1)
  return np.maximum(x @ hidden + hidden_bias, 0) @ outer + outer_bias


def points() -> np.ndarray:
  from sklearn import datasets

  fresh = np.random.default_rng(1).standard_normal((10_000, 64))
  return np.concatenate([fresh, datasets.load_digits().data / 16])


def error(told: np.ndarray, true: np.ndarray) -> float:
  return float(np.abs(told - true).max() / np.abs(true).max())


def ours(weights: list[np.ndarray], seed: int) -> dict:
  from sklearn import datasets

  from wsl_extraction.attacks.attack import Surroundings
  from wsl_extraction.attacks.functional import Functional
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle import Oracle

  oracle = Oracle(lambda x: answers(weights, x), outputs="logits",
                  input_shape=(8, 8, 1), num_classes=10, access="logits")
  pool = datasets.load_digits().data[:300].reshape(-1, 8, 8, 1) / 16
  start = time.perf_counter()
  found = Functional()(oracle, Examples(pool.astype(np.float32)), seed,
                       Surroundings(value_range=(0.0, 1.0)))
  seconds = time.perf_counter() - start
  x = points()
  told = np.concatenate([np.asarray(found.surrogate.predict_on_batch(
      part.reshape(-1, 8, 8, 1))) for part in np.array_split(x, 4)])
  return {"rows": found.queries, "seconds": seconds,
          "error": error(told, answers(weights, x))}


def toolbox(path: str) -> None:
  """Runs in the toolbox's own environment; prints what came of it."""
  from art.attacks.extraction import FunctionallyEquivalentExtraction
  from art.estimators.classification import BlackBoxClassifierNeuralNetwork

  with np.load(path) as stored:
    weights = [stored[f"arr_{i}"] for i in range(4)]
    x = stored["x"]
  rows = 0

  def predict(inputs):
    nonlocal rows
    rows += len(inputs)
    return answers(weights, inputs)
  black_box = BlackBoxClassifierNeuralNetwork(
      predict, input_shape=(64,), nb_classes=10, clip_values=None)
  attack = FunctionallyEquivalentExtraction(
      black_box, num_neurons=weights[0].shape[1])
  start, told = time.perf_counter(), None
  real = x[-300:]
  try:
    copy = attack.extract(real, answers(weights, real).argmax(1))
    seconds = time.perf_counter() - start
    told = error(np.asarray(copy.predict(x)), answers(weights, x))
    reason = ""
  except Exception as problem:  # it fails in many ways
    seconds = time.perf_counter() - start
    reason = f"{type(problem).__name__}: {problem}"[:80]
  print(json.dumps({"rows": rows, "seconds": seconds, "error": told,
                    "reason": reason}))


def theirs(python: str, weights: list[np.ndarray], limit: float) -> dict:
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder, "victim.npz"))
    np.savez(path, *weights, x=points())
    try:
      done = subprocess.run(
          [python, __file__, "--worker", path], capture_output=True, text=True,
          timeout=limit)
    except subprocess.TimeoutExpired:
      return {"rows": None, "seconds": limit, "error": None,
              "reason": "stopped"}
  if done.returncode:
    raise SystemExit(done.stderr[-500:])
  return json.loads(done.stdout.strip().splitlines()[-1])


def row(name: str, who: str, seed: int, run: dict) -> list[str]:
  wrong = run["error"]
  exact = wrong is not None and wrong <= 1e-6
  return [f"{name}, {who}", str(seed), "yes" if exact else "no",
          "-" if run["rows"] is None else f"{run['rows']:,}",
          f"{run['seconds']:.2f}", "-" if wrong is None else f"{wrong:.1e}",
          run.get("reason", "").replace("|", "/").replace("\n", " ")]


def main() -> None:
  if sys.argv[1:2] == ["--worker"]:
    toolbox(sys.argv[2])
    return
  args = timing.arguments(
      __doc__, rounds=5, art="the Python that has the toolbox",
      limit="seconds for a run of the toolbox")
  args.figures = "every seed from 0 up, as many as --rounds"
  rows = []
  for name, hidden in list(_CASES.items())[:1 if args.quick else None]:
    for seed in range(args.rounds):
      weights = victim(hidden, seed)
      rows.append(row(name, "this package", seed, ours(weights, seed)))
      if args.art:
        rows.append(row(name, "toolbox", seed, theirs(
            args.art, weights, float(args.limit or 600))))
      print(*rows[-1], sep=" | ", flush=True)
  absent = "" if args.art else "Not run: the toolbox, for want of --art."
  timing.publish(
      args, "Beside other functionally equivalent extractions",
      __doc__.strip(), timing.table(
          ["victim and attack", "seed", "exact", "rows", "seconds", "error",
           "failure"], rows), *filter(None, [absent]))


if __name__ == "__main__":
  main()
