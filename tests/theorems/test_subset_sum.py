"""Theorem 2: subset sums and the networks that stand for them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_extraction.equivalence.decide import Equal, decide
from wsl_extraction.equivalence.domains import Box, Corners
from wsl_extraction.errors import InputError
from wsl_extraction.theorems.subset_sum import (
    SubsetSum,
    solvable,
    subset_sum_networks,
)
from wsl_extraction.theorems.theorem2 import TOLERANCE, domain_of


def by_trial(values, target):
  return any(sum(subset) == target for n in range(len(values) + 1)
             for subset in itertools.combinations(values, n))


VALUES = st.lists(st.integers(0, 30), min_size=1, max_size=8)


@given(VALUES, st.integers(0, 80))
def test_dynamic_programming(values, target):
  assert solvable(values, target) == by_trial(values, target)


@given(VALUES, st.integers(0, 80))
def test_corners_tell_subsets_that_sum_to_the_target(values, target):
  corners = np.array(list(itertools.product((0.0, 1.0), repeat=len(values))))
  expected = corners @ values == target
  for kind in ("corners", "cube"):
    f, g = subset_sum_networks(values, target, domain_of(kind, len(values)))
    assert f(corners)[:, 0].tolist() == expected.astype(float).tolist()
    assert not g(corners).any()


@settings(max_examples=200)
@given(VALUES, st.integers(0, 80), st.integers(0, 2**32 - 1))
def test_fractional_inputs_reach_nothing(values, target, seed):
  n, rng = len(values), np.random.default_rng(seed)
  f, _ = subset_sum_networks(values, target, Box.unit(n))
  near = rng.integers(0, 2, (20, n)) + rng.normal(size=(20, n)) / 100
  points = np.clip(np.vstack([rng.uniform(size=(20, n)), near]), 0, 1)
  # Some hit the target, if fractions could: along a line through the cube.
  total = sum(values)
  if total:
    points = np.vstack([points, np.full((1, n), min(target / total, 1))])
  puzzle = SubsetSum(tuple(values), target)
  for point, value in zip(points, f.exact(points)[:, 0], strict=True):
    assert value <= 1
    if value > 0:
      assert puzzle.is_solved_by(puzzle.subset(point))


@pytest.mark.parametrize("domain", [Corners(12), Box.unit(12)])
def test_networks_are_linear_in_size(domain):
  f, g = subset_sum_networks(range(12), 5, domain)
  assert f.hidden == g.hidden == ((3,) if isinstance(domain, Corners) else
                                  (16,))


@pytest.mark.parametrize("n", [20, 24])
def test_equal_is_never_claimed_without_time_for_a_proof(n):
  values = tuple(int(v) for v in np.random.default_rng(n).integers(1, 2**n, n))
  target = sum(values) // 2
  f, g = subset_sum_networks(values, target, Box.unit(n))
  assert not isinstance(decide(f, g, Box.unit(n), TOLERANCE, 0.3), Equal)


def test_subsets_and_inputs_are_mapped_back():
  puzzle = SubsetSum((3, 5, 9), 12)
  assert puzzle.inputs((0, 2)).tolist() == [1, 0, 1]
  assert puzzle.subset(puzzle.inputs((0, 2))) == (0, 2)
  assert puzzle.is_solved_by((0, 2))
  assert not puzzle.is_solved_by((0, 1))


def test_largest_numbers_are_still_exact():
  values = (2**47 + 1, 2**48 - 3, 2**46)
  for target, is_solved in ((2**47 + 2**48 - 2, True),
                            (2**47 + 2**48 - 1, False)):
    f, _ = subset_sum_networks(values, target, Box.unit(3))
    assert f([[1, 1, 0]])[0, 0] == float(is_solved)


@pytest.mark.parametrize(("values", "target", "domain", "said"), [
    ((), 3, Corners(1), "no values"),
    ((1, -2), 3, Corners(2), "-2"),
    ((1, 2), -3, Corners(2), "-3"),
    ((1, 2.5), 3, Corners(2), "2.5"),
    ((2**53, 1), 3, Corners(2), "2^53"),
    ((1, 2), 2**60, Corners(2), "2^52"),
    ((1, 2), 3, Corners(3), "Corners(2)"),
    ((1, 2), 3, Box([0, 0], [1, 2]), "Box.unit(2)"),
])
def test_bad_input(values, target, domain, said):
  with pytest.raises(InputError) as error:
    subset_sum_networks(values, target, domain)
  assert said in str(error.value)
  assert "\n" not in str(error.value)
