"""Bounds hold for what fractions compute, whatever the multipliers."""

from __future__ import annotations

import dataclasses
import fractions

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.relu_networks import by_hand, moved, network, shuffled
from wsl_extraction.equivalence import (
    backward,
    bounds,
    enumeration,
    matching,
    simplify,
)
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.networks.relu_network import ReluNetwork

SEEDS = st.integers(0, 2**32 - 1)


def strangers(rng, scale=1.0):
  sizes = [(2, 4, 1), (3, 5, 4, 2), (1, 3, 3, 3, 1)][rng.integers(3)]
  nets = [network(sizes, rng) for _ in range(2)]
  nets = [ReluNetwork([w * scale for w in net.weights], net.biases)
          for net in nets]
  corner = rng.normal(size=sizes[0])
  return *nets, Box(corner, corner + rng.uniform(0, 2, sizes[0]))


def exact_layers(pair, row):
  """The inputs of all units, as fractions."""
  found, values = [], row[None]
  for matrix, bias in zip(pair.weights, pair.biases, strict=True):
    z = ReluNetwork([matrix], [bias]).exact(values) if not found else (
        exactly(values, matrix, bias))
    found.append(z[0])
    values = np.where(z > 0, z, 0)
  return found


def exactly(values, matrix, bias):
  as_fractions = np.vectorize(fractions.Fraction, otypes=[object])
  return values @ as_fractions(matrix) + as_fractions(bias)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([1.0, 1e-5, 1e7]))
def test_ranges_contain_what_units_get(seed, scale):
  rng = np.random.default_rng(seed)
  f, g, box = strangers(rng, scale)
  pair = bounds.Pair.of(f, g)
  wide = bounds.intervals(pair, box.low, box.high)
  tight = backward.tightened(pair, box.low, box.high)
  points = np.vstack([box.sample(6, rng), box.low, box.high])
  for row in points:
    for layer, z in enumerate(exact_layers(pair, row)):
      for ranges in (wide, tight):
        assert (z >= ranges.low[layer]).all()
        assert (z <= ranges.high[layer]).all()
  for layer in range(len(pair.sizes)):
    assert (tight.low[layer] >= wide.low[layer]).all()
    assert (tight.high[layer] <= wide.high[layer]).all()


@settings(max_examples=40)
@given(SEEDS)
def test_any_multipliers_bound_every_point_of_their_region(seed):
  rng = np.random.default_rng(seed)
  f, g, box = strangers(rng)
  pair = bounds.Pair.of(f, g)
  ranges = backward.tightened(pair, box.low, box.high)
  multipliers = backward.Multipliers(
      tuple(rng.uniform(size=n) for n in pair.sizes),
      tuple(3 * rng.normal(size=n) for n in pair.sizes))
  for row in np.vstack([box.sample(5, rng), box.low]):
    layers = exact_layers(pair, row)
    # A region that holds the point: some units are fixed as they are there.
    phases = [np.where(rng.uniform(size=len(z)) < 0.5, 0, np.where(
        z >= 0, 1, -1)).astype(np.int8)[None] for z in layers]
    for output in range(f.outputs):
      bound = backward.backward(
          pair, pair.readout[None, :, output],
          pair.offset[output] + pair.offset_error[output], ranges, phases,
          box.low, box.high, multipliers).bound[0]
      exact = f.exact(row[None])[0, output] - g.exact(row[None])[0, output]
      assert exact <= bound


