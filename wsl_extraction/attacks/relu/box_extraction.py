"""From an oracle of inputs in a box to a network, and its certificate."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.attacks.relu import held_out, kink_rows, signs, smooth
from wsl_extraction.attacks.relu.box_search import BoxSearch
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.search import RecoveredNetwork
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.oracle.ledger import BudgetExceeded

_TURNED = 1e-12  # of the largest output: what leaving out the linear part costs


class BoxExtraction:
  """One extraction in a box."""

  def __init__(self, answers: LogitQueries, rng: np.random.Generator,
               examples: np.ndarray, tolerance: float | None, held_out: int,
               share: float, attempts: int):
    """Prepares an extraction.

    Args:
      answers: With the box as region, z from 0 to 1.
      rng: What decides.
      examples: x [n, d] that tell where the data lie.
      tolerance: See `Functional`.
      held_out: Fresh rows of the certificate.
      share: Of the box, on which the network may differ unseen.
      attempts: Base points to try.
    """
    self.answers, self.rng = answers, rng
    self.rows = held_out
    self.examples = np.clip(answers.region.points(examples), 0, 1)
    self.search = BoxSearch(
        answers, rng, self.examples, share, attempts, tolerance)
    self.share, self.certifying = share, ""

  @property
  def stage(self) -> str:
    """What it is doing."""
    return self.certifying or self.search.stage

  def __call__(self) -> RecoveredNetwork:
    try:
      missing = self.search.recover() or self._certify()
    except smooth.Smooth as error:
      missing = str(error)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
      missing = f"no network fits the answers: {error}"
    except BudgetExceeded as error:
      missing = f"the budget ended while it was {self.stage}: {error}"
    network = self.search.network
    self.search.figures["hidden_units"] = network.units
    return RecoveredNetwork(network, missing, self.search.figures)

  def _certify(self) -> str:
    search, answers = self.search, self.answers
    search.fit_all()
    self._turn()
    self.certifying = "checking at kinks"
    kinks = answers.nearest(kink_rows.points(
        search.network, answers.region, self.examples, self.rng))
    check = self._check(kinks, 0)
    if check.wrong.any():
      worst = kinks[int(np.argmax(check.errors))]
      if kink_rows.is_curved(answers, search.network, worst):
        raise smooth.Smooth(smooth.message("at the kinks of hidden units"))
      return (f"{check.wrong.sum()} of {len(check.points)} rows at the kinks "
              f"of {search.network.units} units are off by up to "
              f"{check.error:.1e}")
    search.figures |= {"rows_at_kinks": len(kinks),
                       "error_at_kinks": check.error}
    if len(kinks):  # they tell offsets best
      search.fit_all()
    self.certifying = "checking on fresh rows"
    check = self._check(search.sample(self.rows), min(
        self.rows // 4, len(self.examples)))
    search.figures |= {
        "tolerance": check.tolerance, "held_out_rows": len(check.points),
        "held_out_error": check.error}
    if check.expected > check.tolerance:
      return (f"{check.wrong.sum()} of {len(check.points)} fresh rows are off "
              f"by up to {check.error:.1e}, by their spread others by "
              f"{check.expected:.1e}")
    # Those that speak for the share were judged before the last fit.
    off = search.errors()
    if (off > check.tolerance).any():
      return (f"{(off > check.tolerance).sum()} of {len(off)} rows are off by "
              f"up to {off.max():.1e} after the last fit")
    search.figures["differs_on_at_most"] = self.share
    return ""

  def _check(self, points: np.ndarray, examples: int) -> held_out.HeldOutCheck:
    return held_out.held_out(self.answers, self.search.network, points,
                             examples, self.search.tolerance)

  def _turn(self) -> None:
    """Leaves out the linear part where signs of units explain it."""
    solved = signs.solve(self.search.network)
    self.search.figures |= {
        "signs_from_integers": solved.distance, "remainder": solved.remainder,
        "signs_integral": solved.integral}
    if not solved.integral:
      return
    points, outputs = self.answers.kept()
    size = float(np.abs(outputs).max(initial=0)) or 1.0

    def off(network: TwoLayerNetwork) -> float:
      return float(np.quantile(
          np.abs(outputs - network(points)).max(axis=1), 0.99))
    before, self.search.network = self.search.network, solved.network
    self.search.fit_all()
    allowed = max(3 * off(before), _TURNED * size)
    if off(self.search.network) > allowed:
      self.search.network = before


def box_answers(answers: LogitQueries) -> None:
  """Sets the region of queries to the box of the oracle's inputs."""
  assert answers.domain.box is not None
  low, high = answers.domain.box
  answers.region = dataclasses.replace(
      answers.region, origin=low, scale=high - low,
      data=np.full(len(low), 0.5), box=(low, high))
