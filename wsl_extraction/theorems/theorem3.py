"""Theorem 3 measured: correlations in deep random networks, and learning."""

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
from wsl_extraction.evaluation import metrics
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.networks import dense
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.report.panels import Panel, Series
from wsl_extraction.report.text_tables import TextTable
from wsl_extraction.theorems import random_networks
from wsl_extraction.theorems.theorem import (
    Rows,
    Theorem,
    TheoremReport,
    check_whole,
)
from wsl_extraction.training.recipe import Recipe

SURROGATES = {"logistic regression": (), "MLP": (128,)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theorem3(Theorem):
  """Correlations after each layer, and fidelity of learned surrogates.

  Attributes:
    correlations: Of two inputs to begin with.
    depth: Layers of the networks in which they are followed.
    networks: How many networks, each with a pair of inputs of its own.
    width: Units of each layer there.
    dimension: Features of the inputs there.
    victim_dimension: Features of the victims that are learned.
    victim_width: Units of each of their layers.
    depths: Of the victims.
    samples: What the attack may ask.
    seeds: Each draws a victim, what is asked, and the surrogate.
    steps: Of the attack's training.
    tests: Uniform inputs on which fidelity is measured.
  """

  correlations: Sequence[float] = (0.0, 0.5, 0.9)
  depth: int = 8
  networks: int = 40
  width: int = 512
  dimension: int = 100
  victim_dimension: int = 30
  victim_width: int = 64
  depths: Sequence[int] = (1, 2, 4, 8)
  samples: Sequence[int] = (250, 4000)
  seeds: Sequence[int] = (0, 1, 2, 3, 4)
  steps: int = 300
  tests: int = 10_000

  def __post_init__(self):
    for name in ("depths", "samples"):
      check_whole(f"Theorem3.{name}", tuple(getattr(self, name)), 1)
    check_whole("Theorem3.seeds", tuple(self.seeds), 0)
    check_whole("Theorem3's sizes", (
        self.depth, self.width, self.dimension, self.victim_dimension,
        self.victim_width, self.steps, self.tests), 1)
    check_whole("Theorem3.networks", (self.networks,), 2)
    rng = np.random.default_rng(0)
    for rho in self.correlations:
      random_networks.inputs_with_correlation(rho, self.dimension, rng)

  def parts(self):
    parts = {}
    for activation in random_networks.ACTIVATIONS:
      for rho in self.correlations:
        parts[f"correlation {activation.name} {rho}"] = functools.partial(
            self._correlation, activation, rho)
    for depth in self.depths:
      for count in self.samples:
        for seed in self.seeds:
          parts[f"learning {depth} {count} {seed}"] = functools.partial(
              self._learning, depth, count, seed)
    return parts

  def _correlation(self, activation: random_networks.Activation,
                   rho: float) -> Rows:
    rng = np.random.default_rng([0, round(1e6 * (1 + rho))])
    measured = np.array([
        random_networks.correlations(
            activation,
            random_networks.inputs_with_correlation(rho, self.dimension, rng),
            self.width, self.depth, rng)
        for _ in range(self.networks)])
    rows, law = [], random_networks.predicted(activation, rho, self.depth)
    for layer in range(self.depth):
      mean = metrics.mean(measured[:, layer])
      error = measured[:, layer].std(ddof=1) / self.networks**0.5
      rows.append({
          "activation": activation.name, "rho": rho, "depth": layer + 1,
          "measured": mean.value, "low": mean.low, "high": mean.high,
          "predicted": law[layer + 1],
          "standard_errors": (
              (mean.value - law[layer + 1]) / error if error else None)})
    return {"correlation": rows}

  def _learning(self, depth: int, count: int, seed: int) -> Rows:
    rng = np.random.default_rng([seed, depth])
    d = self.victim_dimension
    victim = random_networks.RandomNetwork.draw(
        random_networks.SIGN, d, self.victim_width, depth, rng)
    tests = rng.integers(0, 2, (self.tests, d)).astype(np.float32)
    pool = Examples(rng.integers(0, 2, (count, d)).astype(np.float32))
    truth, rows = victim(tests), []
    for name, hidden in SURROGATES.items():
      target = BareVictim(
          Vectors(d, 0.0, 1.0), 2,
          {Quantity.PROBABILITIES: victim.probabilities})
      oracle = Oracle(Live(target, Scores()), count)
      attack = Learning(
          objective=Distillation(temperature=1.0),
          recipe=Recipe(
              network=functools.partial(dense.mlp, hidden=hidden),
              optimizer=functools.partial(
                  keras.optimizers.SGD, 0.05, momentum=0.9),
              steps=self.steps, checkpoint_every=self.steps))
      extraction = attack(oracle, Knowledge(pool), seed)
      scores = extraction.surrogate.predict(tests, batch_size=4096, verbose=0)
      rows.append({
          "surrogate": name, "depth": depth, "samples": count, "seed": seed,
          "queries": oracle.ledger.rows,
          "fidelity": metrics.fidelity(scores, truth).value})
    return {"fidelity": rows}

  def findings(self, rows):
    followed, learned = rows["correlation"], _means(rows["fidelity"])
    return TheoremReport(
        "Theorem 3: random networks of depth h",
        {"Correlation": TextTable(
            ("activation", "before", "depth", "measured", "95%",
             "closed form", "standard errors"),
            [(row["activation"], f"{row['rho']:g}", str(row["depth"]),
              f"{row['measured']:.4f}", f"[{row['low']:.4f}, "
              f"{row['high']:.4f}]", f"{row['predicted']:.4f}",
              _signed(row["standard_errors"])) for row in followed]),
         "Fidelity": TextTable(
             ("surrogate", "depth", "samples", "fidelity, %", "95%"),
             [(name, str(depth), str(count), f"{100 * mean.value:.1f}",
               _interval(mean)) for (name, depth, count), mean
              in learned.items()])},
        {"correlation": [_correlation_panel(followed, activation.name)
                         for activation in random_networks.ACTIVATIONS],
         "fidelity": [_fidelity_panel(learned, name) for name in SURROGATES]},
        "Correlations: mean over independent networks and pairs of inputs, "
        "with 95% intervals; depth counts hidden layers. Fidelity: of "
        "surrogates of networks with sign units and balanced labels, on "
        "uniform inputs; 50% is what a coin gives. Mean over seeds, with 95% "
        "intervals.")


def _means(rows: Sequence[Mapping[str, Any]]
           ) -> dict[tuple[str, int, int], Estimate]:
  fidelities: dict[tuple[str, int, int], list[float]] = {}
  for row in rows:
    key = row["surrogate"], row["depth"], row["samples"]
    fidelities.setdefault(key, []).append(row["fidelity"])
  return {key: metrics.mean(fidelities[key]) for key in sorted(fidelities)}


def _signed(value: float | None) -> str:
  return "-" if value is None else f"{value:+.1f}"


def _interval(mean: Estimate) -> str:
  if np.isnan(mean.low):
    return "one seed"
  return f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}]"


