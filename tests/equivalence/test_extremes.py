"""Numbers near the ends of float64 prove nothing false, and raise nothing."""

from __future__ import annotations

import fractions
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.relu_networks import by_hand
from wsl_extraction.equivalence import bounds, certify, enumeration, matching
from wsl_extraction.equivalence.decide import (
  Different,
  Equal,
  decide,
  largest_difference,
)
from wsl_extraction.equivalence.domains import Box, Corners
from wsl_extraction.networks.relu_network import ReluNetwork

SEEDS = st.integers(0, 2**32 - 1)


def overflowing(last):
  """s relu(s x) - s relu(s x - s / 10), times `last`: 4e307 at 1 for 1."""
  s = 2e154
  return by_hand([[[s, s]], [[s], [-s]], [[last]]], [[0, -0.1 * s], [0], [0]])


def exact_difference(f, g, rows):
  return max(abs(a - b) for a, b in zip(
      f.exact(rows).ravel(), g.exact(rows).ravel(), strict=True))


@pytest.mark.parametrize("domain", [Box.unit(1), Corners(1)])
def test_a_difference_that_overflows_on_the_way(domain):
  f, g = overflowing(1.0), overflowing(0.0)
  assert exact_difference(f, g, [[1.0]]) > 3e307
  assert isinstance(decide(f, g, domain, 1.0, 5), Different)
  largest = largest_difference(f, g, domain, 5)
  assert largest.lower > 3e307
  assert largest.upper >= float(largest.lower)


def test_a_difference_beyond_float64():
  f = by_hand([[[1e308, 1e308, 1e308]], [[1], [1], [1]]], [[0, 0, 0], [0]])
  g = by_hand([[[0.0]], [[0.0]]], [[0], [0]])
  largest = largest_difference(f, g, Box.unit(1), 5)
  assert largest.lower == 3 * fractions.Fraction(1e308)
  assert largest.upper == math.inf
  tolerance: Any = fractions.Fraction(10)**309
  assert not isinstance(decide(f, g, Box.unit(1), tolerance, 2), Different)
  assert isinstance(decide(f, g, Box.unit(1), 1e308, 2), Different)


def test_boxes_wider_than_any_float64():
  box = Box([-1.7e308], [1.7e308])
  f, g = by_hand([[[1.0]]], [[0.0]]), by_hand([[[1.0]]], [[1.0]])
  assert isinstance(decide(f, g, box, 0.5, 2), Different)
  assert not isinstance(decide(f, g, box, 2.0, 2), Different)


def test_what_underflows_on_the_way_is_paid_for():
  """1e-300 times 1e-300 is lost, but not what 1e300 makes of it, twice."""
  f = by_hand([[[1e-300]], [[1e-300]], [[1e300]], [[1e300]]], [[0]] * 4)
  g = by_hand([[[0.0]], [[1e-300]], [[1e300]], [[1e300]]], [[0]] * 4)
  box = Box([0], [1])
  assert exact_difference(f, g, [[1.0]]) > fractions.Fraction(99, 100)
  assert largest_difference(f, g, box, 2).upper >= 1
  assert not isinstance(decide(f, g, box, 0.5, 2), Equal)


def drawn(rng, shape, kind):
  """Numbers of all sizes, of a few sizes a column, or denormals."""
  sign = rng.choice([-1.0, 1.0], shape)
  if kind == "any":
    return sign * 10.0 ** rng.uniform(-300, 300, shape)
  if kind == "columns":
    return sign * rng.uniform(0.5, 2, shape) * 10.0 ** rng.uniform(
        -300, 300, shape[-1:])
  if kind == "denormal":
    return sign * rng.choice([0.0, 5e-324, 1e-310, 2e-308, 1.0], shape)
  return sign * 10.0 ** rng.uniform(-12, 12, shape)


