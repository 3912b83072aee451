"""Theorem 1: needle networks by enumeration, and what adversaries keep."""

from __future__ import annotations

import fractions
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics
from wsl_extraction.networks import dense
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.theorems import needle
from wsl_extraction.theorems.grid_search import (
    ORDERS,
    grid_search,
    oracle_of,
    ordered,
)

# Every p with its largest d that has p^d <= 10^6, and every k below.
GRID = [(p, d, k) for p, most in (
    (2, 19), (3, 12), (5, 8), (10, 6), (17, 4), (33, 3), (100, 3), (256, 2),
    (1000, 2)) for d in {1, most // 2, most} - {0}
    for k in {1, (d + 1) // 2, d}]


def whole_grid(p, d):
  """All grid points in another way than the package: [p^d, d], and places."""
  places = np.array(list(itertools.product(range(p), repeat=d)))
  return np.array([v / (p - 1) for v in range(p)])[places], places


@pytest.mark.parametrize(("p", "d", "k"), GRID)
def test_exactly_one_at_the_needle_and_zero_elsewhere(p, d, k):
  assert p**d <= 10**6
  location = np.random.default_rng([p, d, k]).integers(0, p, k)
  points, places = whole_grid(p, d)
  network = needle.needle_network(location, p, d)
  answers = network(points)[:, 0]
  expected = (places[:, :k] == location).all(axis=1)
  np.testing.assert_array_equal(answers, expected.astype(float))
  assert np.count_nonzero(answers) == p**(d - k)
  assert network.hidden == (3 * k,)
  assert network.is_rectified


def test_there_are_enough_combinations():
  assert len(GRID) >= 30


@settings(max_examples=150)
@given(st.data())
def test_any_location(data):
  p = data.draw(st.sampled_from([2, 3, 10, 50, 99, 255, 256, 257, 1 << 20]))
  d = data.draw(st.integers(1, 6))
  k = data.draw(st.integers(1, d))
  coordinate = st.integers(0, p - 1)
  location = data.draw(st.lists(coordinate, min_size=k, max_size=k))
  network = needle.needle_network(location, p, d)
  values = needle.feature_values(p)
  # The needle, its neighbours, and anything else.
  places = [np.clip(np.add(location, data.draw(st.lists(
      st.integers(-2, 2), min_size=k, max_size=k))), 0, p - 1)
            for _ in range(5)] + [location]
  rest = data.draw(st.lists(coordinate, min_size=d - k, max_size=d - k))
  points = values[np.array([[*place, *rest] for place in places], int)]
  expected = [float(np.array_equal(place, location)) for place in places]
  assert network(points)[:, 0].tolist() == expected
  assert network(points[::-1].copy())[::-1, 0].tolist() == expected
  # The exact function is a triangle of which float64 may miss the tip.
  assert abs(network.exact(points)[-1, 0] - 1) < fractions.Fraction(1, 2**20)


@pytest.mark.parametrize("p", [2, 10, 256])
def test_keras_computes_the_same(p):
  points, places = whole_grid(p, 2)
  model = dense.keras_model(needle.needle_network([1, p - 2], p, 2))
  answers = keras.ops.convert_to_numpy(model(points))[:, 0]
  np.testing.assert_array_equal(
      answers, (places == [1, p - 2]).all(axis=1).astype(float))


def test_between_grid_points_it_is_the_triangle():
  # p = 3: s = 4, so that the triangle around 1/2 ends at 1/4 and 3/4; the
  # output is 2 bump - 1 above 0.
  network = needle.needle_network([1], 3, 1)
  points = np.array([[0.25], [0.375], [0.4375], [0.5], [0.5625], [0.75]])
  assert network(points)[:, 0].tolist() == [0, 0, 0.5, 1, 0.5, 0]
  # The least power of two from twice 9 steps on: needles do not touch.
  assert needle.needle_network([4], 10, 1).weights[0].tolist() == [[32] * 3]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("p", "k", "batch"), [
    (2, 1, 1), (2, 7, 1), (3, 4, 64), (10, 3, 64), (256, 1, 1), (256, 1, 64)])
def test_grid_search_pays_all_but_one(p, k, batch, order):
  victim = needle.Adversary(k, p, k + 1)
  locations = ordered(order, k, p, seed=3)
  oracle = oracle_of(victim, k + 1)
  place = grid_search(oracle, locations, p, batch=batch)
  assert oracle.ledger.rows == p**k - 1
  # It had not committed before, and what was found is what it committed to.
  assert tuple(locations[place]) == victim.location
  point = needle.at_locations(locations[place][None], p, k + 1)
  assert oracle_of(victim, k + 1).query(point).logits[0, 1] == 1


def test_one_query_fewer_is_not_enough():
  p, k = 4, 3
  victim = needle.Adversary(k, p, k)
  oracle = oracle_of(victim, k, budget=p**k - 2)
  with pytest.raises(BudgetExceeded):
    grid_search(oracle, ordered("shuffled", k, p, 0), p)
  assert victim.location is None
  assert victim.left == 2


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 3), (3, 2), (10, 1)]),
       st.booleans())
def test_adversary_never_contradicts_itself(seed, size, is_off_grid):
  (p, k), rng = size, np.random.default_rng(seed)
  victim = needle.Adversary(k, p, k + 1)
  asked, answers = [], []
  for _ in range(rng.integers(1, 8)):
    points = needle.feature_values(p)[rng.integers(0, p, (5, k + 1))]
    if is_off_grid:
      points = np.clip(points + rng.normal(size=points.shape) / p / 8, 0, 1)
    asked.append(points)
    answers.append(victim(points))
  location = victim.commit()
  network = needle.classifier(needle.needle_network(location, p, k + 1))
  np.testing.assert_allclose(
      network(np.concatenate(asked)), np.concatenate(answers), atol=1e-12)


def test_repeated_questions_cost_the_asker_not_the_adversary():
  victim = needle.Adversary(2, 3, 2)
  points = needle.at_locations(np.array([[0, 0], [0, 0], [1, 0]]), 3, 2)
  victim(points)
  victim(points)
  assert victim.left == 7


def test_random_needles_cost_half_on_average():
  p, k, rng = 2, 7, np.random.default_rng(0)
  for order in ("ascending", "shuffled"):
    spent = []
    for seed in range(200):
      oracle = oracle_of(needle.classifier(
          needle.needle_network(rng.integers(0, p, k).tolist(), p, k)), k)
      grid_search(oracle, ordered(order, k, p, seed), p, is_deduced=False)
      spent.append(oracle.ledger.rows)
    mean = metrics.mean(spent)
    assert mean.low <= (p**k + 1) / 2 <= mean.high


@pytest.mark.parametrize(("arguments", "said"), [
    (([0, 0, 0], 2, 2), "3 coordinates among 2 features"),
    (([], 2, 2), "0 coordinates"),
    (([0], 1, 2), "precision is 1;"),
    (([0], 2.0, 2), "precision is 2.0;"),
    (([0, 2], 2, 2), "[0, 2] is off the grid"),
    (([-1], 2, 2), "off the grid"),
    (([0.5], 2, 2), "off the grid"),
    (([0], 2, 0), "among 0 features"),
    (([0] * 2000, 1 << 20, 2000), "lower one of them"),
])
def test_bad_input(arguments, said):
  with pytest.raises(InputError) as error:
    needle.needle_network(*arguments)
  assert said in str(error.value)
  assert "\n" not in str(error.value)


def test_too_many_locations_for_an_adversary():
  with pytest.raises(InputError, match="keeps in mind"):
    needle.Adversary(4, 256, 4)
