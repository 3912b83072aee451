"""Extraction of trees, and of sums of trees, seed by seed.

Features are scaled to -1..1 by the whole table, 70 % of which trains the
victim; 30 % are the adversary's pool, of which path finding takes the ranges
and the distances of numbers alone. The seed draws the split, the victim and the
attack. `published` is the search of Tramer et al. (2016) as they describe it:
each end of each feature by itself, each threshold halved anew. `grouped` moves
groups of features and tries known thresholds first, `no pool` is that without a
pool, and `root down` asks rows with absent features. All recover thresholds to
the last bit of single precision. A run is exact if the copy gives the class of
scikit-learn on 100,000 uniform rows (of regression, the number) and all non-
empty intersections of leaves agree. Of sums of trees all that is revealed are
scores: `wrong` counts other classes among 100,000 uniform rows. German credit
has 13 columns of categories, which the tree compares by their places; those
rows are uniform over categories. One thread computes.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import dataclasses
import functools
import time
from typing import Any

import numpy as np
import timing

_UNIFORM = 100_000
LEAVES = {"iris": 9, "wine": 12, "breast_cancer": 22, "digits": 60,
          "diabetes": 80, "german": 26}
SEARCHES = {"published": ("leaf", {"grouped": False}, False),
            "grouped": ("leaf", {}, True), "no pool": ("leaf", {}, False),
            "root down": ("partial", {}, True)}
SUMS = [("boosting", 1, 10), ("boosting", 1, 30), ("boosting", 1, 100),
        ("forest", 1, 100), ("boosting", 2, 10), ("boosting", 2, 30),
        ("boosting", 3, 10)]


@dataclasses.dataclass(frozen=True)
class Run:
  """What one seed gave."""

  exact: bool
  done: bool
  leaves: int
  rows: int
  wrong: int
  seconds: float
  note: str = ""


def table(name: str, path: str | None):
  """Rows, targets and space of a table; numbers are scaled to -1..1."""
  from sklearn import datasets as sklearn_datasets

  from wsl_extraction.data import columns, datasets
  from wsl_extraction.oracle.spaces import Vectors
  from wsl_extraction.oracle.tables import Categorical, Continuous, Table

  if name == "german":
    assert path, "Bench runs it with a path alone"
    dataset = datasets.load(path, columns=columns.Columns(label="credit"))
    rows, space = np.asarray(dataset.train.rows, np.float64), dataset.space
    kinds = space.columns if isinstance(space, Table) else ()
    numbers = [place for place, one in enumerate(kinds)
               if isinstance(one, Continuous)]
    rows[:, numbers] = _scaled(rows[:, numbers])
    return rows, dataset.train.labels, Table(tuple(
        one if isinstance(one, Categorical)
        else Continuous(one.name, -1.0, 1.0) for one in kinds))
  x, y = getattr(sklearn_datasets, f"load_{name}")(return_X_y=True)
  return _scaled(x), y, Vectors(x.shape[1], -1.0, 1.0)


def _scaled(rows: np.ndarray) -> np.ndarray:
  low, high = rows.min(axis=0), rows.max(axis=0)
  wide = np.where(high > low, high - low, 1)
  return np.where(high > low, 2 * (rows - low) / wide - 1, 0)


class Bench:
  """Victims and attacks."""

  def __init__(self, german: str | None):
    self.german, self.known = german, {}

  def data(self, name: str, seed: int):
    if name not in self.known:
      self.known[name] = table(name, self.german)
    rows, targets, space = self.known[name]
    order = np.random.default_rng(seed).permutation(len(rows))
    private, pool = np.split(order, [int(0.7 * len(rows))])
    return rows[private], targets[private], rows[pool], space

  def tree(self, name: str, search: str, seed: int, leaves: int) -> Run:
    """Path finding on one tree."""
    from sklearn import tree

    from wsl_extraction.attacks.tree.leaf_queries import domain_of
    from wsl_extraction.attacks.tree.path_finding import PathFinding
    from wsl_extraction.equivalence import trees

    rows, targets, pool, space = self.data(name, seed)
    is_number = name == "diabetes"
    model = (tree.DecisionTreeRegressor if is_number
             else tree.DecisionTreeClassifier)(
                 max_leaf_nodes=leaves, random_state=seed).fit(rows, targets)
    names, settings, with_pool = SEARCHES[search]
    victim = self.victim(model, space, pool)
    extraction, rows, seconds = self.attack(
        PathFinding(**settings), victim,
        f"{names} + {'logits' if is_number else 'scores'}",
        pool if with_pool else None, seed)
    uniform = space.sample(_UNIFORM, np.random.default_rng(seed))
    copied = _told(extraction.surrogate, uniform)
    asked = model.predict(uniform)
    wrong = int((copied[:, 0] != asked).sum() if is_number else (
        model.classes_[copied.argmax(axis=1)] != asked).sum())
    domain = domain_of(space)
    proof = trees.compare(victim.weights, extraction.weights, domain,
                          domain.low, domain.high)
    return Run(not wrong and not proof.differing and not proof.largest,
               extraction.status.value == "DONE", model.get_n_leaves(), rows,
               wrong, seconds, extraction.missing)

  def sum(self, name: str, kind: str, depth: int, trees: int,
          seed: int) -> Run:
    """Axis search on a sum of trees."""
    from sklearn import ensemble

    from wsl_extraction.attacks.tree.axis_search import AxisSearch

    rows, targets, pool, space = self.data(name, seed)
    model = (ensemble.GradientBoostingClassifier if kind == "boosting"
             else ensemble.RandomForestClassifier)(
                 n_estimators=trees, max_depth=depth,
                 random_state=seed).fit(rows, targets)
    victim = self.victim(model, space, pool)
    # Seconds of a run are bounded by its rounds; more of them find more.
    extraction, rows, seconds = self.attack(
        AxisSearch(rounds=3), victim, "scores", pool, seed)
    uniform = space.sample(_UNIFORM, np.random.default_rng(seed))
    wrong = int((_told(extraction.surrogate, uniform).argmax(axis=1)
                 != model.predict_proba(uniform).argmax(axis=1)).sum())
    return Run(not wrong, extraction.status.value == "DONE",
               extraction.figure("thresholds"), rows, wrong, seconds,
               extraction.missing)

  def victim(self, model: Any, space: Any, pool: np.ndarray) -> Any:
    from wsl_extraction.data import examples, split
    from wsl_extraction.runtime.runtime import Runtime
    from wsl_extraction.victims.sklearn_model import Sklearn
    from wsl_extraction.victims.tree import RegressionTree

    part = examples.Examples(pool)
    parts = split.Parts(part, part, part, 0, space, None)
    source = Sklearn(model) if hasattr(model, "classes_") else (
        RegressionTree(model))
    return source.load(parts, Runtime())

  def attack(self, attack: Any, victim: Any, reveal: str,
             pool: np.ndarray | None, seed: int) -> Any:
    """The extraction, the rows charged, and the seconds of CPU."""
    from wsl_extraction.attacks.knowledge import Knowledge
    from wsl_extraction.data.examples import Examples
    from wsl_extraction.oracle import reveal_names
    from wsl_extraction.oracle.oracle import Oracle
    from wsl_extraction.oracle.settings import OracleSettings

    oracle = Oracle(OracleSettings(reveal=reveal_names.parse(
        "reveal", reveal)).live(victim))
    start = time.process_time()
    extraction = attack(
        oracle, Knowledge(None if pool is None else Examples(pool)), seed)
    return extraction, oracle.ledger.rows, time.process_time() - start


def _told(surrogate: Any, rows: np.ndarray) -> np.ndarray:
  return np.concatenate([np.asarray(surrogate.predict_on_batch(
      rows[start:start + 10_000])) for start in range(0, len(rows), 10_000)])


def summary(runs: list[Run]) -> list[str]:
  each = np.array([run.rows / max(run.leaves, 1) for run in runs])
  return [
      f"{sum(run.exact for run in runs)} of {len(runs)}",
      f"{sum(run.done for run in runs)}",
      f"{np.mean([run.leaves for run in runs]):.0f}",
      _range([run.rows for run in runs]), _range(each),
      str(max(run.wrong for run in runs)),
      f"{max(run.seconds for run in runs):.1f}"]


def _range(values: Any) -> str:
  return f"{np.mean(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def plot(bench: Bench, seeds: range) -> None:
  """Rows against leaves, on digits: a PNG for docs/guide/tables.md."""
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 4))
  counts = [5, 10, 20, 40, 80]
  for search in SEARCHES:
    rows = np.array([[bench.tree("digits", search, seed, leaves).rows
                      for leaves in counts] for seed in seeds])
    axes.errorbar(counts, rows.mean(axis=0), rows.std(axis=0), label=search,
                  capsize=3)
  axes.set(xscale="log", yscale="log", xlabel="leaves of the victim",
           ylabel="rows", title="Rows to recover a tree exactly (digits)")
  axes.set_xticks(counts, [str(one) for one in counts])
  axes.set_xticks([], minor=True)  # their labels would lie on these
  axes.legend()
  figure.tight_layout()
  path = timing.ROOT / "docs" / "results" / "tree_extraction.png"
  figure.savefig(path, dpi=110, metadata={"Software": None})
  pyplot.close(figure)


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=5, german="the path of german.csv.gz, whose classes are "
      "in a column credit", only="part of the names of rows to run",
      part="trees or sums; both if it is not given")
  args.figures = "every seed from 0 up, at most as many as --rounds"
  german = args.german or os.environ.get("WSL_EXTRACTION_GERMAN")
  args.german = None  # a path of this machine
  bench, absent = Bench(german), "" if german else (
      "Not run, for want of --german: german.")
  seeds, lists, tables = range(args.rounds), [], []
  groups = {
      "trees": [(f"{name}, {search}", lambda seed, name=name, search=search:
                 bench.tree(name, search, seed, LEAVES[name]))
                for name in LEAVES for search in SEARCHES
                if name != "german" or german],
      "sums": [(f"{name}, {trees} of {kind}, depth {depth}",
                functools.partial(bench.sum, name, kind, depth, trees))
               for name in ("wine", "breast_cancer")
               for kind, depth, trees in SUMS]}
  for group, cases in groups.items():
    if args.part not in (None, group):
      continue
    rows = []
    for name, work in cases:
      if (args.only or "") not in name or (
          args.quick and name != "iris, grouped"):
        continue
      runs = [work(seed) for seed in seeds]
      rows.append([name, *summary(runs)])
      lists += [f"| {name} | {seed} | {run.rows} | {run.leaves} | {run.wrong} |"
                f" {run.seconds:.2f} | {run.note.replace('|', '/')} |"
                for seed, run in enumerate(runs)]
      print(*rows[-1], sep=" | ", flush=True)
    if rows:
      each = "leaf" if group == "trees" else "threshold"
      tables.append(timing.table(
          ["victim", "exact", "DONE", "leaves" if group == "trees" else
           "thresholds", "rows: mean (range)", f"rows a {each}",
           "most wrong of 100,000", "most CPU seconds"], rows))
  if not args.quick and not args.only and args.part != "sums":
    plot(bench, seeds)
    tables.append("![Rows against leaves](tree_extraction.png)")
  args.folder = "results"
  args.suffix = "_sums" if args.part == "sums" else ""
  timing.publish(
      args, "Extraction of trees and of sums of trees", *tables,
      *([absent] if absent and args.part != "sums" else []), "## Every seed",
      "| victim | seed | rows | leaves or thresholds | wrong | CPU seconds | "
      "missing |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
      + "\n".join(lists))


if __name__ == "__main__":
  main()
