"""Functionally equivalent extraction: rows, errors and seconds, seed by seed.

Each run extracts a two-layer ReLU network through an oracle that counts rows,
knowing neither its weights nor the number of its units. `rows` are all rows
charged, `bound` is d h / K + h + 1, the unknowns divided by the outputs of a
row. `error` is the largest difference between surrogate, a Keras model, and
victim, divided by the victim's largest logit, on 10,000 fresh points (half
uniform on pixels, half Gaussian with their range as standard deviation) and on
real images. A run is exact if it is DONE and its error within the limit, wrong
if it is DONE and its error beyond the tolerance that its certificate states,
1e-9 in double precision. `fidelity` is the agreement of labels on 100,000
uniform inputs or the test images, whichever is less; it is measured where
answers are less precise than double logits.

Victims `digits` are scikit-learn's MLPClassifier on 1,000 digits, `cifar` on
3,000 images of CIFAR-10 (grey or in colour, 30 epochs), `gauss` have Gaussian
weights. One thread computes.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import dataclasses
import pathlib
import resource
import time

import numpy as np
import timing

_FRESH = 10_000


@dataclasses.dataclass(frozen=True)
class Case:
  """A row of the table."""

  data: str
  hidden: int
  seeds: int = 20
  alpha: float = 1e-4
  limit: float = 1e-11
  target: float | None = None
  box: bool = False
  oracle: dict = dataclasses.field(default_factory=dict)
  single: bool = False  # the victim computes in float32
  levels: int | None = None  # its API rounds to so many steps of a pixel


def cases() -> dict[str, Case]:
  made = {}
  for hidden, target in ((16, 4), (32, 2.5), (64, 2.5), (128, 2.5)):
    for alpha in (0.0, 1e-4):
      name = f"digits 64-{hidden}-10" + ", alpha 0" * (not alpha)
      made[name] = Case("digits", hidden, alpha=alpha, target=target)
  slow = made.popitem()
  made |= {
      "gauss 784-32-1": Case("gauss", 32, limit=1e-10, target=1.15),
      "gauss 784-128-1": Case("gauss", 128, 10, limit=1e-10, target=1.15),
      "cifar 1024-16-10": Case("grey", 16, limit=1e-10, target=1.6),
      "cifar 1024-64-10": Case("grey", 64, limit=1e-10, target=1.4),
      "cifar 3072-64-10": Case("colour", 64, 10, limit=1e-10, target=1.2),
      "digits 64-32-10, softmax": Case(
          "digits", 32, limit=1e-8, target=4, oracle={"reveal": "scores"}),
      "digits 64-32-10, float32 logits": Case(
          "digits", 32, limit=1e-4, oracle={"dtype": "float32"}),
      "digits 64-32-10, float32 victim": Case(
          "digits", 32, limit=1e-4, single=True),
  }
  for decimals, limit in ((6, 1e-6), (4, 1e-4), (3, 1e-3), (2, 1e-2)):
    made[f"digits 64-16-10, {decimals} decimals"] = Case(
        "digits", 16, limit=limit, oracle={"decimals": decimals})
  made["digits 64-16-10, pixels in range"] = Case(
      "digits", 16, 10, target=15, box=True)
  made["digits 64-16-10, 8-bit pixels"] = Case(
      "digits", 16, 10, target=20, box=True, levels=255)
  return made | dict([slow])


@dataclasses.dataclass(frozen=True)
class Run:
  """What one seed gave."""

  done: bool
  rows: int
  bound: float
  error: float
  tolerance: float
  fidelity: float
  seconds: float
  missing: str


class Bench:
  """Victims and their data, made once."""

  def __init__(self, data_dir: str | None):
    self.data_dir = data_dir
    self.known = {}

  def data(self, name: str):
    """The parts of a data set."""
    from wsl_extraction.data import datasets, examples, split

    if name not in self.known:
      source = {"digits": "digits", "gauss": "mnist5k"}.get(name, "cifar10")
      dataset = datasets.load(source, data_dir=self.data_dir)
      if name == "gauss":
        dataset = dataclasses.replace(dataset, class_names=("only",))
      if name == "grey":
        dataset = examples.image_dataset(
            name, _grey(dataset.train), _grey(dataset.test),
            dataset.class_names)
      sizes = (3000, 300, 500) if source == "cifar10" else (1000, 297, 500)
      self.known[name] = split.Split(*sizes)(dataset)
    return self.known[name]

  def run(self, case: Case, seed: int) -> Run:
    from wsl_extraction.attacks.extraction import Status
    from wsl_extraction.attacks.knowledge import Knowledge
    from wsl_extraction.attacks.relu.functional import Functional
    from wsl_extraction.oracle.oracle import Oracle
    from wsl_extraction.oracle.settings import OracleSettings
    from wsl_extraction.runtime.runtime import Runtime
    from wsl_extraction.victims.perceptron import Perceptron

    parts = self.data(case.data)
    parts = dataclasses.replace(parts, space=dataclasses.replace(
        parts.space, bounded=case.box))
    victim = Perceptron(
        hidden=case.hidden, alpha=case.alpha, seed=seed,
        trained=case.data != "gauss",
        max_iter=200 if case.data == "digits" else 30,
        dtype="float32" if case.single else "float64",
        input_levels=case.levels).load(parts, Runtime())
    settings = OracleSettings(**{"reveal": "logits", **case.oracle})
    oracle = Oracle(settings.live(victim))
    start = time.perf_counter()
    attack = Functional(box=case.box or None)
    extraction = attack(oracle, Knowledge(parts.pool), seed)
    seconds = time.perf_counter() - start
    error, fidelity = _compared(extraction.surrogate, victim, parts, case)
    figures = {one.name: one.value for one in extraction.figures}
    return Run(
        extraction.status is Status.DONE, oracle.ledger.rows,
        victim.space.features * case.hidden / victim.outputs + case.hidden + 1,
        error, figures.get("tolerance", 0.0), fidelity, seconds,
        extraction.missing)


def _grey(part):
  grey = np.rint(np.asarray(part.rows).mean(axis=3, keepdims=True))
  return dataclasses.replace(part, rows=grey.astype(np.uint8))


def _compared(surrogate, victim, parts, case) -> tuple[float, float]:
  """The largest error, and the agreement of labels."""
  rng = np.random.default_rng(1)
  low, high = parts.space.value_range
  shape = (_FRESH // 2, *parts.space.shape)
  near = rng.uniform(low, high, shape)
  if case.levels:  # of pixels, which are whole numbers here
    near = np.round(near)
  wide = near if case.box else rng.normal(
      (low + high) / 2, high - low, shape)
  real = np.concatenate([np.asarray(part.rows, np.float64) for part in (
      parts.pool, parts.test)])
  largest, size = 0.0, 0.0
  for points in (near, wide, real):
    given = victim.predict(points).astype(np.float64)
    told = _told(surrogate, points)
    if "reveal" in case.oracle:  # scores tell no common shift
      given, told = given - given[:, :1], told - told[:, :1]
    largest = max(largest, float(np.abs(given - told).max()))
    size = max(size, float(np.abs(given).max()))
  same = [np.nan]
  if victim.outputs > 1 and (case.single or case.oracle):
    many = rng.uniform(low, high, (100_000, *parts.space.shape))
    same = [np.mean(victim.predict(points).argmax(1)
                    == _told(surrogate, points).argmax(1))
            for points in (many, parts.test.rows)]
  return largest / size, float(min(same))


def _told(surrogate, points: np.ndarray) -> np.ndarray:
  return np.concatenate([
      np.asarray(surrogate.predict_on_batch(points[i:i + 4096]))
      for i in range(0, len(points), 4096)])


def _largest_resident() -> float:
  """MiB of this process since the last call, where Linux tells them."""
  try:
    text = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
  except OSError:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return int(text.split("VmHWM:")[1].split()[0]) / 1024


def summary(name: str, case: Case, runs: list[Run],
            resident: float) -> list[str]:
  exact = sum(run.done and run.error <= case.limit for run in runs)
  wrong = sum(run.done and run.error > run.tolerance for run in runs)
  ratios = np.array([run.rows / run.bound for run in runs])
  errors = np.array([run.error for run in runs])
  return [
      name, f"{exact} of {len(runs)}", str(wrong),
      f"{ratios.mean():.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
      "-" if case.target is None else f"{case.target:g}",
      f"{np.median(errors):.1e} to {errors.max():.1e}", f"{case.limit:g}",
      _percent(min(run.fidelity for run in runs if run.done))
      if any(run.done for run in runs) else "-",
      f"{np.median([run.seconds for run in runs]):.2f} (to "
      f"{max(run.seconds for run in runs):.2f})", f"{resident:,.0f}"]


def listed(name: str, runs: list[Run]) -> str:
  rows = [[str(seed), "DONE" if run.done else "INCOMPLETE", str(run.rows),
           f"{run.rows / run.bound:.2f}", f"{run.error:.1e}",
           _percent(run.fidelity), f"{run.seconds:.2f}",
           run.missing.replace("|", "/")]
          for seed, run in enumerate(runs)]
  return f"### {name}\n\n" + timing.table(
      ["seed", "status", "rows", "rows / bound", "error",
       "fidelity, %", "seconds", "missing"], rows)


def _percent(share: float) -> str:
  return "-" if np.isnan(share) else f"{100 * share:.3f}"


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=20, data_dir="where tensorflow-datasets keeps cifar10",
      only="part of the names of rows to run")
  args.figures = "every seed from 0 up, at most as many as --rounds"
  bench, rows, lists, absent = Bench(args.data_dir), [], [], []
  chosen = {name: case for name, case in cases().items()
            if (args.only or "") in name and not (
                args.quick and name != "digits 64-16-10")}
  for name, case in chosen.items():
    if name.startswith("cifar") and not args.data_dir:
      absent.append(name)
      continue
    bench.data(case.data)
    _largest_resident()
    runs = [bench.run(case, seed)
            for seed in range(min(case.seeds, args.rounds))]
    rows.append(summary(name, case, runs, _largest_resident()))
    lists.append(listed(name, runs))
    print(*rows[-1], sep=" | ", flush=True)
  if absent:
    lists.insert(0, f"Not run, for want of --data_dir: {', '.join(absent)}.")
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  args.folder = "results"
  timing.publish(
      args, "Functionally equivalent extraction",
      timing.table(
          ["victim", "exact", "wrong", "rows / bound: mean (range)", "target",
           "error: median, largest", "limit", "least fidelity of those done, %",
           "seconds: median", "MiB held at most"], rows),
      f"The process held {peak:,.0f} MiB at most, data sets included.",
      "## Every seed", *lists)


if __name__ == "__main__":
  main()
