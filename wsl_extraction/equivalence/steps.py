"""Proof of how far two sums of steps are apart, feature by feature.

A sum of stumps is a sum of functions of one feature each, constant between its
thresholds. So is the difference of two sums, and its largest value on all rows
is the sum of the largest values of its parts: no row has to be searched for.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsl_extraction.networks.regions import Domain
from wsl_extraction.networks.step_sum import StepSum


@dataclasses.dataclass(frozen=True)
class StepCertificate:
  """The largest difference of two sums of steps on all rows of a domain.

  Attributes:
    largest: Of any output, or of its distance from the first one where a common
      shift is left open; attained by a row, but for rounding of the sums.
    thresholds: Those of the victim within the domain.
    shared: Those that the copy has to the last bit.
    seconds: The time that it took.
  """

  largest: float
  thresholds: int
  shared: int
  seconds: float

  def fields(self) -> Mapping[str, Any]:
    """The fields of result.json."""
    return {**dataclasses.asdict(self), "text": (
        f"outputs differ by at most {self.largest:.1e} on every row; "
        f"{self.shared:,} of the victim's {self.thresholds:,} thresholds are "
        "the copy's, to the last bit")}


def compare(victim: StepSum, copy: StepSum, domain: Domain, *,
            centred: bool) -> StepCertificate | None:
  """Bounds the difference of two sums of steps, and finds it.

  Args:
    victim: A sum of steps.
    copy: Another one, of as many features and outputs.
    domain: The rows on which they are compared.
    centred: Whether a common shift of all outputs counts for nothing.

  Returns:
    None where one of them has products of steps, or another link.
  """
  start = time.monotonic()
  if len(victim.pairs) or len(copy.pairs) or victim.link != copy.link:
    return None
  both = [one.merged() for one in (victim, copy)]
  constants = [one.constant for one in both]
  effects = [one.effects for one in both]
  if centred and victim.link == "logits":
    constants = [one - one[0] for one in constants]
    effects = [one - one[:, :1] for one in effects]
  low = high = constants[0] - constants[1]
  for feature in range(domain.features):
    gaps = _gaps(both, effects, feature, domain)
    low, high = low + gaps.min(axis=0), high + gaps.max(axis=0)
  known = [{(int(f), float(t)) for f, t in zip(
      one.feature, one.threshold, strict=True)
            if domain.low[f] <= t < domain.high[f]} for one in both]
  return StepCertificate(
      float(max(np.abs(low).max(), np.abs(high).max())), len(known[0]),
      len(known[0] & known[1]), time.monotonic() - start)


def _gaps(both: list[StepSum], effects: list[np.ndarray], feature: int,
          domain: Domain) -> np.ndarray:
  """The differences [k, c] of two functions of a feature on each interval."""
  sides = []
  for one, effect in zip(both, effects, strict=True):
    own = one.feature == feature
    sides.append((one.threshold[own].astype(np.float64), effect[own]))
  inner = np.unique(np.concatenate([thresholds for thresholds, _ in sides]))
  inner = inner[(domain.low[feature] <= inner)
                & (inner < domain.high[feature])]
  # A number of each interval: its lower end is the threshold before.
  values = np.concatenate([[domain.low[feature]], np.nextafter(inner, np.inf)])
  first, second = ((values[:, None] > thresholds) @ effect
                   for thresholds, effect in sides)
  return first - second
