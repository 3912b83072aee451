"""Choices by perturbations and k-center, against choices in plain Python."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.strategies.adversarial import DeepFool, DeepFoolKCenter
from wsl_extraction.strategies.coverage import KCenter

seeds = st.integers(0, 2**32 - 1)


def surrogate(seed, m=24, c=4):
  rng = np.random.default_rng(seed)
  return rng.dirichlet(np.ones(c), m), rng.exponential(size=(m, 1))


def greedy_centers(points, centres, candidates, n):
  """The farthest from all centres, n times."""
  chosen = []
  for _ in range(n):
    left = [i for i in candidates if i not in chosen]
    nearest = [min((float(np.linalg.norm(points[i] - points[j]))
                    for j in [*centres, *chosen]), default=np.inf)
               for i in left]
    chosen.append(left[int(np.argmax(nearest))])
  return chosen


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds)
def test_the_shortest_perturbation_first(seed):
  probabilities, lengths = surrogate(seed)
  chosen = DeepFool()(probabilities, lengths, 6, np.random.default_rng(0),
                      [2, 5])
  left = [i for i in range(24) if i not in (2, 5)]
  assert chosen.tolist() == sorted(left, key=lambda i: lengths[i, 0])[:6]


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds)
def test_k_center_on_probabilities(seed):
  probabilities, lengths = surrogate(seed)
  chosen = KCenter(space="probabilities")(
      probabilities, lengths, 5, np.random.default_rng(0), [2, 5])
  left = [i for i in range(24) if i not in (2, 5)]
  assert chosen.tolist() == greedy_centers(probabilities, [2, 5], left, 5)


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds, factor=st.integers(1, 9))
def test_k_center_among_those_nearest_to_the_boundary(seed, factor):
  probabilities, lengths = surrogate(seed)
  chosen = DeepFoolKCenter(factor)(
      probabilities, lengths, 4, np.random.default_rng(0), [2, 5])
  left = [i for i in range(24) if i not in (2, 5)]
  near = sorted(left, key=lambda i: lengths[i, 0])[:4 * factor]
  assert chosen.tolist() == greedy_centers(
      probabilities, [2, 5], sorted(near), 4)


def test_settings_that_cannot_be():
  with pytest.raises(InputError, match=r"DeepFoolKCenter\.factor is 0"):
    DeepFoolKCenter(0)
  with pytest.raises(InputError, match=r"KCenter\.space is 'pixels'; choose"):
    KCenter(space="pixels")
