"""Strategies that cover the pool, against choices made one by one."""

from __future__ import annotations

import collections
import fractions
import itertools
import math
import tracemalloc

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import pairwise_distances

from wsl_extraction.errors import InputError
from wsl_extraction.strategies import coverage
from wsl_extraction.strategies.coverage import ClassBalanced, KCenter

properties = hypothesis.settings(max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def generator(seed=0):
  return np.random.default_rng(seed)


# Classes.


@properties
@hypothesis.given(seed=seeds, m=st.integers(1, 40), data=st.data())
def test_each_choice_is_of_a_class_that_has_the_fewest(seed, m, data):
  rng = generator(seed)
  classes = rng.choice(4, m, p=[0.6, 0.3, 0.1, 0])
  asked = data.draw(st.lists(st.integers(0, m - 1), unique=True))
  chosen = ClassBalanced()(np.eye(4)[classes], np.zeros((m, 0)),
                           m - len(asked), rng, asked)
  held = collections.Counter(classes[asked].tolist())
  left = collections.Counter(classes.tolist()) - held
  for one in classes[chosen].tolist():
    assert held[one] == min(held[other] for other in left if left[other])
    held[one] += 1
    left[one] -= 1


def test_classes_are_equally_likely_to_get_the_odd_one():
  """However many examples they have; and each example within a class."""
  classes = np.array([0] * 2 + [1] * 18)
  taken = [ClassBalanced()(np.eye(2)[classes], np.zeros((20, 0)), 1,
                           generator(seed))[0] for seed in range(600)]
  counts = np.bincount(taken, minlength=20)
  expected = np.array([150] * 2 + [300 / 18] * 18)
  assert scipy.stats.chisquare(counts, expected).pvalue > 1e-4


# Centres.


def farthest(features, n, rng, asked):
  """Greedy k-center, one distance at a time."""
  points = [[float(x) for x in row] for row in features]
  order = [i for i in rng.permutation(len(points)).tolist() if i not in asked]
  centres = list(asked)
  for _ in range(n):
    def gap(i):
      return min((sum((x - y) ** 2 for x, y in zip(
          points[i], points[centre], strict=True)) for centre in centres),
          default=math.inf)
    # Of equals, max takes the first.
    centres.append(max((i for i in order if i not in centres), key=gap))
  return centres[len(asked):]


@properties
@hypothesis.given(seed=seeds, m=st.integers(1, 25), f=st.integers(0, 4),
                  spread=st.integers(1, 3), data=st.data())
def test_centres_on_a_grid(seed, m, f, spread, data):
  """Where many distances are equal and many rows coincide."""
  rng = generator(seed)
  features = rng.integers(-spread, spread + 1, (m, f)).astype(np.float32)
  asked = data.draw(st.lists(st.integers(0, m - 1), unique=True, max_size=5))
  n = data.draw(st.integers(0, m - len(asked)))
  block = data.draw(st.sampled_from([1, 7, 1 << 18]))
  chosen = KCenter(block)(
      np.ones((m, 1)), features, n, generator(seed), asked)
  assert chosen.tolist() == farthest(features, n, generator(seed), asked)


def scattered(kind, precision=np.float32):
  rng = generator(11)
  points = rng.standard_normal((600, 24))
  clusters = rng.standard_normal((6, 24))[rng.integers(0, 6, 600)]
  return {
      "gaussian": points,
      "rectified": np.maximum(points, 0),
      "low rank": points[:, :2] @ rng.standard_normal((2, 24)),
      "far from the origin": points + 1e4,
      "one feature far out": points + 1e5 * (np.arange(24) == 3),
      "collapsed": clusters + 1e-4 * points,
      "beside the origin": np.where(
          np.arange(600)[:, None] % 20, 1e-8 * points, points + 3),
      "of many scales": points * np.exp(6 * rng.standard_normal((600, 1))),
      "large": points * 1e25,
      "small": points * 1e-25,
  }[kind].astype(precision)


@pytest.mark.parametrize("kind", [
    "gaussian", "rectified", "low rank", "far from the origin",
    "one feature far out", "collapsed", "beside the origin", "of many scales",
    "large", "small"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("asked", [(), tuple(range(0, 200, 2))])
def test_centres_are_those_of_differences(kind, asked, precision):
  """Also where |x|^2 + |c|^2 - 2 x.c cannot be told from 0."""
  features = scattered(kind, precision)
  chosen = KCenter(2000)(
      np.ones((600, 1)), features, 150, generator(4), asked)
  doubles = features.astype(np.float64)
  exact = np.array([((doubles - row) ** 2).sum(axis=1) for row in doubles])
  centres = [*asked]
  for one in chosen:
    nearest = exact[:, centres].min(axis=1) if centres else np.zeros(600)
    nearest[centres] = -1
    assert nearest[one] >= nearest.max() * (1 - 1e-12)
    centres.append(one)


@hypothesis.settings(max_examples=100)
@hypothesis.given(width=st.sampled_from([32, 64]), data=st.data(),
                  exponent=st.sampled_from([-30, -6, 0, 6, 100]),
                  offset=st.sampled_from([0, 1, 1e3, 1e6]))
def test_estimates_are_as_wrong_as_they_say_at_most(
    width, data, exponent, offset):
  rows = data.draw(hnp.arrays(
      f"float{width}", (5, 3), elements=st.floats(-1, 1, width=width)))
  rows = (rows + offset).astype(rows.dtype) * rows.dtype.type(
      2.0 ** min(exponent, width))
  estimates, errors = coverage._Cover(rows, 100)._estimates(
      np.arange(5), slice(0, 5))
  exact = [[fractions.Fraction(float(x)) for x in row] for row in rows]
  for i, j in np.argwhere(np.isfinite(errors)):
    distance = sum((x - y) ** 2 for x, y in zip(
        exact[i], exact[j], strict=True))
    assert abs(fractions.Fraction(float(estimates[i, j])) - distance) <= (
        fractions.Fraction(float(errors[i, j])))


def test_centres_agree_with_scikit_learn():
  features = scattered("rectified").astype(np.float64)
  first = 17
  chosen = KCenter()(np.ones((600, 1)), features, 200, generator(), [first])
  distances = pairwise_distances(features)
  nearest = distances[first]
  for one in chosen:
    assert one == nearest.argmax()
    nearest = np.minimum(nearest, distances[one])


@properties
@hypothesis.given(seed=seeds, m=st.integers(2, 9), k=st.integers(1, 3))
def test_covers_within_twice_the_best_radius(seed, m, k):
  k = min(k, m)
  features = generator(seed).standard_normal((m, 2))
  distances = pairwise_distances(features)

  def radius(centres):
    return distances[:, list(centres)].min(axis=1).max()

  chosen = KCenter()(np.ones((m, 1)), features, k, generator(seed))
  best = min(map(radius, itertools.combinations(range(m), k)))
  assert radius(chosen) <= 2 * best + 1e-12


def test_copies_come_last_and_in_random_order():
  features = np.repeat(generator(1).standard_normal((5, 3)), 4, axis=0)
  later = set()
  for seed in range(20):
    chosen = KCenter()(np.ones((20, 1)), features, 20, generator(seed))
    assert sorted(chosen[:5] // 4) == [0, 1, 2, 3, 4]
    later.add(tuple(chosen[5:]))
  assert len(later) == 20


@pytest.mark.parametrize("asked", [(), tuple(range(200))])
def test_memory_is_that_of_some_numbers_a_row(asked):
  """Neither [m, m] nor the features once more, in any precision."""
  m, f = 20_000, 64
  features = generator().standard_normal((m, f), dtype=np.float32)
  probabilities = np.broadcast_to(0.5, (m, 2))
  tracemalloc.start()
  try:
    KCenter(1 << 12)(probabilities, features, 20, generator(), asked)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < features.nbytes / 2


@pytest.mark.parametrize("block", [0, -1, 2.5, True, None])
def test_blocks_are_checked(block):
  with pytest.raises(InputError, match=r"KCenter\.block"):
    KCenter(block)
