"""The certificate of a run: bounds over the range of its inputs, or none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wsl_extraction.equivalence import certify
from wsl_extraction.equivalence.certify import Certificate
from wsl_extraction.networks.relu_network import ReluNetwork


def network(shift=0.0, deep=False):
  """Logits (relu(x) + relu(y), 0) and a shift of the first."""
  inner = [np.eye(2)] * (2 if deep else 1)
  return ReluNetwork(
      [*inner, np.array([[1.0, 0.0], [1.0, 0.0]])],
      [*(np.zeros(2) for _ in inner), np.array([shift, 0.0])])


def if_known(victim, copy, high=4.0, centred=False):
  return certify.if_known(victim, copy, 2, (0.0, high), centred=centred,
                          report=lambda stage, words: None)


def proved(*networks, **options) -> Certificate:
  proof = if_known(*networks, **options)
  assert proof is not None
  return proof


def test_a_difference_is_bounded_over_the_range_of_the_inputs():
  double = ReluNetwork(
      [np.eye(2), np.array([[2.0, 0.0], [2.0, 0.0]])], [np.zeros(2)] * 2)
  for high in (1.0, 4.0):
    # x + y is largest at the corner (high, high).
    proof = proved(network(), double, high=high)
    assert proof.lower == pytest.approx(2 * high)
    assert proof.upper == pytest.approx(2 * high)


def test_scores_leave_a_common_shift_open():
  both = ReluNetwork(
      network().weights, [np.zeros(2), np.array([0.5, 0.5])])
  assert proved(network(), both).lower == pytest.approx(0.5)
  assert proved(network(), both, centred=True).upper < 1e-9


@pytest.mark.parametrize(("victim", "copy"), [
    (None, network()), (network(), None), (None, None),
    (network(deep=True), network(deep=True)), (network(), network(deep=True)),
])
def test_nothing_is_said_of_weights_that_are_not_known_or_deep(victim, copy):
  assert if_known(victim, copy) is None


def test_a_tolerance_is_exceeded_only_for_sure():
  """Logits are 16 at most, and differ by half of one."""
  proof = proved(network(), network(0.5), high=8.0)
  assert proof.size == pytest.approx(16)
  assert proof.exceeds(0.5 / 16 / 4 - 1e-9)
  assert not proof.exceeds(0.5 / 16 / 4 + 1e-9)
  assert not Certificate(1e9, 2e9, 1.0).exceeds(1e-12)  # of unknown size


def test_infinite_bounds_are_said_in_words():
  proof = Certificate(0.0, math.inf, 1.0)
  assert proof.fields()["most"] is None
  assert proof.fields()["text"].startswith("nothing: ")


@pytest.mark.parametrize(("upper", "said"), [
    (1.14e-10, "1.2e-10"), (1.1000001e-10, "1.2e-10"), (0.5, "5.0e-01"),
    (0.0, "0.0e+00")])
def test_fewer_digits_never_claim_more(upper, said):
  fields = Certificate(0.0, upper, 1.0).fields()
  assert f"at most {said} on" in fields["text"]
  assert fields["most"] >= upper
  lower = Certificate(upper, 1.0, 1.0).fields()
  assert float(lower["text"].split()[-1]) <= upper
  assert lower["least"] <= upper
