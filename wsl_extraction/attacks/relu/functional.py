"""Functionally equivalent extraction of two-layer ReLU networks.

The network is computed, not learnt: kinks on a line give the last layer, slopes
between them the first. It is done only once it has proven itself on fresh rows.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from wsl_extraction.attacks.attack import Attack, Extraction, Status
from wsl_extraction.attacks.relu.logit_queries import LogitQueries
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.attacks.relu.search import RecoveredNetwork
from wsl_extraction.attacks.relu.search import Search as Search
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.oracle.reveals import Access

_SEEN = 1000  # examples of the pool that tell where the data lie


@dataclasses.dataclass(frozen=True, kw_only=True)
class Functional(Attack):
  """Extracts f(x) = outer relu(hidden x + bias) + constant, for any d, h, c.

  Neither the number of units nor anything else of the network is known
  beforehand. Queries are made up, any real numbers: the pool only says where
  the data lie. The result is DONE only with a certificate: the signs of all
  units are integers or a linear part is kept, every equation is met, and fresh
  rows are reproduced within `tolerance`. Otherwise it is INCOMPLETE and
  `notes["missing"]` says why.

  Attributes:
    box: Whether inputs must lie in the data's range of values. Units that
      never switch inside are then part of the linear part, and the networks
      are equal in the box only.
    tolerance: The largest error on fresh rows, as a share of the largest
      output; None for one that fits the precision of the answers.
    held_out: Fresh rows of the certificate; thrice as many where a linear part
      is kept. In a box 200 times as many, and yet they prove no more than that
      the networks differ on a small share of it,
      `notes["differs_on_at_most"]` with 95 % confidence.
    attempts: Lines to try until one gives a certificate.
    query_batch_size: The most rows sent to the oracle at once.

  References:
    Jagielski et al. 2020, section 5 (critical points on lines).
    Carlini, Jagielski, Mironov. Cryptanalytic Extraction of Neural Network
      Models. CRYPTO 2020 (signs, precision).
    Milli, Schmidt, Dragan, Hardt. Model Reconstruction from Model
      Explanations. FAT* 2019 (jumps of the gradient).
  """

  box: bool = False
  tolerance: float | None = None
  held_out: int = 24
  attempts: int = 4
  query_batch_size: int = 4096

  def __post_init__(self):
    for name in ("held_out", "attempts", "query_batch_size"):
      value = getattr(self, name)
      if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"Functional.{name} is {value!r}; give a whole "
                         "number, 1 or more")
    if not isinstance(self.box, bool):
      raise InputError(f"Functional.box is {self.box!r}; give True or False")
    given = self.tolerance
    if given is not None and (
        isinstance(given, bool) or not isinstance(given, (int, float))
        or not 0 < given < 1):
      raise InputError(f"Functional.tolerance is {given!r}; give a number "
                       "between 0 and 1, or None")

  @property
  def requires(self) -> Access:
    return Access.SCORES

  @property
  def asks_pool(self) -> bool:
    return False

  def check(self, oracle, pool):
    budget = oracle.ledger.budget
    if budget is not None and budget < 1:
      raise InputError(f"the budget is {budget} queries; give 1 or more")
    if oracle.num_classes < 2 and oracle.access < Access.LOGITS:
      raise InputError("the score of a single class is always 1; ask for "
                       "logits")

  def run(self, oracle, pool, seed, surroundings):
    low, high = map(float, surroundings.value_range)
    images = np.asarray(pool.images[:_SEEN], np.float64)
    images = images.reshape(len(images), -1)
    size = (high - low) * math.sqrt(images.shape[1]) / 2
    middle = images.mean(axis=0)
    region = Region(middle, size, np.zeros_like(middle),
                    box=(low, high) if self.box else None)
    answers = LogitQueries(oracle, region, self.query_batch_size)
    search = Search(answers, np.random.default_rng(seed), self.tolerance,
                    self.held_out, self.attempts, images, size)
    answers.progress = lambda rows: surroundings.progress(search.stage, rows)
    found = search()
    surrogate, weights = self._surrogate(found, answers)
    return Extraction(
        surrogate, oracle.ledger.spent,
        Status.INCOMPLETE if found.missing else Status.DONE,
        self._notes(found, answers), weights)

  def _surrogate(self, found: RecoveredNetwork, answers: LogitQueries):
    """The network of x, its units by size; of scores, class 0 is left at 0."""
    region = answers.region
    network = found.network.of_inputs(region.origin, region.scale).canonical()
    pad = ((0, 0), (0 if answers.logits else 1, 0))
    outer, linear = np.pad(network.outer, pad), np.pad(network.linear, pad)
    return dense.two_layer(ReluNetwork(
        (network.normals.T, outer),
        (network.offsets, np.pad(network.constant, pad[1])),
        linear=linear if linear.any() else None), answers.oracle.input_shape)

  def _notes(
    self, found: RecoveredNetwork, answers: LogitQueries
  ) -> dict[str, Any]:
    region, units = answers.region, found.network.units
    bound = region.features * units / answers.oracle.num_classes + units + 1
    spent = answers.oracle.ledger.spent
    reach = region.radius * region.scale
    where = (f"inputs from {region.box[0]:g} to {region.box[1]:g}"
             if region.box else f"all inputs within {reach:.1e} of the data")
    notes = {"missing": found.missing, "domain": where,
             "bound": bound, "queries_per_bound": spent / bound,
             **found.figures}
    return {name: _plain(value) for name, value in notes.items()}


def _plain(value: Any) -> Any:
  """For JSON, which knows neither NumPy's numbers nor NaN."""
  if isinstance(value, (bool, np.bool_)):
    return bool(value)
  if isinstance(value, (float, np.floating)):
    return float(value) if math.isfinite(value) else None
  return value
