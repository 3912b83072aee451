"""Certificates of linear copies, beside 50 digits and linear programs."""

from __future__ import annotations

import decimal
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from wsl_extraction.equivalence.linear import certify
from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights

D = 4
LOW, HIGH = np.full(D, -1.0), np.array([1.0, 2.0, 3.0, 1.0])


def model(seed=0, d=D, c=3, link="softmax"):
  rng = np.random.default_rng(seed)
  return LinearWeights(rng.normal(size=(d, c)), rng.normal(size=c), link)


def moved(weights, size, seed=1):
  rng = np.random.default_rng(seed)
  return LinearWeights(
      weights.kernel + size * rng.normal(size=weights.kernel.shape),
      weights.bias + size * rng.normal(size=weights.bias.shape), weights.link)


def high_precision(u, v):
  """The angle's sine and the difference of offsets, in 50 digits."""
  with decimal.localcontext() as context:
    context.prec = 50
    u, v = ([decimal.Decimal(float(one)) for one in vector]
            for vector in (u, v))
    uu, vv, uv = (
        sum((a * b for a, b in zip(one[:-1], other[:-1], strict=True)),
            decimal.Decimal(0)) for one, other in ((u, u), (v, v), (u, v)))
    sine = (1 - uv * uv / (uu * vv)).sqrt()
    return float(sine), float(abs(u[-1] / uu.sqrt() - v[-1] / vv.sqrt()))


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-14])
def test_angle_and_offset(size):
  victim = LinearWeights.binary(np.array([3.0, -1.0, 0.5, 2.0]), 0.7)
  copy = moved(victim, size)
  ends = [np.append(one.kernel[:, 1] - one.kernel[:, 0],
                    one.bias[1] - one.bias[0]) for one in (victim, copy)]
  # These two differences of floats may round; the certificate's do not.
  copy = LinearWeights.binary(ends[1][:-1], ends[1][-1])
  proof = certify(victim, copy, LOW, HIGH)
  sine, offset = high_precision(*ends)
  assert math.sin(proof.angle) == pytest.approx(sine, rel=1e-12)
  assert proof.offset == pytest.approx(offset, rel=1e-12)


def test_equal_models_of_other_scales_are_equal():
  victim = model()
  for factor in (1.0, 4.0, 2.0**-30):
    copy = LinearWeights(factor * (victim.kernel - victim.kernel[:, :1]),
                         factor * (victim.bias - victim.bias[0]))
    victim = LinearWeights(victim.kernel - victim.kernel[:, :1],
                           victim.bias - victim.bias[0])
    proof = certify(victim, copy, LOW, HIGH, scores=False)
    assert (proof.angle, proof.offset, proof.share) == (0, 0, 0)
    assert proof.fields()["text"] == "boundaries are equal"


@pytest.mark.parametrize("link", ["softmax", "one_vs_rest"])
def test_the_largest_difference_of_logits_is_that_at_a_corner(link):
  victim, copy = model(link=link), moved(model(link=link), 0.01)
  corners = np.array(list(itertools.product(*zip(LOW, HIGH, strict=True))))
  values, copied = victim(corners), copy(corners)
  if link == "softmax":
    values, copied = (one - one[:, :1] for one in (values, copied))
  proof = certify(victim, copy, LOW, HIGH)
  assert proof.logits == pytest.approx(np.abs(values - copied).max(), rel=1e-9)


@given(seed=st.integers(0, 2**31), d=st.integers(1, 5), c=st.integers(2, 4),
       size=st.sampled_from([1e-1, 1e-2, 1e-4]))
def test_labels_differ_on_no_more_than_the_share(seed, d, c, size):
  victim = model(seed, d, c)
  copy = moved(victim, size, seed)
  proof = certify(victim, copy, LOW[0] * np.ones(d), np.ones(d))
  rows = np.random.default_rng(seed).uniform(-1, 1, (2000, d))
  differ = (victim(rows).argmax(1) != copy(rows).argmax(1)).mean()
  if proof.share is not None:
    spread = math.sqrt(max(proof.share, 1e-4) / 2000)
    assert differ <= proof.share + 5 * spread


def test_the_share_of_two_parallel_boundaries_is_that_between_them():
  victim = LinearWeights.binary(np.array([1.0, 0.0]), 0.0)
  copy = LinearWeights.binary(np.array([1.0, 0.0]), 0.5)
  proof = certify(victim, copy, -np.ones(2), np.ones(2))
  assert proof.share == pytest.approx(0.25)
  # A linear program: the widest gap between them along the first axis.
  gap = optimize.linprog([-1.0], A_ub=[[1.0], [-1.0]], b_ub=[0.0, 0.5],
                         bounds=[(None, None)])
  assert gap.status == 0 and proof.offset == pytest.approx(0.5)


def test_degenerate_boundaries_are_told():
  flat = LinearWeights.binary(np.zeros(2), 1.0)
  slope = LinearWeights.binary(np.ones(2), 1.0)
  low, high = -np.ones(2), np.ones(2)
  assert certify(flat, flat, low, high).angle == 0
  assert math.isinf(certify(flat, slope, low, high).angle)
  turned = certify(slope, LinearWeights.binary(-np.ones(2), -1.0), low, high)
  assert turned.angle == math.pi
  assert turned.share is None
  with pytest.raises(InputError, match="compare those of equal sizes"):
    certify(flat, model(), low, high)


def test_a_thousand_classes_are_compared_with_the_first():
  victim = model(c=1000)
  proof = certify(victim, moved(victim, 1e-9), LOW, HIGH)
  assert 0 < proof.angle < 1e-7
  assert proof.share is None
