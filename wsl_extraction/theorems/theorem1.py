"""Theorem 1 measured: what it costs to find a needle, and what misses it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.networks import dense
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.report.panels import Panel, Series
from wsl_extraction.report.text_tables import TextTable
from wsl_extraction.theorems import needle
from wsl_extraction.theorems.grid_search import (
    ORDERS,
    grid_search,
    oracle_of,
    ordered,
)
from wsl_extraction.theorems.theorem import (
    Rows,
    Theorem,
    TheoremReport,
    check_whole,
    number,
)
from wsl_extraction.training.recipe import Recipe

_BATCH = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theorem1(Theorem):
  """Searches for needles, and attacks that learn.

  Attributes:
    cells: Pairs (p, k) that are searched.
    extra: d - k, features that do not matter.
    needles: Random needles that each search has to hit.
    hit_up_to: The largest p^k for them, which are asked about one at a time.
    learned: Pairs (p, k) that the learning attack is tried on.
    budgets: Its queries.
    steps: Its training steps.
    tests: Uniform inputs on which fidelity is measured.
    seed: Of all that is random.
  """

  cells: Sequence[tuple[int, int]] = ((2, 4), (2, 8), (10, 2))
  extra: int = 2
  needles: int = 200
  hit_up_to: int = 256
  learned: Sequence[tuple[int, int]] = ((2, 8),)
  budgets: Sequence[int] = (64, 1024)
  steps: int = 300
  tests: int = 100_000
  seed: int = 0

  def __post_init__(self):
    for name in ("cells", "learned"):
      for cell in getattr(self, name):
        p, k = check_whole(f"Theorem1.{name}", tuple(cell), 1)
        needle.needle_network([0] * k, p, k)
        if p**k > 1 << 20:
          raise InputError(f"Theorem1.{name} has {p}^{k} locations; give "
                           "2^20 at most")
    check_whole("Theorem1.budgets", tuple(self.budgets), 1)
    check_whole("Theorem1's needles, steps and tests",
                (self.needles, self.steps, self.tests), 2)
    check_whole("Theorem1's extra and seed", (self.extra, self.seed), 0)

  def parts(self):
    parts = {}
    for p, k in self.cells:
      parts[f"adversary {p}^{k}"] = functools.partial(self._adversary, p, k)
      if p**k <= self.hit_up_to:
        parts[f"needles {p}^{k}"] = functools.partial(self._needles, p, k)
    for p, k in self.learned:
      for budget in self.budgets:
        for kind in ("adversarial", "random needle"):
          parts[f"learning {p}^{k} {budget} {kind}"] = functools.partial(
              self._learning, p, k, budget, kind)
    return parts

  def _adversary(self, p: int, k: int) -> Rows:
    rows = []
    for order in ORDERS:
      oracle = oracle_of(
          needle.Adversary(k, p, k + self.extra), k + self.extra)
      grid_search(oracle, ordered(order, k, p, self.seed), p, batch=_BATCH)
      spent = oracle.ledger.rows
      rows.append({"oracle": "adversarial", "order": order, "p": p, "k": k,
                   "searches": 1, "queries": spent, "low": None, "high": None,
                   "predicted": p**k - 1})
    return {"queries": rows}

  def _needles(self, p: int, k: int) -> Rows:
    rng, rows = np.random.default_rng([self.seed, p, k]), []
    for order in ("ascending", "shuffled"):
      spent = []
      for number_ in range(self.needles):
        network = needle.classifier(needle.needle_network(
            rng.integers(0, p, k).tolist(), p, k + self.extra))
        oracle = oracle_of(network, k + self.extra)
        grid_search(oracle, ordered(order, k, p, number_), p, is_deduced=False)
        spent.append(oracle.ledger.rows)
      mean = metrics.mean(spent)
      rows.append({"oracle": "random needle", "order": order, "p": p, "k": k,
                   "searches": self.needles, "queries": mean.value,
                   "low": mean.low, "high": mean.high,
                   "predicted": (p**k + 1) / 2})
    return {"queries": rows}

  def _learning(self, p: int, k: int, budget: int, kind: str) -> Rows:
    d = k + self.extra
    rng = np.random.default_rng([self.seed, p, k, budget])
    values = needle.feature_values(p)
    pool = Examples(values[rng.integers(0, p, (budget, d))])
    location = tuple(rng.integers(0, p, k).tolist())
    victim = (needle.Adversary(k, p, d) if kind == "adversarial" else
              needle.classifier(needle.needle_network(location, p, d)))
    oracle = oracle_of(victim, d, budget)
    extraction = learning(self.steps)(oracle, Knowledge(pool), self.seed)
    if isinstance(victim, needle.Adversary):
      location = victim.commit()
    tests = values[rng.integers(0, p, (self.tests, d))]
    at_needle = needle.at_locations(np.array([location]), p, d)
    examiner = oracle_of(victim, d)
    predict = functools.partial(
        extraction.surrogate.predict, batch_size=4096, verbose=0)
    fidelity = metrics.fidelity(
        predict(tests), examiner.query(tests).top_classes)
    return {"fidelity": [{
        "oracle": kind, "p": p, "k": k, "queries": oracle.ledger.rows,
        "asked_at_needle": int(np.isclose(
            pool.rows[:, :k], at_needle[:, :k]).all(axis=1).sum()),
        "fidelity": fidelity.value, "low": fidelity.low, "high": fidelity.high,
        "predicted": 1 - p**-float(k),
        "needle_known": bool(predict(at_needle).argmax() == 1)}]}

  def findings(self, rows):
    searched, learned = rows["queries"], rows.get("fidelity", [])
    return TheoremReport(
        "Theorem 1: queries until a needle among p^k is known",
        {"Queries": TextTable(
            ("oracle", "order", "p", "k", "searches", "queries", "95%",
             "theorem"),
            [_searched(row) for row in searched], left=2),
         "Learning": TextTable(
             ("oracle", "p", "k", "queries", "of them at the needle",
              "fidelity, %", "95%", "1 - p^-k, %", "needle known"),
             [_learned(row) for row in learned])},
        {"queries": [_panel(searched, "adversarial", "p^k - 1"),
                     _panel(searched, "random needle", "(p^k + 1) / 2")]},
        "Adversarial: the oracle that answers 0 as long as it can; whoever "
        "has excluded all locations but one knows the last. Random needle: "
        "queries until it is hit. Fidelity: on uniform inputs of the grid. A "
        "surrogate that does not know the needle is not functionally "
        "equivalent, however high its fidelity.")


def learning(steps: int) -> Learning:
  """The package's attack with a small network, for any of the victims here."""
  return Learning(
      # The logits differ by 1/2: cold, they teach a clear label.
      objective=Distillation(temperature=0.01),
      recipe=Recipe(
          network=functools.partial(dense.mlp, hidden=(64,)),
          optimizer=functools.partial(keras.optimizers.Adam, 0.01),
          steps=steps, checkpoint_every=steps),
      query_batch_size=_BATCH)


