"""Limits of learning measured: copies that differ by nothing but seeds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import datasets
from wsl_extraction.data.split import Split
from wsl_extraction.evaluation import adversarial, metrics
from wsl_extraction.networks import dense
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.oracle.response import softmax
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.report.text_tables import TextTable
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.theorems.theorem import (
  Theorem,
  TheoremReport,
  check_whole,
)
from wsl_extraction.training.recipe import Recipe, Seeds

# Of the second copy: whether it has the first one's initial weights, and its
# order of examples.
CASES = {"same weights, same order": (True, True),
         "same order": (False, True), "same weights": (True, False),
         "both different": (False, False)}
INPUTS = ("test", "adversarial", "uniform")
_OTHER = 1000  # added to a seed makes another


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nondeterminism(Theorem):
  """Agreement of two copies of one victim, learned from the same responses.

  Fidelity of learning is limited by what an adversary does not know: the
  victim's initial weights and the order of its examples. Two copies that learn
  from the same scores, and differ in one of these or in both, show how much.

  Attributes:
    dataset: The name of a data set.
    private: Examples of the victim.
    pool: Examples that the copies learn from.
    tests: Test examples, also those that are perturbed.
    uniform: Rows drawn from the whole input space.
    epsilon: Of FGSM on the first copy, a share of the range of values.
    hidden: Widths of the hidden layers of victim and copies.
    steps: Of each training.
    seeds: Each trains a victim and its copies.

  References:
    Jagielski et al. 2020, section 5.
  """

  dataset: str = "digits"
  private: int = 600
  pool: int = 600
  tests: int = 500
  uniform: int = 10_000
  epsilon: float = 0.1
  hidden: Sequence[int] = (64,)
  steps: int = 1000
  seeds: Sequence[int] = (0, 1, 2, 3, 4)

  def __post_init__(self):
    check_whole("Nondeterminism's sizes", (
        self.private, self.pool, self.tests, self.uniform, self.steps), 1)
    check_whole("Nondeterminism.hidden", tuple(self.hidden), 1)
    check_whole("Nondeterminism.seeds", tuple(self.seeds), 0)
    checks.number("Nondeterminism.epsilon", self.epsilon, above=0, most=1)

  def parts(self):
    return {f"seed {seed}": functools.partial(self._agreements, seed)
            for seed in self.seeds}

  def _agreements(self, seed: int) -> Mapping[str, Sequence[dict[str, Any]]]:
    data = datasets.load(self.dataset)
    parts = Split(private=self.private, pool=self.pool, test=self.tests,
                  seed=seed)(data)
    space = data.space
    train = functools.partial(self._trained, space, data.num_classes)
    victim = train({"labeled": parts.private.rows,
                    "labels": parts.private.labels}, Supervised(), seed, seed)
    scores = softmax(_logits(victim, np.asarray(parts.pool.rows)))
    transfer = {"labeled": parts.pool.rows, "targets": np.log(
        np.maximum(scores, np.finfo(np.float32).tiny)),
        "revealed": np.ones(scores.shape, np.uint8)}
    first = train(transfer, Distillation(temperature=1.0), seed, seed)
    inputs = self._inputs(space, np.asarray(parts.test.rows), first, seed)
    seen = {name: _logits(first, rows) for name, rows in inputs.items()}
    agreements = []
    for case, (same_weights, same_order) in CASES.items():
      second = train(transfer, Distillation(temperature=1.0),
                     seed if same_weights else seed + _OTHER,
                     seed if same_order else seed + _OTHER)
      for name, rows in inputs.items():
        logits = _logits(second, rows)
        agreements.append({
            "copies": case, "inputs": name, "seed": seed,
            "agreement": metrics.fidelity(
                logits, seen[name].argmax(axis=1)).value,
            "largest_difference": float(np.abs(logits - seen[name]).max())})
    return {"agreement": agreements}

  def _inputs(self, space: Space, rows: np.ndarray, first: keras.Model,
              seed: int) -> dict[str, np.ndarray]:
    classes = _logits(first, rows).argmax(axis=1)
    return {"test": rows,
            "adversarial": adversarial.fgsm(
                first, rows, classes, self.epsilon, space),
            "uniform": space.sample(
                self.uniform, np.random.default_rng([seed, 1]))}

  def _trained(self, space: Space, outputs: int, labeled: Mapping[str, Any],
               objective: Any, building: int, ordering: int) -> keras.Model:
    recipe = Recipe(
        network=functools.partial(dense.mlp, hidden=tuple(self.hidden)),
        optimizer=functools.partial(keras.optimizers.Adam, 3e-3),
        steps=self.steps, batch_size=32, checkpoint_every=self.steps)
    runtime = Runtime(compile_options=devices.compile_options())
    seeds = Seeds(building, ordering, ordering)
    student = recipe.student(objective, space, outputs, seeds, runtime)
    recipe.fit(student, labeled, "copy", seeds, runtime)
    return student.network

  def findings(self, rows):
    held = rows["agreement"]
    lines = []
    for case in CASES:
      cells = [[row for row in held
                if row["copies"] == case and row["inputs"] == name]
               for name in INPUTS]
      largest = max(row["largest_difference"] for cell in cells
                    for row in cell)
      lines.append((case, *(_said([row["agreement"] for row in cell])
                            for cell in cells),
                    "none" if not largest else f"{largest:.2g}"))
    return TheoremReport(
        "Nondeterminism: two copies of one victim",
        {"Agreement": TextTable(
            ("second copy", *(f"{name}, %" for name in INPUTS),
             "largest difference of logits"), lines)},
        {},
        f"Both copies learn from the scores of {self.pool} examples of "
        f"{self.dataset}, by {self.steps} steps; the second has the initial "
        "weights and the order of examples of the first, or others. Share of "
        f"rows of one class: {self.tests} test rows; these moved by FGSM on "
        f"the first copy, epsilon {self.epsilon:g}; {self.uniform:,} uniform "
        "rows. Mean over "
        f"{len(self.seeds)} seeds, with 95% intervals.")


def _logits(network: keras.Model, rows: np.ndarray) -> np.ndarray:
  return np.asarray(network.predict(
      np.asarray(rows, np.float32), batch_size=1024, verbose=0))


def _said(shares: Sequence[float]) -> str:
  mean = metrics.mean(shares)
  if np.isnan(mean.low):
    return f"{100 * mean.value:.1f}"
  return (f"{100 * mean.value:.1f} [{100 * mean.low:.1f}, "
          f"{100 * mean.high:.1f}]")
