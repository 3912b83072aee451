"""Extraction of linear models and small perceptrons by solving for weights.

Every score is an equation in the unknown weights: linear ones for a softmax of
linear functions, others for one against the rest and for perceptrons.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.linear import solved_models
from wsl_extraction.attacks.linear.region import Region
from wsl_extraction.attacks.linear.score_queries import Scored, ScoreQueries
from wsl_extraction.attacks.linear.solution import Solution
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Images, Vectors

CLASSIFIERS = ("auto", "softmax", "one_vs_rest", "perceptron")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EquationSolving(Attack):
  """Solves for the weights of a classifier from its scores.

  A softmax of linear functions of d features follows from d + 1 rows, as each
  row gives an equation for every class but one. Scores of one class against the
  rest, normalised, and perceptrons with one hidden layer of ReLUs are fitted by
  least squares. Which of these the victim is need not be known: they are tried
  in this order, and the error on fresh rows decides. Where scores are rounded,
  each is an interval, and more rows give a better model.

  It is DONE if fresh rows are met within the precision of scores, or if no row
  is left for them and the classifier was named.

  Attributes:
    classifier: "softmax", "one_vs_rest", "perceptron", or "auto".
    rows: From so many it solves; None for as many as suffice, or with rounded
      scores for the whole budget, at most ten for each unknown of a class.
    hidden: The units of a perceptron.
    fresh: Rows of the check, as far as the budget allows.
    restarts: Times that a perceptron is fitted from other random weights.
    intervals: Whether rounded scores are intervals; else numbers, whose
      logarithms are fitted by plain least squares.

  References:
    Tramer, Zhang, Juels, Reiter, Ristenpart. Stealing Machine Learning Models
      via Prediction APIs. USENIX Security 2016, section 4.1.
  """

  needs: ClassVar = (Scores(),)
  space: ClassVar = (Vectors, Images)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.LINEAR

  classifier: str = "auto"
  rows: int | None = None
  hidden: int = 20
  fresh: int = 16
  restarts: int = 6
  intervals: bool = True

  def __post_init__(self):
    checks.one_of("EquationSolving.classifier", self.classifier, CLASSIFIERS)
    for name, least, optional in (("rows", 1, True), ("hidden", 1, False),
                                  ("fresh", 0, False), ("restarts", 1, False)):
      object.__setattr__(self, name, checks.whole(
          f"EquationSolving.{name}", getattr(self, name), least,
          optional=optional))
    checks.flag("EquationSolving.intervals", self.intervals)

  def check(self, oracle, knowledge):
    budget = oracle.ledger.budget.rows
    if budget is not None and budget < 1:
      raise InputError(f"the budget is {budget} queries; give 1 or more")
    if oracle.outputs < 2:
      raise InputError("the score of a single class is always 1; equation "
                       "solving is for 2 classes or more")

  def run(self, oracle, knowledge, rng, runtime):
    region = Region.of(oracle.space, knowledge)
    queries = ScoreQueries(oracle, region, runtime.stage)
    names = [name for name in CLASSIFIERS[1:]
             if self.classifier in ("auto", name)]
    if oracle.outputs == 2 and self.classifier == "auto":
      names.remove("one_vs_rest")  # of two classes a perceptron may be
    solver = solved_models.Solver(
        queries, rng, rows=self.rows, hidden=self.hidden, fresh=self.fresh,
        restarts=self.restarts, intervals=self.intervals)
    best: Solution | None = None
    for name in names:
      solution = solver.solve(name)
      if best is None or solution.error < best.error:
        best = solution
      if solution.error <= queries.tolerance or not solution.has_all_rows:
        break
    assert best is not None
    status, missing = self._verdict(best, queries, solver.fresh_rows)
    surrogate, weights = _surrogate(best, region)
    return Extraction(surrogate, status, weights, _figures(
        best, queries, solver.fresh_rows), missing)

  def _verdict(self, best: Solution, queries: ScoreQueries,
               fresh: Scored | None) -> tuple[Status, str]:
    if best.unsolvable:
      return Status.INCOMPLETE, best.unsolvable
    if not best.has_all_rows:
      return Status.BUDGET_EXHAUSTED, (
          f"a {best.text} takes {best.wanted} rows, and the budget left "
          f"{best.used}; raise it")
    if not fresh:
      if self.classifier == "auto":
        return Status.INCOMPLETE, (
            "no row was left to see which classifier the victim is; raise the "
            f"budget by {self.fresh or 16}, or name it in "
            "EquationSolving.classifier")
      return Status.DONE, ""
    if best.error <= queries.tolerance:
      return Status.DONE, ""
    what = "score" if queries.resolution else "logarithm of a score's ratio"
    advice = ("more rows may mend it" if queries.resolution else
              "the victim is another kind of classifier, or does not always "
              "answer alike")
    return Status.INCOMPLETE, (
        f"as a {best.text} fresh rows are met to {best.error:.1e} of a {what}, "
        f"and its precision is {queries.tolerance:.0e}: {advice}")


def _surrogate(best: Solution, region: Region):
  if isinstance(best.weights, LinearWeights):
    return best.weights.to_keras(region.shape)
  return dense.two_layer(best.weights, region.shape)


def _figures(best: Solution, queries: ScoreQueries,
             fresh: Scored | None) -> tuple[Figure, ...]:
  count = 0 if fresh is None else len(fresh)
  unit = ("score" if queries.resolution else "logarithm of the ratio of scores")
  return (
      Figure("classifier", best.name, best.text),
      Figure("unknowns", best.unknowns,
             f"{best.unknowns} weights, from {best.used} rows"),
      Figure("rows", best.used),
      Figure("resolution", queries.resolution,
             f"scores are multiples of {queries.resolution:g}"
             if queries.resolution else ""),
      Figure("fresh_rows", count,
             "" if count else "none, the classifier was taken for granted"),
      Figure("fresh_error", best.error if count else None,
             f"{best.error:.1e} of a {unit}, on {count} fresh rows"
             if count else ""))
