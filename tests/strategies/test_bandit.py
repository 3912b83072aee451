"""A gradient bandit over classes, against updates written out by hand."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.strategies import bandit as bandits
from wsl_extraction.strategies.bandit import REWARDS, Bandit

seeds = st.integers(0, 2**32 - 1)


def history(seed=0, t=12, arms=4, c=3):
  rng = np.random.default_rng(seed)
  return (rng.integers(0, arms, t), rng.dirichlet(np.ones(c), t),
          rng.dirichlet(np.ones(c), t))


def test_three_updates_by_hand():
  """Arms 0, 1, 0 with rewards 0.2, 1, 0."""
  got = Bandit().preferences(
      np.array([0, 1, 0]), np.array([0.2, 1.0, 0.0]), 2)
  # t = 1 moves nothing. t = 2: r - r' = 0.8, a = 1, pi = (1/2, 1/2).
  one = np.array([-0.4, 0.4])
  # t = 3: r - r' = -0.6, a = 1/2 as arm 0 has its second row.
  share = math.exp(0.4) / (math.exp(0.4) + math.exp(-0.4))
  two = one + np.array([-0.3 * share, 0.3 * share])
  np.testing.assert_allclose(got, two, rtol=1e-12)


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds, t=st.integers(1, 30), arms=st.integers(1, 6))
def test_preferences_are_those_of_a_loop_in_plain_python(seed, t, arms):
  classes, responses, _ = history(seed, t, arms)
  rewards = responses[:, 0]
  held, counts = [0.0] * arms, [0] * arms
  for step, (z, reward) in enumerate(zip(classes, rewards, strict=True)):
    counts[z] += 1
    if step == 0:
      continue
    baseline = sum(rewards[:step]) / step
    powers = [math.exp(one) for one in held]
    for arm in range(arms):
      share = powers[arm] / sum(powers)
      change = (1 - share) if arm == z else -share
      held[arm] += (reward - baseline) * change / counts[z]
  np.testing.assert_allclose(
      Bandit().preferences(classes, rewards, arms), held, atol=1e-9)
  # A gradient of softmax's logarithm: preferences keep their sum.
  assert abs(sum(held)) < 1e-9


def test_an_arm_that_pays_is_preferred():
  rng = np.random.default_rng(3)
  classes = rng.integers(0, 3, 600)
  held = Bandit().preferences(classes, (classes == 2) * 1.0, 3)
  assert held.argmax() == 2


# Rewards.


def test_certainty_is_the_margin():
  got = bandits.certainty(np.array([[0.7, 0.1, 0.2], [0.5, 0.5, 0.0]]))
  np.testing.assert_allclose(got, [0.5, 0.0])


def test_diversity_by_hand():
  """Above the mean of earlier rows; of none it is uniform."""
  responses = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
  # Means before: (1/2, 1/2), (1, 0), (1, 0), (2/3, 1/3).
  np.testing.assert_allclose(
      bandits.diversity(responses), [0.5, 0.0, 1.0, 1 / 6])


def test_losses_are_scipys_cross_entropy():
  import scipy.stats
  _, responses, surrogate = history(5)
  expected = scipy.stats.entropy(responses, axis=1) + scipy.stats.entropy(
      responses, surrogate, axis=1)
  np.testing.assert_allclose(
      bandits.losses(responses, surrogate), expected, rtol=1e-9)


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds, t=st.integers(1, 20))
def test_rewards_are_scaled_by_what_was_seen_so_far(seed, t):
  values = np.random.default_rng(seed).normal(size=t).round(1)
  expected = []
  for end in range(1, t + 1):
    low, high = min(values[:end]), max(values[:end])
    expected.append(
        0.5 if low == high else (values[end - 1] - low) / (high - low))
  np.testing.assert_allclose(bandits.rescaled(values), expected)


def test_each_reward_alone_and_all_together():
  _, responses, surrogate = history(1)
  lost = bandits.losses(responses, surrogate)
  raw = {"certainty": bandits.certainty(responses),
         "diversity": bandits.diversity(responses), "loss": lost}
  for name in REWARDS:
    np.testing.assert_allclose(
        Bandit((name,)).scores(responses, lost), bandits.rescaled(raw[name]))
  np.testing.assert_allclose(
      Bandit().scores(responses, lost),
      sum(bandits.rescaled(one) for one in raw.values()) / 3)
  assert not Bandit(("certainty", "diversity")).needs_surrogate
  with pytest.raises(InputError, match="needs the surrogate's losses"):
    Bandit().scores(responses)


@pytest.mark.parametrize("rewards, message", [
    ((), "one or more of certainty"), ("loss", "give one or more"),
    (("loss", "loss"), "give one or more"), (("gain",), "choose one of"),
    (None, "give one or more")])
def test_rewards_that_cannot_be(rewards, message):
  with pytest.raises(InputError, match=message):
    Bandit(rewards)


# Choices.


@hypothesis.settings(max_examples=30)
@hypothesis.given(seed=seeds, m=st.integers(1, 40), data=st.data())
def test_chooses_different_rows_none_asked(seed, m, data):
  rng = np.random.default_rng(seed)
  pool = rng.integers(0, 4, m)
  asked = np.array(data.draw(st.lists(
      st.integers(0, m - 1), unique=True)), np.int64)
  n = data.draw(st.integers(0, m - len(asked)))
  # The last class has no share at all, and may be all that is left.
  chosen = Bandit().choose(
      np.array([0.0, 1.0, -3.0, -800.0]), pool, n, rng, asked)
  assert len({*chosen.tolist(), *asked.tolist()}) == n + len(asked)
  with pytest.raises(InputError, match="examples and the pool has"):
    Bandit().choose(np.zeros(4), pool, m - len(asked) + 1, rng, asked)


def test_classes_are_drawn_by_the_softmax_of_preferences():
  import scipy.stats
  pool = np.repeat(np.arange(3), 4000)
  preferences = np.array([0.0, 1.0, 2.0])
  chosen = Bandit().choose(
      preferences, pool, 1500, np.random.default_rng(0), np.zeros(0, int))
  counts = np.bincount(pool[chosen], minlength=3)
  shares = np.exp(preferences) / np.exp(preferences).sum()
  assert scipy.stats.chisquare(counts, shares * 1500).pvalue > 1e-3
  # Within a class at random.
  assert np.median(chosen[pool[chosen] == 2]) == pytest.approx(10_000, abs=300)
