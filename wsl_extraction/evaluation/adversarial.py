"""Adversarial inputs made on a copy, and how often they fool its victim."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np

from wsl_extraction import checks
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.oracle.tables import Table
from wsl_extraction.runtime.gradients import log_odds_gradients

_TOGETHER = 1024


@dataclasses.dataclass(frozen=True)
class Measures:
  """What is measured of a copy beside test rows; each row asks the victim.

  Attributes:
    uniform: Rows drawn from the whole input space (`Space.sample`).
    epsilons: Sizes of adversarial perturbations in the largest norm, as shares
      of the range of values, such as (0.1, 0.3).
    rows: Test rows that are perturbed, at most.
    steps: Steps of PGD, each 2.5 epsilon / steps long.
    seed: Of all that is drawn.

  References:
    Jagielski et al. 2020, section 5 (fidelity on test, adversarial and uniform
      inputs).
  """

  uniform: int = 0
  epsilons: tuple[float, ...] = ()
  rows: int = 1000
  steps: int = 10
  seed: int = 0

  def __post_init__(self):
    checks.whole("Measures.uniform", self.uniform)
    if not isinstance(self.epsilons, (tuple, list)):
      checks.refuse("Measures.epsilons", self.epsilons, "shares of the range of"
                    " values, such as (0.1, 0.3)")
    for epsilon in self.epsilons:
      checks.number("Measures.epsilons", epsilon, above=0, most=1)
    object.__setattr__(self, "epsilons", tuple(self.epsilons))
    checks.whole("Measures.rows", self.rows, 1)
    checks.whole("Measures.steps", self.steps, 1)
    checks.seed("Measures.seed", self.seed)

  def check(self, space: Space) -> None:
    """Raises InputError where rows of the space cannot be perturbed."""
    if self.epsilons and isinstance(space, Table):
      raise InputError("Measures.epsilons is for images and vectors, and the "
                       "rows are of a table with categories or missing "
                       "entries; leave it out")

  def __call__(self, surrogate: keras.Model, examiner: Oracle,
               test: Examples, classes: np.ndarray) -> dict[str, Estimate]:
    """Figures by name.

    Args:
      surrogate: Maps rows to logits.
      examiner: Reveals all that the victim gives.
      test: Rows to perturb.
      classes: Theirs by the victim, [n].

    Returns:
      "fidelity_uniform"; and for each method of fgsm, pgd and random (signs at
      random, the control) "transfer_METHOD_EPSILON", the share of rows whose
      class by the victim the perturbation changes, and
      "fidelity_METHOD_EPSILON", the share of perturbed rows on which copy and
      victim agree.
    """
    self.check(examiner.space)
    figures = {}
    if self.uniform:
      rng = np.random.default_rng([self.seed, 0])
      figures["fidelity_uniform"] = _agreement(
          surrogate, examiner, examiner.space.sample(self.uniform, rng))[1]
    if not self.epsilons:
      return figures
    rows = np.asarray(test.rows[:self.rows])
    classes = classes[:len(rows)]
    for name, perturbed in self._perturbed(
        surrogate, rows, classes, examiner.space):
      said, fidelity = _agreement(surrogate, examiner, perturbed)
      figures[f"transfer_{name}"] = metrics.proportion(
          int((said != classes).sum()), len(rows))
      figures[f"fidelity_{name}"] = fidelity
    return figures

  def _perturbed(self, surrogate: keras.Model, rows: np.ndarray,
                 classes: np.ndarray, space: Space
                 ) -> Iterator[tuple[str, np.ndarray]]:
    for place, epsilon in enumerate(self.epsilons, 1):
      rng = np.random.default_rng([self.seed, place])
      yield f"fgsm_{epsilon:g}", fgsm(surrogate, rows, classes, epsilon, space)
      yield f"pgd_{epsilon:g}", pgd(
          surrogate, rows, classes, epsilon, space, self.steps, rng)
      signs = rng.choice((-1.0, 1.0), rows.shape)
      yield f"random_{epsilon:g}", _moved(rows, rows, signs, epsilon, epsilon,
                                          space)


def fgsm(network: keras.Model, rows: np.ndarray, classes: np.ndarray,
         epsilon: float, space: Space) -> np.ndarray:
  """Rows float32 [n, ...] one step against their classes, clipped.

  x - epsilon (high - low) sign(grad of the class's log-odds), which is the sign
  of the gradient of the cross-entropy.

  Args:
    network: Maps rows to logits.
    rows: Real numbers [n, ...].
    classes: Theirs [n].
    epsilon: A share of the range of values.
    space: Gives the range.

  References:
    Goodfellow, Shlens, Szegedy. Explaining and Harnessing Adversarial Examples.
      ICLR 2015, section 4.
  """
  signs = -np.sign(log_odds_gradients(network, rows, classes))
  return _moved(rows, rows, signs, epsilon, epsilon, space)


def pgd(network: keras.Model, rows: np.ndarray, classes: np.ndarray,
        epsilon: float, space: Space, steps: int,
        rng: np.random.Generator) -> np.ndarray:
  """Rows after `steps` such steps of 2.5 epsilon / steps, from random starts.

  Each step is cut to within epsilon of the row, and to the range of values.

  References:
    Madry, Makelov, Schmidt, Tsipras, Vladu. Towards Deep Learning Models
      Resistant to Adversarial Attacks. ICLR 2018, section 2.1.
  """
  start = rng.uniform(-1, 1, rows.shape)
  points = _moved(rows, rows, start, epsilon, epsilon, space)
  for _ in range(steps):
    signs = -np.sign(log_odds_gradients(network, points, classes))
    points = _moved(points, rows, signs, 2.5 * epsilon / steps, epsilon, space)
  return points


def _moved(points: np.ndarray, rows: np.ndarray, directions: np.ndarray,
           step: float, epsilon: float, space: Space) -> np.ndarray:
  low, high = space.value_range
  rows = np.asarray(rows, np.float32)
  points = points + step * (high - low) * directions
  reach = np.float32(epsilon * (high - low))
  points = np.clip(points, rows - reach, rows + reach)
  return np.clip(points, space.low, space.high).astype(np.float32)


def _classes(examiner: Oracle, rows: np.ndarray) -> np.ndarray:
  return np.concatenate([
      examiner.query(rows[start:start + _TOGETHER]).top_classes
      for start in range(0, len(rows), _TOGETHER)])


def _agreement(surrogate: keras.Model, examiner: Oracle, rows: np.ndarray
               ) -> tuple[np.ndarray, Estimate]:
  """The victim's classes [n], and how often the surrogate has the same."""
  classes = _classes(examiner, rows)
  scores = surrogate.predict(rows, batch_size=256, verbose=0)
  return classes, metrics.fidelity(np.asarray(scores), classes)
