"""Asking about what lies nearest to the surrogate's decision boundary."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.strategies.coverage import KCenter
from wsl_extraction.strategies.strategy import Strategy, unasked


@dataclasses.dataclass(frozen=True)
class DeepFool(Strategy):
  """The shortest perturbation that changes the surrogate's class first.

  The perturbed rows themselves are not asked about.

  References:
    Ducoffe, Precioso. Adversarial Active Learning for Deep Networks: a Margin
      Based Approach. 2018 (DFAL).
    Moosavi-Dezfooli, Fawzi, Frossard. DeepFool. CVPR 2016, Algorithm 2.
    Pal et al. 2020, "ActiveThief", for its use in extraction.
  """

  reads: ClassVar[str] = "perturbations"

  def choose(self, probabilities, features, n, rng, asked):
    return _nearest(features, n, rng, asked)


@dataclasses.dataclass(frozen=True)
class DeepFoolKCenter(Strategy):
  """Of those nearest to the boundary, what together covers them.

  `factor` times n rows are chosen as by `DeepFool`, and n of these as by
  `KCenter` on the surrogate's probabilities, the rows asked about before being
  centres too.

  Attributes:
    factor: How many more candidates than choices, 1 or more.

  References:
    Pal et al. 2020, "ActiveThief", section 3.2 ("DFAL + K-center").
  """

  factor: int = 5
  reads: ClassVar[str] = "perturbations"

  def __post_init__(self):
    checks.whole("DeepFoolKCenter.factor", self.factor, 1)

  def choose(self, probabilities, features, n, rng, asked):
    count = min(self.factor * n, len(probabilities) - len(asked))
    candidates = _nearest(features, count, rng, asked)
    if not features.shape[1]:
      return candidates[:n]
    near = np.sort(candidates)
    together = np.concatenate([asked, near])
    chosen = KCenter(space="probabilities").choose(
        np.asarray(probabilities)[together], np.zeros((len(together), 0)), n,
        rng, np.arange(len(asked)))
    return together[chosen]


def _nearest(perturbations: np.ndarray, n: int, rng: np.random.Generator,
             asked: np.ndarray) -> np.ndarray:
  """The n rows of [m, 1] that need the least; random of [m, 0]."""
  order = unasked(len(perturbations), asked, rng)
  if not perturbations.shape[1]:
    return order[:n]
  return order[np.argsort(perturbations[order, 0], kind="stable")[:n]]