def _searched(row: Mapping[str, Any]) -> tuple[str, ...]:
  return (row["oracle"], row["order"], str(row["p"]), str(row["k"]),
          str(row["searches"]), number(row["queries"]),
          "exact" if row["low"] is None else
          f"[{number(row['low'])}, {number(row['high'])}]",
          number(row["predicted"]))


def _learned(row: Mapping[str, Any]) -> tuple[str, ...]:
  return (row["oracle"], str(row["p"]), str(row["k"]), str(row["queries"]),
          str(row["asked_at_needle"]), f"{100 * row['fidelity']:.3f}",
          f"[{100 * row['low']:.3f}, {100 * row['high']:.3f}]",
          f"{100 * row['predicted']:.3f}",
          "yes" if row["needle_known"] else "no")


def _panel(rows: Sequence[Mapping[str, Any]], oracle: str, law: str) -> Panel:
  rows = [row for row in rows if row["oracle"] == oracle]
  curves = []
  for look, p in enumerate(sorted({row["p"] for row in rows})):
    mine = [row for row in rows
            if row["p"] == p and row["order"] == "shuffled"]
    curves.append(Series(f"p = {p}, measured", [
        (row["k"], Estimate(row["queries"], *(
            row["queries"] if row[end] is None else row[end]
            for end in ("low", "high")))) for row in mine], look=look))
    curves.append(Series(f"p = {p}, {law}", [
        (row["k"], Estimate(row["predicted"], 0, 0)) for row in mine],
        is_theory=True, look=look))
  return Panel("Queries", curves, f"{oracle}, shuffled order",
               "Coordinates of the needle, k", log="y")