def pair(rng, kind):
  """Networks of numbers of one kind: strangers, or one and a copy."""
  sizes = [(2, 3, 1), (1, 2, 3, 2), (2, 2, 2, 2, 1)][rng.integers(3)]
  f = ReluNetwork([drawn(rng, shape, kind)
                   for shape in itertools.pairwise(sizes)],
                  [drawn(rng, (size,), kind) for size in sizes[1:]])
  layer = int(rng.integers(len(f.weights)))
  weights = [matrix.copy() for matrix in f.weights]
  how = rng.integers(3)
  if how == 0:  # one weight moved
    weights[layer].flat[0] *= 1 + 10.0 ** rng.uniform(-12, 0)
  elif how == 1:  # one weight of another size
    weights[layer].flat[0] = drawn(rng, (1,), kind)[0]
  elif layer:  # a unit scaled by a power of two, as far as floats go
    weights[layer - 1][:, 0] *= 2.0**30
    weights[layer][0] *= 2.0**-30
  weights = [np.clip(matrix, -1.7e308, 1.7e308) for matrix in weights]
  size = 10.0 ** rng.uniform(-300, 300) if kind == "any" else 1.0
  return f, ReluNetwork(weights, f.biases), Box(
      [-size * rng.uniform()] * sizes[0], [size] * sizes[0])


KINDS = ["any", "columns", "denormal", "mixed"]


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from(["box", "corners"]))
def test_no_proof_is_false(seed, kind, where):
  rng = np.random.default_rng(seed)
  with np.errstate(all="ignore"):
    f, g, domain = pair(rng, kind)
    if where == "corners":
      domain = Corners(f.dimension)
    rows = np.vstack([domain.sample(20, rng), domain.low, domain.high])
  seen = exact_difference(f, g, rows)
  largest = largest_difference(f, g, domain, 0.3)
  assert seen <= largest.upper
  assert largest.lower <= largest.upper
  assert largest.lower == exact_difference(f, g, largest.inputs[None])
  tolerance = float(rng.choice([0.0, 1e-9, 1.0, 1e300]))
  answer = decide(f, g, domain, tolerance, 0.3)
  if isinstance(answer, Equal):
    assert seen <= answer.bound <= tolerance
  elif isinstance(answer, Different):
    assert answer.difference == exact_difference(f, g, answer.inputs[None])
    assert answer.difference > tolerance
  else:
    assert max(seen, answer.lower) <= answer.upper


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(KINDS))
def test_each_bound_by_itself(seed, kind):
  """Also where another one would have hidden what it lacks."""
  rng = np.random.default_rng(seed)
  with np.errstate(all="ignore"):
    f, g, box = pair(rng, kind)
    rows = np.vstack([box.sample(10, rng), box.low, box.high])
    both = bounds.Pair.of(f, g)
    matched = matching.matched_bound(f, g, box)
    error = enumeration.rounding(both, box.low, box.high)
    computed = both.difference(rows)
  apart = f.exact(rows) - g.exact(rows)
  if matched is not None:
    assert (abs(apart) <= matched).all()
  for exact, number, most in zip(
      apart.ravel(), computed.ravel(), np.tile(error, len(rows)), strict=True):
    if math.isfinite(number) and math.isfinite(most):
      assert abs(exact - fractions.Fraction(number)) <= most


@settings(max_examples=60)
@given(SEEDS, st.sampled_from(KINDS), st.booleans())
def test_no_certificate_is_false(seed, kind, centred):
  rng = np.random.default_rng(seed)
  d, h, c = 2, 3, 2
  with np.errstate(all="ignore"):
    arrays = [drawn(rng, shape, kind) for shape in (
        (d, h), (h, c), (h,), (c,), (d, c))]
    size = 10.0 ** rng.uniform(-100, 100) if kind == "any" else 1.0
  victim = ReluNetwork(arrays[:2], arrays[2:4], linear=arrays[4])
  outer = arrays[1].copy()
  outer[0] = drawn(rng, (c,), kind)
  copy = ReluNetwork([arrays[0], outer], arrays[2:4], linear=arrays[4])
  box = Box([-size] * d, [size * rng.uniform()] * d)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(certify, "SECONDS", 0.3)
    proof = certify.certify(victim, copy, box, centred=centred)
  rows = np.vstack([box.sample(10, rng), box.low, box.high])
  apart = victim.exact(rows) - copy.exact(rows)
  if centred:
    apart = apart - apart.mean(axis=1, keepdims=True)
  assert abs(apart).max() <= proof.upper
  assert 0 <= proof.lower <= proof.upper