def test_tight_where_nothing_is_undecided():
  # 3 x + 1 >= 1 on [0, 1]; the largest of 2 (3 x + 1) - 5 is 3, at 1.
  f = by_hand([[[3.0]], [[2.0]]], [[1.0], [-5.0]])
  zero = by_hand([[[0.0]], [[0.0]]], [[0.0], [0.0]])
  pair = bounds.Pair.of(f, zero)
  low, high = np.zeros(1), np.ones(1)
  ranges = backward.tightened(pair, low, high)
  found = backward.backward(
      pair, pair.readout.T, pair.offset, ranges, [None], low, high,
      backward.plain_multipliers(ranges)[0])
  assert 3 <= found.bound[0] <= 3 + 1e-12


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([1.0, 1e-6, 1e5]))
def test_rounding_of_the_difference(seed, scale):
  rng = np.random.default_rng(seed)
  f, g, box = strangers(rng, scale)
  pair = bounds.Pair.of(f, g)
  error = enumeration.rounding(pair, box.low, box.high)
  points = np.vstack([box.sample(5, rng), box.low])
  apart = f.exact(points) - g.exact(points)
  computed = np.vectorize(fractions.Fraction, otypes=[object])(
      pair.difference(points))
  assert (abs(apart - computed) <= error).all()


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([0.0, 1e-12, 1e-3, 0.3]))
def test_matched_bound_holds(seed, noise):
  rng = np.random.default_rng(seed)
  f, _, box = strangers(rng)
  for g in (shuffled(f, rng, noise), moved(f, 0, rng, noise)
            if (f(np.full((1, f.dimension), 0.5)) != 0).any() and all(
                (z > 0).any() for z in _activities(f)) else f):
    bound = matching.matched_bound(f, g, box)
    assert bound is not None
    points = np.vstack([box.sample(8, rng), box.low, box.high])
    apart = abs(f.exact(points) - g.exact(points)).max(axis=0)
    assert (apart <= bound).all()
    if noise <= 1e-12:
      assert bound.max() < 1e-8


def test_matched_bound_pays_for_scales_that_round():
  """Units whose ratio rounds so that nothing seems to be left of them."""
  rng, tried = np.random.default_rng(0), 0
  while tried < 20:
    a, b, scale = rng.uniform(1, 2, 3)
    f = by_hand([[[a]], [[b]]], [[0.0], [0.0]])
    g = by_hand([[[a * scale]], [[b / scale]]], [[0.0], [0.0]])
    ratio = a * scale / a
    if ratio * a != a * scale or ratio * (b / scale) != b:
      continue
    tried += 1
    apart = abs(f.exact([[1.0]]) - g.exact([[1.0]]))[0, 0]
    bound = matching.matched_bound(f, g, Box.unit(1))
    assert bound is not None and apart <= bound[0] <= 1e-14


def _activities(f):
  values = np.full((1, f.dimension), 0.5)
  for matrix, bias in zip(f.weights[:-1], f.biases[:-1], strict=True):
    values = np.maximum(values @ matrix + bias, 0)
    yield values


def test_networks_of_other_shapes_are_not_matched():
  rng = np.random.default_rng(0)
  assert matching.matched_bound(
      network((2, 3, 1), rng), network((2, 4, 1), rng), Box.unit(2)) is None


@settings(max_examples=25)
@given(SEEDS)
def test_simplified_is_the_same_function(seed):
  rng = np.random.default_rng(seed)
  f, g, box = strangers(rng)
  # Half of f's units again in g, so that there is something to join.
  width = f.hidden[0] // 2
  weights = [g.weights[0].copy(), *g.weights[1:]]
  biases = [g.biases[0].copy(), *g.biases[1:]]
  weights[0][:, :width], biases[0][:width] = (
      f.weights[0][:, :width], f.biases[0][:width])
  g = ReluNetwork(weights, biases)
  pair = bounds.Pair.of(f, g)
  small = simplify.simplified(pair)
  smaller = simplify.without_idle(
      small, backward.tightened(small, box.low, box.high))
  if len(f.hidden) > 1:  # where no outgoing weights have to be added
    assert small.sizes[0] <= pair.sizes[0] - width
  points = np.vstack([box.sample(6, rng), box.low])
  expected = f.exact(points) - g.exact(points)
  for found in (small, smaller):
    as_net = ReluNetwork(
        [*found.weights, found.readout], [*found.biases, found.offset])
    shifted = as_net.exact(points) - expected
    assert (abs(shifted) <= found.offset_error).all()


def test_copies_leave_nothing():
  f = network((3, 5, 4, 2), np.random.default_rng(0))
  small = simplify.simplified(bounds.Pair.of(f, f))
  assert small.sizes == [1, 1]
  assert not small.readout.any()
  assert not small.offset.any()
  assert not small.offset_error.any()


def test_sums_that_round_are_not_joined():
  f = by_hand([[[1.0]], [[1.0]]], [[0.0], [0.0]])
  g = by_hand([[[1.0]], [[2.0**-60]]], [[0.0], [0.0]])
  pair = simplify.simplified(bounds.Pair.of(f, g))
  assert pair.sizes == [2]
  assert dataclasses.is_dataclass(pair)
