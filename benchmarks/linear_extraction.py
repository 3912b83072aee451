"""Extraction of linear models and perceptrons: rows, errors and seconds.

Each row of the table is an attack on victims of scikit-learn, trained on 70 %
of a table (8,000 rows at most), over seeds of split, victim and attack: the
mean, and the range over seeds. Features are scaled to -1..1; queries may lie
outside. `error` is, from labels, the distance of the unit vectors (w, b), from
scores the largest difference of weights less those of class 0. `uniform` is the
agreement of labels on 100,000 uniform rows, `test` that on the other 30 % of
the table. `plain` is scikit-learn's classifier of the victim's kind, fitted to
labels of as many uniform rows: its agreement on the same uniform rows.

Adult, one-hot but for its target `race`, is run where --tables names a folder
that holds adult.csv.gz. One thread computes; seconds are those of the process.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import dataclasses
import functools
import pathlib
import time
import warnings
from collections.abc import Callable

import numpy as np
import timing

_UNIFORM = 100_000
_TRAINED = 8000  # rows of large tables


@dataclasses.dataclass(frozen=True)
class Case:
  """A row of the table: an attack, its victims, and what they reveal."""

  attack: str
  table: str
  victim: str = "softmax"
  options: dict = dataclasses.field(default_factory=dict)
  reveal: str = "label"
  decimals: int | None = None
  noise: float = 0.0
  share: float | None = None  # rows for each unknown of a perceptron


def cases(adult: bool, slow: bool) -> list[Case]:
  binary = ("iris", "wine", "breast_cancer", "digits")
  rows = [Case("LowdMeek", name) for name in binary]
  rows += [Case("EquationSolving", name, options={"classifier": "softmax"},
                reveal="scores") for name in (*binary, *["adult"] * adult)]
  rows += [Case("EquationSolving", "digits", reveal="scores", decimals=decimals,
                options={"classifier": "softmax", "rows": count,
                         "intervals": intervals})
           for decimals in (2, 3, 4, 5) for count in (65, 130, 260, 650)
           for intervals in (True, False)]
  rows += [Case("EquationSolving", name, "one_vs_rest", reveal="scores",
                options={"classifier": "one_vs_rest"})
           for name in ("digits", *["adult"] * adult)]
  rows += [Case("DimensionCoupling", name, options={"error": error})
           for name in binary[1:] for error in (1e-4, 1e-8)]
  rows += [Case("DimensionCoupling", "digits", noise=0.1,
                options={"error": 1e-4, "noise": 0.1})]
  if slow:
    rows += [Case("DimensionCoupling", "digits", noise=0.4,
                  options={"error": 1e-4, "noise": 0.4})]
    rows += [Case("EquationSolving", name, "perceptron", reveal="scores",
                  options={"classifier": "perceptron"}, share=share)
             for name in ("digits", *["adult"] * adult)
             for share in (0.5, 1, 2, 5)]
  return rows


@functools.cache
def load(name: str, tables: pathlib.Path | None, two: bool
         ) -> tuple[np.ndarray, np.ndarray]:
  """Rows scaled to -1..1 and classes, of which two are made if need be."""
  if name == "adult":
    assert tables is not None
    return _adult(tables / "adult.csv.gz")
  from sklearn import datasets

  rows, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
  low, high = rows.min(axis=0), rows.max(axis=0)
  rows = 2 * (rows - low) / np.where(high > low, high - low, 1) - 1
  if two and labels.max() > 1:
    labels = (labels >= 5 if name == "digits" else labels == 0).astype(int)
  return rows, labels


def _adult(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  import pandas as pd

  table = pd.read_csv(path)
  labels = table["race"].astype("category").cat.codes.to_numpy()
  table = table.drop(columns=["race", "split"])
  numbers = table.select_dtypes("number")
  numbers = 2 * (numbers - numbers.min()) / (numbers.max() - numbers.min()) - 1
  categories = pd.get_dummies(
      table.select_dtypes(exclude="number").fillna("?").astype(str))
  return np.column_stack(
      [numbers.to_numpy(), categories.to_numpy(np.float64)]), labels


def trained(kind: str, rows: np.ndarray, labels: np.ndarray, seed: int):
  from sklearn import linear_model, multiclass, neural_network

  model = {
      "softmax": lambda: linear_model.LogisticRegression(max_iter=1000),
      "one_vs_rest": lambda: multiclass.OneVsRestClassifier(
          linear_model.LogisticRegression(max_iter=1000)),
      "perceptron": lambda: neural_network.MLPClassifier(
          (20,), random_state=seed, max_iter=100)}[kind]()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return model.fit(rows, labels)


@functools.cache
def victim(table: str, kind: str, seed: int, tables: pathlib.Path | None,
           two: bool):
  """The rows of a table, those that are held out, and a victim."""
  rows, labels = load(table, tables, two)
  order = np.random.default_rng(seed).permutation(len(rows))
  split = int(0.7 * len(rows))
  private = order[:split][:_TRAINED]
  return rows, order[split:], trained(kind, rows[private], labels[private],
                                      seed)


@dataclasses.dataclass(frozen=True)
class Run:
  """One seed: rows, what came out, and what plain fitting gives."""

  rows: int
  used: int
  done: bool
  error: float
  uniform: float
  test: float
  plain: float
  seconds: float


def run(case: Case, seed: int, tables: pathlib.Path | None) -> Run:
  """Trains a victim, attacks it, and compares the two."""
  from wsl_extraction.attacks.extraction import Status
  from wsl_extraction.attacks.knowledge import Knowledge
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.defences import Rounded
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.responders import BareVictim, Live
  from wsl_extraction.oracle.response import Quantity
  from wsl_extraction.oracle.reveal_names import parse
  from wsl_extraction.oracle.spaces import Vectors

  rng = np.random.default_rng(seed)
  rows, rest, model = victim(case.table, case.victim, seed, tables,
                             case.attack != "EquationSolving")
  d, classes = rows.shape[1], len(model.classes_)

  def predict(queries: np.ndarray) -> np.ndarray:
    scores = model.predict_proba(queries)
    flipped = rng.random(len(queries)) < case.noise
    return np.where(flipped[:, None], scores[:, ::-1], scores)

  oracle = Oracle(Live(
      BareVictim(Vectors(d, -1, 1, bounded=False), classes,
                 {Quantity.PROBABILITIES: predict}),
      parse("reveal", case.reveal),
      () if case.decimals is None else (Rounded(case.decimals),)))
  options = dict(case.options)
  if case.share is not None:
    options["rows"] = int(case.share * ((d + 1) * 20 + 21 * classes))
  start = time.process_time()
  extraction = _attack(case.attack)(**options)(
      oracle, Knowledge(Examples(rows[rest[:20]])), seed)
  seconds = time.process_time() - start
  figures = {one.name: one.value for one in extraction.figures}
  used = figures.get("rows", oracle.ledger.rows)
  fresh = rng.uniform(-1, 1, (_UNIFORM, d))
  truth = model.predict(fresh)
  copied = model.classes_[extraction.weights(fresh).argmax(axis=1)]
  queries = rng.uniform(-1, 1, (used, d))
  answers = model.predict(queries)
  plain = np.mean(truth == answers[0]) if len(np.unique(answers)) == 1 else (
      trained(case.victim, queries, answers, seed).predict(fresh)
      == truth).mean()
  held_out = rows[rest]
  same = model.classes_[extraction.weights(held_out).argmax(axis=1)] == (
      model.predict(held_out))
  return Run(oracle.ledger.rows, used, extraction.status is Status.DONE,
             _error(case, model, extraction.weights),
             float((copied == truth).mean()), float(same.mean()), float(plain),
             seconds)


def _attack(name: str) -> Callable:
  from wsl_extraction.attacks.linear.dimension_coupling import DimensionCoupling
  from wsl_extraction.attacks.linear.equation_solving import EquationSolving
  from wsl_extraction.attacks.linear.lowd_meek import LowdMeek

  return {one.__name__: one for one in (
      DimensionCoupling, EquationSolving, LowdMeek)}[name]


def _error(case: Case, model, weights) -> float:
  from wsl_extraction.networks.linear_weights import LinearWeights
  from wsl_extraction.victims import sklearn_weights

  if case.victim != "softmax":
    return np.nan
  truth = sklearn_weights.weights_of(model)
  assert isinstance(truth, LinearWeights)
  theirs, ours = (np.vstack([one.kernel, one.bias])
                  for one in (truth, weights))
  theirs, ours = (one[:, 1:] - one[:, :1] for one in (theirs, ours))
  if case.reveal != "label":
    return float(np.abs(theirs - ours).max())
  return float(np.linalg.norm(theirs / np.linalg.norm(theirs)
                              - ours / np.linalg.norm(ours)))


def line(case: Case, runs: list[Run]) -> list[str]:
  """A row of the table: means, and the range over seeds."""
  settings = {key: value for key, value in case.options.items()
              if key != "classifier"}
  if case.decimals is not None:
    settings["decimals"] = case.decimals
  if case.share is not None:
    settings["rows an unknown"] = case.share
  words = ", ".join(f"{key} {value}" for key, value in settings.items())

  def between(name: str, form: str) -> str:
    values = [getattr(one, name) for one in runs]
    low, high = min(values), max(values)
    return form.format(np.mean(values)) + (
        "" if low == high else f" ({form.format(low)} to {form.format(high)})")

  error = "-" if np.isnan(runs[0].error) else between("error", "{:.1e}")
  return [case.attack, case.table, case.victim, words or "-",
          between("used", "{:.0f}"), between("rows", "{:.0f}"),
          f"{sum(one.done for one in runs)} of {len(runs)}", error,
          *(between(name, "{:.3%}") for name in ("uniform", "test", "plain")),
          between("seconds", "{:.1f}")]


_HEAD = ("attack", "table", "victim", "settings", "rows solved from",
         "rows charged", "DONE", "error", "uniform", "test", "plain", "seconds")


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=5, tables="a folder with adult.csv.gz",
      only="part of the words attack, table and victim of rows to run",
      slow="any word: perceptrons and noise of 0.4 too")
  args.figures = "seeds from 0 up, as many as --rounds: mean (range)"
  folder = args.tables or os.environ.get("WSL_EXTRACTION_TABLES")
  tables = pathlib.Path(folder) if folder else None
  rows = []
  for case in cases(bool(tables), bool(args.slow))[:1 if args.quick else None]:
    if (args.only or "") in f"{case.attack} {case.table} {case.victim}":
      rows.append(line(case, [
          run(case, seed, tables) for seed in range(args.rounds)]))
      print(*rows[-1], sep=" | ", flush=True)
  args.folder = "results"
  timing.publish(
      args, "Linear models from labels and scores",
      timing.table(_HEAD, rows), *([] if tables else [
          "Not run, for want of --tables: adult."]), *([] if args.slow else [
              "Not run, for want of --slow: perceptrons, noise of 0.4."]))


if __name__ == "__main__":
  main()
