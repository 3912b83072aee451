"""Functionally equivalent extraction of two-layer ReLU networks.

The network is computed, not learnt: kinks on a line give the last layer, slopes
between them the first. It is done only once it has proven itself on fresh rows.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from wsl_extraction import checks
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.relu import feature_scales, input_domain
from wsl_extraction.attacks.relu.box_extraction import (
    BoxExtraction,
    box_answers,
)
from wsl_extraction.attacks.relu.input_domain import InputDomain
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.attacks.relu.search import RecoveredNetwork, Search
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.reveals import Logits, Scores
from wsl_extraction.oracle.spaces import Images, Space, Vectors

_SEEN = 1000  # examples of the pool that tell where the data lie


@dataclasses.dataclass(frozen=True, kw_only=True)
class Functional(Attack):
  """Extracts f(x) = outer relu(hidden x + bias) + constant, for any d, h, c.

  Neither the number of units nor anything else of the network is known
  beforehand. Queries are made up, any real numbers: the pool only says where
  the data lie. The result is DONE only with a certificate: the signs of all
  units are integers or a linear part is kept, every equation is met, and fresh
  rows are reproduced within `tolerance`. Otherwise it is INCOMPLETE and
  `Extraction.missing` says why.

  Attributes:
    box: Whether inputs must lie in the data's range of values. Units that
      never switch inside are then part of the linear part, and the networks
      are equal in the box only. None leaves it to the oracle: to its space,
      and to what a few rows show. An API of images clips its inputs or rounds
      them to pixels, and is asked about such inputs alone.
    share: Of fresh rows in a box, on which the copy may differ unseen: 3 /
      share of them in a row have to be right, which is 95 % confidence; thrice
      as many where units may be missing. About 60 % of them are corners of the
      box, 15 % points in it, 25 % examples: of each kind more may differ.
    tolerance: The largest error on fresh rows, as a share of the largest
      output; None for one that fits the precision of the answers.
    held_out: Fresh rows of the certificate; thrice as many where a linear part
      is kept.
    attempts: Lines to try, or base points in a box, until one gives a
      certificate.
    query_batch_size: The most rows sent to the oracle at once.

  References:
    Jagielski et al. 2020, section 5 (critical points on lines).
    Carlini, Jagielski, Mironov. Cryptanalytic Extraction of Neural Network
      Models. CRYPTO 2020 (signs, precision).
    Milli, Schmidt, Dragan, Hardt. Model Reconstruction from Model
      Explanations. FAT* 2019 (jumps of the gradient).
  """

  needs: ClassVar = (Scores(),)
  space: ClassVar = (Images, Vectors)
  queries: ClassVar = Queries.SYNTHETIC
  goal: ClassVar = Goal.FUNCTIONAL_EQUIVALENCE
  model: ClassVar = Model.NEURAL_NETWORK

  box: bool | None = None
  share: float = 0.01
  tolerance: float | None = None
  held_out: int = 24
  attempts: int = 4
  query_batch_size: int = 4096

  def __post_init__(self):
    for name in ("held_out", "attempts", "query_batch_size"):
      object.__setattr__(self, name, checks.whole(
          f"Functional.{name}", getattr(self, name), 1))
    if self.box is not None:
      checks.flag("Functional.box", self.box)
    checks.number("Functional.share", self.share, above=0, below=1)
    checks.number("Functional.tolerance", self.tolerance, above=0, below=1,
                  optional=True)

  def check(self, oracle, knowledge):
    budget = oracle.ledger.budget.rows
    if budget is not None and budget < 1:
      raise InputError(f"the budget is {budget} queries; give 1 or more")
    if oracle.outputs < 2 and not oracle.reveal.covers(Logits()):
      raise InputError("the score of a single class is always 1; ask for "
                       "logits")
    if self.box is False and _is_limited(oracle.space):
      low, high = oracle.space.value_range
      raise InputError(
          "functional extraction makes up inputs of any size, and the oracle "
          f"takes those from {low:g} to {high:g} alone; leave Functional.box "
          "out, or set Experiment.bounded to False")

  def run(self, oracle, knowledge, rng, runtime):
    examples = _examples(oracle.space, knowledge, rng)
    size = feature_scales.half_ranges(
        oracle.space, examples) * math.sqrt(examples.shape[1])
    middle = examples.mean(axis=0)
    region = Region(middle, size, np.zeros_like(middle))
    domain = self._domain(oracle, examples, rng)
    answers = LogitQueries(oracle, region, self.query_batch_size, domain)
    answers.rows = oracle.ledger.rows
    if domain.box is None:
      search = Search(answers, rng, self.tolerance, self.held_out,
                      self.attempts, examples, size)
    else:
      box_answers(answers)
      search = BoxExtraction(answers, rng, examples, self.tolerance,
                             self.held_out, self.share, self.attempts)
    answers.progress = lambda rows: runtime.stage(search.stage, rows)
    recovered = search()
    surrogate, weights = _surrogate(recovered, answers)
    return Extraction(
        surrogate, Status.INCOMPLETE if recovered.missing else Status.DONE,
        weights, _figures(recovered, answers), recovered.missing)

  def _domain(self, oracle: Oracle, examples: np.ndarray,
              rng: np.random.Generator) -> InputDomain:
    try:
      return input_domain.explore(oracle, examples, self.box, rng)
    except BudgetExceeded:
      return InputDomain()  # the search says what the budget was too small for


def _is_limited(space: Space) -> bool:
  return space.bounded and bool(
      np.isfinite(space.low).any() or np.isfinite(space.high).any())


def _examples(space: Space, knowledge: Knowledge,
              rng: np.random.Generator) -> np.ndarray:
  """Rows float64 [n, d] that tell where the data lie."""
  pool = knowledge.pool
  rows = pool.rows[:_SEEN] if pool is not None and len(pool) else (
      space.sample(_SEEN, rng))
  return np.asarray(rows, np.float64).reshape(len(rows), -1)


def _surrogate(recovered: RecoveredNetwork, answers: LogitQueries):
  """The network of x, its units by size; of scores, class 0 is left at 0."""
  region = answers.region
  network = recovered.network.of_inputs(region.origin, region.scale)
  network = TwoLayerNetwork.of(
      network.normals, network.offsets, answers.expanded(network.outer),
      answers.expanded(network.linear), answers.expanded(network.constant)
  ).canonical()
  pad = ((0, 0), (0 if answers.logits else 1, 0))
  outer, linear = np.pad(network.outer, pad), np.pad(network.linear, pad)
  return dense.two_layer(ReluNetwork(
      (network.normals.T, outer),
      (network.offsets, np.pad(network.constant, pad[1])),
      linear=linear if linear.any() else None), answers.oracle.space.shape)


def _figures(recovered: RecoveredNetwork,
             answers: LogitQueries) -> tuple[Figure, ...]:
  region, units = answers.region, recovered.network.units
  bound = region.features * units / answers.oracle.outputs + units + 1
  share = answers.oracle.ledger.rows / bound
  figures = recovered.figures
  if region.box:
    where = f"inputs from {region.box[0].min():g} to {region.box[1].max():g}"
  else:
    where = (f"all inputs within {region.radius / region.unit:.1e} times the "
             "size of the data")
  if "differs_on_at_most" in figures:
    where += (f", but for at most {100 * figures['differs_on_at_most']:g} % of "
              "rows like the fresh ones (corners of the box, points in it and "
              "examples) with 95 % confidence")
  where += (", if the victim is a ReLU network of one hidden layer; rows "
            "cannot rule out another function")
  texts = {
      "bound": f"{bound:.0f} queries by counting unknowns; {share:.2f} of it "
               "were spent",
      "hidden_units": f"{units} found"}
  if figures.get("held_out_rows"):
    texts["held_out_error"] = (
        f"{figures['held_out_error']:.1e} of the largest output, on "
        f"{figures['held_out_rows']} fresh rows")
  if "differs_on_at_most" in figures:
    texts["domain"] = where
  texts["inputs"] = answers.domain.text
  values = {"inputs": answers.domain.text, "domain": where, "bound": bound,
            "queries_per_bound": share, **figures}
  return tuple(Figure(name, _plain(value), texts.get(name, ""))
               for name, value in values.items())


def _plain(value: Any) -> Any:
  """For JSON, which knows neither NumPy's numbers nor NaN."""
  if isinstance(value, (bool, np.bool_)):
    return bool(value)
  if isinstance(value, (float, np.floating)):
    return float(value) if math.isfinite(value) else None
  return value