def _correlation_panel(rows: Sequence[Mapping[str, Any]], name: str) -> Panel:
  rows = [row for row in rows if row["activation"] == name]
  curves = []
  for look, rho in enumerate(sorted({row["rho"] for row in rows})):
    mine = [row for row in rows if row["rho"] == rho]
    curves.append(Series(f"{rho:g} before, measured", [
        (row["depth"], Estimate(row["measured"], row["low"], row["high"]))
        for row in mine], look=look))
    curves.append(Series(f"{rho:g} before, closed form", [
        (0, Estimate(rho, 0, 0)), *((row["depth"], Estimate(
            row["predicted"], 0, 0)) for row in mine)],
        is_theory=True, look=look))
  law = "arcsine law" if name == "sign" else "arc-cosine kernel of order 1"
  shown = "ReLU" if name == "relu" else name
  return Panel("Correlation of two inputs", curves, f"{shown}: {law}",
               "Depth (hidden layers)")


def _fidelity_panel(means: Mapping[tuple[str, int, int], Estimate],
                    surrogate: str) -> Panel:
  counts = sorted({count for _, _, count in means})
  curves = [Series(f"{count} samples", [
      (depth, Estimate(100 * m.value, 100 * m.low, 100 * m.high))
      for (name, depth, of), m in means.items()
      if name == surrogate and of == count], look=look)
      for look, count in enumerate(counts)]
  depths = sorted({depth for _, depth, _ in means})
  curves.append(Series("a coin", [(depth, Estimate(50, 0, 0))
                                  for depth in depths],
                       is_theory=True, look=6))
  return Panel("Fidelity (%)", curves, surrogate,
               "Depth of the victim (hidden layers)")
