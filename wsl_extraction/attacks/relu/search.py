"""From an oracle to a two-layer network, or to what is known of one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from wsl_extraction.attacks.relu import (
    crossings,
    held_out,
    kink_rows,
    missing_units,
    normals,
    precision,
    signs,
    smooth,
)
from wsl_extraction.attacks.relu.box_rows import COARSEST, too_coarse
from wsl_extraction.attacks.relu.held_out import HeldOutCheck
from wsl_extraction.attacks.relu.line_search import TooManyKinks
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.plane import PlaneNetwork, recover
from wsl_extraction.attacks.relu.refine import refine
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.oracle.ledger import BudgetExceeded

_NOISY = 1e-9
_COARSE = 1e-5  # relative precision with which few networks are found
# A tolerance that nobody set may rise by so much where errors scatter.
_SLACK = 3.0
_FEW, _MORE = 8, 6  # units below which so many times the fresh rows are asked
_MANY_OUTPUTS = 100  # beyond so many, those that depend on others are left out
_ROUNDS = 20  # of fresh rows, and of units that they show to be missing


@dataclasses.dataclass(frozen=True, eq=False)
class RecoveredNetwork:
  """A network as far as it was recovered.

  Attributes:
    network: In z.
    missing: What it lacks; empty if nothing.
    figures: What is to be said about it, by name.
  """

  network: TwoLayerNetwork
  missing: str
  figures: dict[str, Any]


class Search:
  """One extraction: its steps, and the best network so far."""

  def __init__(self, answers: LogitQueries, rng: np.random.Generator,
               tolerance: float | None, held_out: int, attempts: int,
               examples: np.ndarray, size: np.ndarray):
    self.answers, self.rng = answers, rng
    self.tolerance, self.held_out = tolerance, held_out
    self.attempts, self.examples, self.size = attempts, examples, size
    d, k = examples.shape[1], answers.width
    self.network = TwoLayerNetwork.of(
        np.zeros((0, d)), np.zeros(0), np.zeros((0, k)), np.zeros((d, k)),
        np.zeros(k))
    self.figures: dict[str, Any] = {}

  def __call__(self) -> RecoveredNetwork:
    try:
      missing = self._run()
    except smooth.Smooth as error:
      missing = str(error)
    except BudgetExceeded as error:
      missing = f"the budget ended while it was {self.stage}: {error}"
    self.figures["hidden_units"] = self.network.units
    return RecoveredNetwork(self.network, missing, self.figures)

  def _run(self) -> str:
    self.stage = "measuring how precise answers are"
    measured = precision.choose_region(
        self.answers, self.examples.mean(axis=0), self.size, self.rng)
    self.figures["precision"] = measured.relative
    if measured.missing:
      return measured.missing
    if self._tolerance() > COARSEST:
      return too_coarse(measured.relative)
    if self.answers.width > _MANY_OUTPUTS and self.answers.noise < 1e-12:
      self._reduce()
    missing = "nothing was tried"
    # Imprecise answers fail more often on a line, and early.
    tries = self.attempts * (3 if self.answers.noise > _NOISY else 1)
    for attempt in range(tries):
      try:
        missing = self._attempt(attempt)
      except TooManyKinks as error:
        missing = str(error)
      except (ArithmeticError, np.linalg.LinAlgError) as error:
        missing = f"no network fits the answers: {error}"
      if not missing:
        break
    if missing and self.answers.noise > _COARSE:
      return (f"answers are precise to {self.answers.noise:.0e} of their size, "
              "whatever that is, as float16 is; ask for float32, or for "
              f"decimals, whose rounding large inputs outgrow: {missing}")
    return missing

  def _reduce(self) -> None:
    """Keeps as many outputs as depend on nothing else."""
    self.stage = "counting independent outputs"
    answers = self.answers
    count = _MANY_OUTPUTS // 2
    while answers.basis is None and count < answers.width:
      points = answers.region.sample(count, self.rng)
      answers.reduce(points / np.maximum(
          1, np.linalg.norm(points, axis=1) / 3)[:, None], 1e-11)
      count *= 2
    self.figures["independent_outputs"] = answers.width
    d, k = answers.region.features, answers.width
    self.network = TwoLayerNetwork.of(
        np.zeros((0, d)), np.zeros(0), np.zeros((0, k)), np.zeros((d, k)),
        np.zeros(k))

  def _attempt(self, attempt: int) -> str:
    answers, rng = self.answers, self.rng
    along = rng.standard_normal(answers.region.features)
    along /= np.linalg.norm(along)
    self.stage = "searching a line"
    noisy = answers.noise > _NOISY
    sketch = recover(answers, along, rng, attempt > 0 and not noisy)
    self._partial(sketch)
    if sketch.loss > (300 if noisy else 1e5) and sketch.refined:
      return ("rows in a plane do not fit: "
              f"{sketch.loss:.1e} times what answers are precise to")
    self.figures.update(_of_signs(sketch.signs))
    if not sketch.network.units and sketch.signs.integral:
      return self._certify()  # a constant has no slopes
    self.stage = "measuring Jacobians"
    bases = normals.choose(sketch, answers, rng)
    small = self._small(sketch.network.units)
    measured = normals.measure(answers, sketch, bases, rng, small)
    self.network = measured.network
    if measured.share < 1:
      raise BudgetExceeded(
          f"{100 * measured.share:.0f} % of directions were measured")
    if not sketch.refined and sketch.signs.integral:
      self.stage = "crossing the hyperplanes of all units"
      self.network = crossings.improve(answers, measured, rng)
    if not sketch.signs.integral:
      self._turn()
    if small and answers.noise > 1e-12:
      self._refine()
    return self._certify()

  def _partial(self, sketch: PlaneNetwork) -> None:
    network, basis = sketch.network, sketch.basis
    self.network = TwoLayerNetwork.of(
        network.normals @ basis, network.offsets, network.outer,
        basis.T @ network.linear, network.constant)

  def _small(self, units: int) -> bool:
    d, k = self.answers.region.features, self.answers.width
    return units * (d + 1 + k) + k * (d + 1) <= 5500

  def _turn(self) -> None:
    solved = signs.solve(self.network)
    self.network = solved.network
    self.figures.update(_of_signs(solved))

  def _refine(self) -> None:
    points, outputs = self.answers.kept()
    errors = self.answers.row_tolerances(
        outputs, np.linalg.norm(points, axis=1))
    # Rows behind a unit that is still missing would spoil the others.
    off = np.abs(outputs - self.network(points)).max(axis=1)
    fit = off <= np.maximum(1e-5 * np.abs(outputs).max(axis=1), 1e3 * errors)
    if not fit.any():
      return
    points, outputs, errors = points[fit], outputs[fit], errors[fit]
    linear = bool(np.abs(self.network.linear).max(initial=0))
    self.network = refine(self.network, points, outputs, errors, linear)

  def _certify(self) -> str:
    self.stage = "checking on fresh rows"
    answers = self.answers
    tolerance = self._tolerance()
    for _ in range(_ROUNDS):
      integral = not np.abs(self.network.linear).max(initial=0)
      check = self._check(tolerance, 1)
      if not integral and not check.wrong.any():
        check = self._check(tolerance, 3)
      if not check.wrong.any():
        return self._claim(check) or self._at_kinks()
      if not answers.region.bounded:
        break
      wrong = check.points[check.wrong]
      more = missing_units.add(
          answers, self.network, wrong[np.argmin(np.abs(
              np.linalg.norm(wrong, axis=1) - 1))], self.rng)
      if more.units == self.network.units:
        break
      self.network = more
      if self._small(more.units):
        self._refine()
      if not integral:
        self._turn()
    return (f"{self.network.units} units were found, and "
            f"{check.wrong.sum()} of {len(check.points)} fresh rows are off by "
            f"up to {check.error:.1e}")

  def _check(self, tolerance: float, times: int) -> HeldOutCheck:
    points, examples = self._fresh(times)
    check = held_out.held_out(
        self.answers, self.network, points, examples, tolerance)
    if self.answers.outside > tolerance:
      raise TooManyKinks(
          f"an answer lies outside of the {self.answers.width} outputs that "
          f"all others depend on, by {self.answers.outside:.1e}")
    self.figures |= {"tolerance": tolerance, "held_out_rows": len(check.points),
                     "held_out_error": check.error}
    return check

  def _claim(self, check: HeldOutCheck) -> str:
    """Whether many rows more would meet the tolerance, as errors scatter."""
    if check.expected <= check.tolerance:
      return ""
    most = check.tolerance * (_SLACK if self.tolerance is None else 1)
    if check.expected > most:
      return (f"fresh rows are off by up to {check.error:.1e}, by their "
              f"spread others by {check.expected:.1e}: more than the tolerance "
              f"of {check.tolerance:.1e}")
    self.figures["tolerance"] = most
    return ""

  def _at_kinks(self) -> str:
    """Compares at the kinks of all units, where other activations show."""
    self.stage = "checking at kinks"
    answers, region = self.answers, self.answers.region
    points = kink_rows.points(
        self.network, region, region.points(self.examples), self.rng)
    if not len(points):
      return ""
    check = held_out.held_out(
        answers, self.network, points, 0, self.figures["tolerance"])
    self.figures |= {"rows_at_kinks": len(check.points),
                     "error_at_kinks": check.error}
    if not check.wrong.any():
      return ""
    worst = check.points[int(np.argmax(check.errors))]
    if kink_rows.is_curved(answers, self.network, worst):
      raise smooth.Smooth(smooth.message("at the kinks of hidden units"))
    return (f"{check.wrong.sum()} of {len(check.points)} rows at the kinks of "
            f"{self.network.units} units are off by up to {check.error:.1e}")

  def _tolerance(self) -> float:
    if self.tolerance is not None:
      return self.tolerance
    precision = self.figures["precision"]
    return max(1e-9, min(300 * precision, 1e-4), 3 * precision)

  def _fresh(self, times: int) -> tuple[np.ndarray, int]:
    """Fresh points z [n, d], and how many of them, the last, are examples."""
    count = times * self.held_out
    # Little was found: it may be little, or be hidden from the lines.
    count *= _MORE if self.network.units < _FEW else 1
    chosen = self.rng.permutation(len(self.examples))[:count // 3]
    some = self.answers.region.points(self.examples[chosen])
    return np.concatenate([self.answers.region.sample(
        count - len(some), self.rng), some]), len(some)


def _of_signs(solved: signs.Signs) -> dict[str, Any]:
  return {"signs_from_integers": solved.distance,
          "remainder": solved.remainder, "signs_integral": solved.integral}
