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
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                  JAX_PLATFORMS="cpu")

import numpy as np
import timing
from functional_art_peers import Tally, answers, crypto, error, toolbox

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


def points() -> np.ndarray:
  from sklearn import datasets

  fresh = np.random.default_rng(1).standard_normal((10_000, 64))
  return np.concatenate([fresh, datasets.load_digits().data / 16])


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
