"""Proofs that a copy equals its victim, by the kind of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from wsl_extraction.equivalence import certify, linear, steps, trees
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.regions import Domain
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.step_sum import StepSum


class Proof(Protocol):
  """Bounds on the difference of a copy and its victim."""

  def fields(self) -> Mapping[str, Any]:
    """The fields of result.json.

    "text" is the line that a user reads; without it "least" and "most" are
    bounds on the largest difference of logits.
    """
    ...


def if_known(victim: Any, copy: Any, low: np.ndarray, high: np.ndarray,
             value_range: tuple[float, float], *, domain: Domain, scores: bool,
             centred: bool, report: certify.Report) -> Proof | None:
  """Bounds the difference of a copy and its victim.

  Args:
    victim: The victim's weights, if they are known.
    copy: The surrogate's, if they were computed.
    low: The least value of each feature, finite [d].
    high: The largest.
    value_range: The least and the largest of all, for networks.
    domain: All rows that may be asked about, for trees.
    scores: Whether more than labels was revealed.
    centred: Whether logits are compared up to a common shift.
    report: Called with what a long proof is doing.

  Returns:
    None where one of the two is not known, or they are of different kinds.
  """
  if isinstance(victim, LinearWeights) and isinstance(copy, LinearWeights):
    if victim.outputs < 2:
      return None
    return linear.certify(victim, copy, low, high, scores=scores)
  if isinstance(victim, DecisionTree) and isinstance(copy, DecisionTree):
    return trees.compare(victim, copy, domain, low, high, scores=scores)
  if isinstance(victim, StepSum) and isinstance(copy, StepSum):
    return steps.compare(victim, copy, domain, centred=centred)
  if isinstance(victim, ReluNetwork) and isinstance(copy, ReluNetwork):
    return certify.if_known(victim, copy, len(low), value_range,
                            centred=centred, report=report)
  return None
