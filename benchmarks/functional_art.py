"""Functionally equivalent extraction beside two other implementations.

The same victims in one run for this package's attack, for
`FunctionallyEquivalentExtraction` of the Adversarial Robustness Toolbox (--art
names the Python of an environment that holds it, as the extra `art` installs
it), and for the code of Carlini, Jagielski and Mironov, Cryptanalytic
Extraction of Neural Network Models, CRYPTO 2020 (--crypto names a folder with
google-research/cryptanalytic-model-extraction, --crypto_python a Python that
has jax, scipy, networkx and, for arrays of unequal rows, numpy below 1.24).
Those two run with their own settings and are told the number of units, this
package's attack is not.

Victims `digits` are scikit-learn's MLPClassifier on the digits, those with one
output its first logit; `gauss` have Gaussian weights. Weights do not decay
(alpha 0) but where it says so: decay leaves next to nothing of those of pixels
that never change, and neither of the others allows for that. All inputs and
answers are in double precision, which the toolbox has to be told. It fits the
last layer to 300 digits and 300 Gaussian points; it takes two classes or more,
so it is shown a single output twice. The CRYPTO'20 code takes one output only,
and does not start on less than four cores, so it is told of four.

`rows` are all that were asked for, `error` is the largest difference divided by
the victim's largest logit, on 10,000 Gaussian points and the digits; a run is
exact if it is at most 1e-6. `seconds` start after imports; those of the
CRYPTO'20 code include the check that it ends with. Each run of the others is
stopped after --limit seconds (120).
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import pickle
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from typing import Literal

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                  JAX_PLATFORMS="cpu")

import numpy as np
import timing

_EXACT = 1e-6
_OURS, _TOOLBOX, _CRYPTO = "this package", "toolbox", "CRYPTO'20 code"
_SHORT = ["victim", "attack", "exact", "without a result", "rows: median",
          "seconds: median", "largest error"]
_FULL = ["victim and attack", "seed", "exact", "rows", "seconds", "error",
         "failure"]


@dataclasses.dataclass(frozen=True)
class Case:
  """A victim of each seed."""

  hidden: int
  outputs: int = 10
  alpha: float = 0.0
  trained: bool = True

  def weights(self, seed: int) -> list[np.ndarray]:
    made = self._trained(seed) if self.trained else self._random(seed)
    return [*made[:2], made[2][:, :self.outputs], made[3][:self.outputs]]

  def _trained(self, seed: int) -> list[np.ndarray]:
    import warnings

    from sklearn import datasets, neural_network

    digits = datasets.load_digits()
    model = neural_network.MLPClassifier(
        (self.hidden,), alpha=self.alpha, random_state=seed, max_iter=200)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      model.fit(digits.data / 16, digits.target)
    return [model.coefs_[0], model.intercepts_[0], model.coefs_[1],
            model.intercepts_[1]]

  def _random(self, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, self.hidden])  # no attack draws from it
    return [rng.standard_normal((64, self.hidden)) / 8,
            rng.standard_normal(self.hidden),
            rng.standard_normal((self.hidden, self.outputs)),
            rng.standard_normal(self.outputs)]


_CASES = {
    "digits 64-4-10": Case(4),
    "digits 64-4-10, alpha 1e-4": Case(4, alpha=1e-4),
    "digits 64-16-10": Case(16),
    "digits 64-16-1": Case(16, 1),
    "digits 64-16-1, alpha 1e-4": Case(16, 1, alpha=1e-4),
    "digits 64-32-1": Case(32, 1),
    "gauss 64-16-1": Case(16, 1, trained=False),
}


def answers(weights: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
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

  from wsl_extraction.attacks.knowledge import Knowledge
  from wsl_extraction.attacks.relu.functional import Functional
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.responders import BareVictim, Live
  from wsl_extraction.oracle.response import Quantity
  from wsl_extraction.oracle.reveals import Logits
  from wsl_extraction.oracle.spaces import Images

  oracle = Oracle(Live(BareVictim(
      Images(8, 8, 1, 0.0, 1.0, bounded=False), len(weights[3]),
      {Quantity.LOGITS: lambda x: answers(weights, x)}), Logits()))
  pool = datasets.load_digits().data[:300].reshape(-1, 8, 8, 1) / 16
  start = time.perf_counter()
  extraction = Functional()(
      oracle, Knowledge(Examples(pool.astype(np.float32))), seed)
  seconds = time.perf_counter() - start
  x = points()
  told = np.concatenate([np.asarray(extraction.surrogate.predict_on_batch(
      part.reshape(-1, 8, 8, 1))) for part in np.array_split(x, 4)])
  return {"rows": oracle.ledger.rows, "seconds": seconds,
          "reason": extraction.missing,
          "error": error(told, answers(weights, x))}


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


@dataclasses.dataclass(frozen=True)
class Other:
  """One of the others, and how it is run."""

  mode: str
  flag: str
  python: str | None
  limit: float
  code: str | None = None

  def absent(self, case: Case) -> str:
    """Why it cannot be run on such a victim, if it cannot."""
    if not self.python:
      return f"not run: for want of --{self.flag}"
    if self.mode == "crypto" and case.outputs > 1:
      return "not run: takes one output only"
    return ""

  def __call__(self, weights: list[np.ndarray], seed: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
      np.savez(pathlib.Path(folder, "victim.npz"), *weights, x=points())
      tally, start = Tally(folder, "w+"), time.perf_counter()
      ended = self._wait(folder, seed)
      lost = {"seconds": time.perf_counter() - start, "error": None,
              "reason": ended}
      return {"rows": int(tally), **(
          lost if ended else _result(pathlib.Path(folder)))}

  def _wait(self, folder: str, seed: int) -> str:
    """Why it ended before it could tell anything; nothing if it could."""
    place = os.path.join(folder, "code")
    shutil.copytree(self.code, place) if self.code else os.mkdir(place)
    with open(os.path.join(folder, "out"), "w") as out, open(
        os.path.join(folder, "err"), "w") as err, subprocess.Popen(
            [str(self.python), str(pathlib.Path(__file__).resolve()),
             "--worker", self.mode, folder, str(seed)], cwd=place,
            stdout=out, stderr=err, start_new_session=True) as process:
      try:
        code = process.wait(self.limit)
      except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has forked
        return "stopped"
    return f"ended by signal {-code}" if code < 0 else ""


def _result(folder: pathlib.Path) -> dict:
  path = folder / "result.json"
  if not path.exists():  # nothing that an attack did
    raise SystemExit((folder / "err").read_text(encoding="utf-8").strip())
  result = json.loads(path.read_text(encoding="utf-8"))
  said = (folder / "out").read_text(encoding="utf-8").split("\n")
  last = [line for line in said if line.strip()][-1:]
  if result["reason"] and last:
    result["reason"] += f" after {last[0]!r}"
  return result


def _program(given: str) -> str:
  """An absolute path: the others run in folders of their own."""
  return os.path.abspath(shutil.which(given) or given)


def others(args) -> dict[str, Other]:
  limit = float(args.limit or 120)
  if args.crypto and not pathlib.Path(args.crypto, "extract.py").exists():
    raise SystemExit(f"--crypto: {args.crypto} holds no extract.py")
  python = args.crypto and _program(args.crypto_python or sys.executable)
  return {
      _TOOLBOX: Other("toolbox", "art", args.art and _program(args.art), limit),
      _CRYPTO: Other("crypto", "crypto", python, limit, args.crypto)}


def runs(case: Case, seeds: int, contestants: dict) -> dict[str, list[dict]]:
  """All runs of a victim, the attacks by turns."""
  made = {name: [] for name in contestants}
  for seed in range(seeds):
    weights = case.weights(seed)
    for name, contestant in contestants.items():
      made[name].append(contestant(weights, seed))
      print(name, seed, made[name][-1], file=sys.stderr, flush=True)
  return made


def exact(run: dict) -> bool:
  return run["error"] is not None and run["error"] <= _EXACT


def summary(victim: str, name: str, made: list[dict]) -> list[str]:
  errors = [run["error"] for run in made if run["error"] is not None]
  middle = {key: np.median([run[key] for run in made])
            for key in ("rows", "seconds")}
  return [victim, name, f"{sum(map(exact, made))} of {len(made)}",
          str(len(made) - len(errors)), f"{middle['rows']:,.0f}",
          f"{middle['seconds']:.2f}",
          f"{max(errors):.1e}" if errors else "-"]


def listed(victim: str, name: str, seed: int, run: dict) -> list[str]:
  wrong = "-" if run["error"] is None else f"{run['error']:.1e}"
  reason = " ".join(run["reason"].replace("|", "/").split())
  return [f"{victim}, {name}", str(seed), "yes" if exact(run) else "no",
          f"{run['rows']:,}", f"{run['seconds']:.2f}", wrong,
          reason if len(reason) <= 150 else f"{reason[:147]}..."]


def tables(args) -> tuple[str, str, str]:
  """The summary, every run, and what the others ran on."""
  short, full, versions, them = [], [], {}, others(args)
  for victim, case in list(_CASES.items())[:1 if args.quick else None]:
    absent = {name: other.absent(case) for name, other in them.items()}
    made = runs(case, args.rounds, {_OURS: ours} | {
        name: other for name, other in them.items() if not absent[name]})
    for name in (_OURS, *them):
      short.append(summary(victim, name, made[name]) if name in made else
                   [victim, name, absent[name], *["-"] * 4])
      full += [listed(victim, name, seed, run)
               for seed, run in enumerate(made.get(name, []))]
      versions[name] = next(
          (run["versions"] for run in made.get(name, []) if "versions" in run),
          versions.get(name))
  return (timing.table(_SHORT, short), timing.table(_FULL, full), " ".join(
      f"The {name} ran on {which}." for name, which in versions.items()
      if which))


def main() -> None:
  if sys.argv[1:2] == ["--worker"]:
    {"toolbox": toolbox, "crypto": crypto}[sys.argv[2]](*sys.argv[3:])
    return
  args = timing.arguments(
      __doc__, rounds=5, art="the Python that has the toolbox",
      crypto="the folder of the CRYPTO'20 code",
      crypto_python="the Python that has what it needs",
      limit="seconds for a run of the others")
  args.figures = "every seed from 0 up, as many as --rounds"
  short, full, versions = tables(args)
  args.folder = "results"
  timing.publish(
      args, "Beside other functionally equivalent extractions", short,
      "Medians are of all runs, those without a result included; one that was "
      "stopped counts with what it had spent.",
      *filter(None, [versions]), "## Every run", full)


if __name__ == "__main__":
  main()
