"""Certified equality: copies, near copies, strangers, and what is refused."""

from __future__ import annotations

import fractions
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.relu_networks import by_hand, moved, network, shuffled
from wsl_extraction.equivalence import backward, bounds, milp
from wsl_extraction.equivalence.decide import (
    Different,
    Equal,
    Undecided,
    decide,
    largest_difference,
)
from wsl_extraction.equivalence.domains import Box, Corners
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

SIZES = [(8, 16, 1), (10, 15, 15, 1)]


@pytest.fixture(name="rng")
def fixture_rng():
  return np.random.default_rng(5)


def exact_difference(f, g, point):
  a, b = f.exact(point[None])[0], g.exact(point[None])[0]
  return max(abs(x - y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_moved_weight_is_found(sizes, rng):
  f, domain = network(sizes, rng), Box.unit(sizes[0])
  samples = rng.uniform(size=(10**6, sizes[0]))
  for layer in range(len(sizes) - 1):
    g = moved(f, layer, rng)
    answer = decide(f, g, domain, 1e-9)
    assert isinstance(answer, Different)
    assert answer.difference == exact_difference(f, g, answer.inputs)
    assert domain.holds(answer.inputs)
    best = max(np.abs(f(part) - g(part)).max()
               for part in np.split(samples, 10))
    assert answer.difference >= 0.99 * best


@pytest.mark.parametrize("sizes", [*SIZES, (64, 32, 10), (5, 3)])
def test_copies_are_equal(sizes, rng):
  f = network(sizes, rng)
  answer = decide(f, f, Box.unit(sizes[0]), 0.0)
  assert isinstance(answer, Equal)
  assert answer.bound == 0


@pytest.mark.parametrize("sizes", [*SIZES, (64, 32, 10), (64, 16, 10)])
def test_exchanged_and_scaled_units_are_equal(sizes, rng):
  f = network(sizes, rng)
  answer = decide(f, shuffled(f, rng), Box.unit(sizes[0]), 1e-9)
  assert isinstance(answer, Equal)
  assert answer.bound <= 1e-9
  # By powers of two, nothing is rounded.
  weights = [f.weights[0][:, ::-1] * 4, *f.weights[1:]]
  weights[1] = weights[1][::-1] / 4
  biases = [f.biases[0][::-1] * 4, *f.biases[1:]]
  answer = decide(f, ReluNetwork(weights, biases), Box.unit(sizes[0]), 1e-9)
  assert isinstance(answer, Equal)


def test_an_extracted_copy_is_certified_at_once(rng):
  f, domain = network((64, 32, 10), rng), Box.unit(64)
  g = shuffled(f, rng, noise=1e-12)
  found = largest_difference(f, g, domain, 20, enough=1e-8)
  assert 0 < found.lower <= found.upper <= 1e-8
  assert found.lower == exact_difference(f, g, found.inputs)
  assert found.seconds < 5
  assert isinstance(decide(f, g, domain, 1e-8), Equal)
  assert isinstance(decide(f, g, domain, 1e-12), Different)


def corner_maximum(f, g, box):
  """By trial: networks without hidden layers differ most at a corner."""
  corners = np.array(np.meshgrid(*zip(
      box.low, box.high, strict=True))).reshape(box.dimension, -1).T
  return np.abs(f(corners) - g(corners)).max()


def test_affine_networks(rng):
  box = Box([-1, 0, 2], [1, 3, 2.5])
  f, g = network((3, 2), rng), network((3, 2), rng)
  found = largest_difference(f, g, box, 20)
  assert float(found.lower) == pytest.approx(corner_maximum(f, g, box))
  assert found.upper >= found.lower
  assert found.upper <= float(found.lower) * 1.002


@pytest.mark.parametrize("sizes", [(2, 6, 1), (3, 5, 4, 1), (4, 8, 2)])
def test_strangers_as_the_solver_says(sizes, rng):
  f, g = network(sizes, rng), network(sizes, rng)
  box = Box.unit(sizes[0])
  found = largest_difference(f, g, box, 30, gap=1e-3)
  assert found.lower == exact_difference(f, g, found.inputs)
  assert found.lower <= found.upper <= float(found.lower) * 1.0011
  pair = bounds.Pair.of(f, g)
  ranges = backward.tightened(pair, box.low, box.high)
  claims = [milp.maximise(
      pair, milp.Rows.of(pair), used, box, sign * pair.readout[:, o],
      float(sign * pair.offset[o]), 30)
      for o in range(f.outputs) for sign in (1, -1)
      for used in (ranges, milp.naive(ranges))]
  assert all(claim.is_optimal for claim in claims)
  best = max(claim.bound for claim in claims)
  assert float(found.lower) <= best + 1e-6
  assert best <= found.upper + 1e-6


def test_dense_grid_finds_nothing_above(rng):
  f, g = network((2, 7, 1), rng), network((2, 7, 1), rng)
  found = largest_difference(f, g, Box.unit(2), 20)
  axis = np.linspace(0, 1, 300)
  grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
  best = np.abs(f(grid) - g(grid)).max()
  assert best <= found.upper
  assert found.lower >= 0.99 * best


def test_equal_by_another_road(rng):
  """|x| in two ways, which no pairing of units shows."""
  f = by_hand([[[1, -1]], [[1], [1]]], [[0, 0], [0]])
  g = by_hand([[[1, 2, -4]], [[-1], [1], [0.25]]], [[0, 0, 0], [0]])
  answer = decide(f, g, Box([-3], [2]), 1e-9, 20)
  assert isinstance(answer, Equal)
  assert answer.bound <= 1e-9
  g = by_hand([[[1, 2, -4]], [[-1], [1], [0.25]]], [[0, 0, 0], [1e-6]])
  assert isinstance(decide(f, g, Box([-3], [2]), 1e-9, 20), Different)


def test_linear_parts_count(rng):
  f, box = network((3, 5, 2), rng), Box.unit(3)
  linear = rng.normal(size=(3, 2))
  g = ReluNetwork(f.weights, f.biases, linear=linear)
  assert isinstance(decide(g, g, box), Equal)
  found = largest_difference(f, g, box, 20)
  # The linear part alone, at the best corner of the cube.
  best = max(np.maximum(sign * linear, 0).sum(axis=0).max() for sign in (1, -1))
  assert float(found.lower) == pytest.approx(best, rel=1e-3)
  assert found.upper >= best * (1 - 1e-12)


def test_depths_may_differ(rng):
  f = network((3, 5, 1), rng)
  assert isinstance(decide(f, f.deepened(3), Box.unit(3), 1e-9), Equal)


def test_rectified_outputs(rng):
  f = network((3, 6, 1), rng)
  negative = ReluNetwork(f.weights, [f.biases[0], f.biases[1] - 100], True)
  lower = ReluNetwork(f.weights, [f.biases[0], f.biases[1] - 200], True)
  assert isinstance(decide(negative, lower, Box.unit(3), 0.0), Equal)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_corners_by_trial(seed, d):
  rng = np.random.default_rng(seed)
  f, g = network((d, 4, 3, 2), rng), network((d, 5, 2), rng)
  found = largest_difference(f, g, Corners(d), 20)
  corners = np.array(np.meshgrid(*[(0.0, 1.0)] * d)).reshape(d, -1).T
  best = np.abs(f(corners) - g(corners)).max()
  assert float(found.lower) == pytest.approx(best, rel=1e-12)
  assert found.lower <= found.upper <= best * (1 + 1e-3) + 1e-12


def test_corners_where_float64_sees_nothing():
  # |1e16 x + 1| - |1e16 x| - |1 - x| is x; float64 loses the 1 beside 1e16.
  f = by_hand([[[1e16, 1e16]], [[1], [-1]]], [[1, 0], [0]])
  g = by_hand([[[-1]], [[1]]], [[1], [0]])
  assert not (f([[0], [1]]) - g([[0], [1]])).any()
  found = largest_difference(f, g, Corners(1), 5)
  assert found.upper >= 1
  assert not isinstance(decide(f, g, Corners(1), 0.5, 5), Equal)


def test_corners_in_blocks(rng):
  d = 17
  f, g = network((d, 6, 1), rng), network((d, 6, 1), rng)
  corners = (np.arange(1 << d)[:, None] >> np.arange(d) & 1).astype(float)
  best = np.abs(f(corners) - g(corners)).max()
  found = largest_difference(f, g, Corners(d), 30)
  assert float(found.lower) == pytest.approx(best, rel=1e-12)
  assert isinstance(decide(f, g, Corners(d), 1.002 * best, 30), Equal)
  assert isinstance(decide(f, g, Corners(d), 0.999 * best, 30), Different)


def test_undecided_tells_what_is_known(rng):
  f, g = network((20, 40, 40, 1), rng), network((20, 40, 40, 1), rng)
  box, said = Box.unit(20), []
  largest = largest_difference(f, g, box, 0.2)
  tolerance = 1.05 * float(largest.lower)
  answer = decide(f, g, box, tolerance, 2.0,
                  report=lambda *found: said.append(found))
  assert isinstance(answer, Undecided)
  assert answer.lower <= tolerance < answer.upper
  assert answer.lower == exact_difference(f, g, answer.inputs)
  assert answer.seconds < 3
  assert said
  assert all(lower <= upper for lower, upper in said)


def test_tolerance_is_compared_exactly():
  f = by_hand([[[1.0]]], [[0.0]])
  g = by_hand([[[1.0]]], [[2.0**-60]])
  # Different from 0 by 2^-60 everywhere, which float64 loses beside x.
  answer = decide(f, g, Box([0.5], [1]), 0.0)
  assert isinstance(answer, Different)
  assert answer.difference == fractions.Fraction(1, 2**60)
  assert isinstance(decide(f, g, Box([0.5], [1]), 2.0**-59), Equal)


# Not of their types, as callers may be.
NO_DOMAIN: Any = "cube"
NO_NETWORK: Any = None


def make(d=2, c=1):
  return ReluNetwork([np.ones((d, 3)), np.ones((3, c))],
                     [np.zeros(3), np.zeros(c)])


@pytest.mark.parametrize(("call", "said"), [
    (lambda: decide(make(2), make(3), Box.unit(2)), "2 and 3 inputs"),
    (lambda: decide(make(), make(c=2), Box.unit(2)), "1 and 2 outputs"),
    (lambda: decide(make(), make(), Box.unit(3)), "the domain has 3"),
    (lambda: decide(make(), make(), NO_DOMAIN), "the domain is 'cube'"),
    (lambda: decide(make(), NO_NETWORK, Box.unit(2)), "None is no ReluNetwork"),
    (lambda: decide(make(), make(), Box.unit(2), time_limit=0),
     "time_limit is 0"),
    (lambda: decide(make(), make(), Box.unit(2), time_limit=math.nan),
     "time_limit is nan"),
    (lambda: decide(make(), make(), Box.unit(2), -1), "tolerance is -1"),
    (lambda: decide(make(), make(), Box.unit(2), math.nan), "tolerance is nan"),
    (lambda: largest_difference(make(), make(), Box.unit(2), gap=1), "gap is"),
    (lambda: Box([0, -np.inf], [1, 1]), "unbounded: input 1"),
    (lambda: Box([0, 2], [1, 1]), "input 1 ranges"),
    (lambda: Box([0, 2], [1]), "corners of shape"),
    (lambda: Corners(0), "1 or more"),
])
def test_bad_input(call, said):
  with pytest.raises(InputError) as error:
    call()
  assert said in str(error.value)
  assert "\n" not in str(error.value)
