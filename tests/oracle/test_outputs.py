"""Honest victims are taken at their word, however they round; others not."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_extraction.oracle import outputs
from wsl_extraction.oracle.outputs import VictimMismatch
from wsl_extraction.oracle.response import Quantity

PROBABILITIES, LOGITS = Quantity.PROBABILITIES, Quantity.LOGITS


def softmax(n, c, seed=0, scale=2.0):
  logits = np.random.default_rng(seed).normal(size=(n, c)) * scale
  return scipy.special.softmax(logits, axis=1)


def check(quantity, values, decimals=None):
  outputs.check_declared(
      quantity, values, values.shape[0], values.shape[1], decimals)


@given(st.integers(2, 40), st.integers(1, 7), st.integers(0, 2**32 - 1),
       st.sampled_from(["float32", "float64"]),
       st.sampled_from([np.round, lambda p, d: np.floor(p * 10**d) / 10**d]))
@settings(max_examples=200)
def test_no_honest_service_is_refused_for_its_decimals(
    c, decimals, seed, dtype, rounding):
  """Whatever it rounds to, and whether it rounds or cuts off."""
  values = rounding(softmax(16, c, seed), decimals).astype(dtype)
  check(PROBABILITIES, values)
  check(PROBABILITIES, values, decimals)


@given(st.integers(2, 1000), st.integers(0, 2**32 - 1),
       st.sampled_from([np.float16, ml_dtypes.bfloat16]), st.booleans())
@settings(max_examples=60)
def test_no_honest_service_is_refused_for_its_type(c, seed, dtype, widened):
  values = softmax(8, c, seed).astype(dtype)
  check(PROBABILITIES, values.astype(np.float32) if widened else values)


def test_a_thousand_classes_of_two_decimals():
  # Half of all rows show nothing but zeros, or nearly.
  check(PROBABILITIES, np.round(softmax(16, 1000, scale=0.5), 2))


@pytest.mark.parametrize("values", [
    np.full((8, 4), 0.26), np.tile([0.9, 0.8, 0.0, 0.0], (8, 1)),
    np.random.default_rng(0).uniform(size=(8, 4)),
    np.random.default_rng(0).uniform(size=(8, 4)).astype(np.float32),
    # Of a detector, each class by itself, with two decimals.
    np.round(scipy.special.expit(
        np.random.default_rng(0).normal(size=(8, 10))), 2)])
def test_scores_in_the_unit_interval_are_never_advised_to_be_logits(values):
  with pytest.raises(VictimMismatch, match=r"sums to .*; declare ") as caught:
    check(PROBABILITIES, values)
  assert "logits" not in str(caught.value)


def test_hidden_scores_are_advised_to_be_the_best_few():
  whole = softmax(8, 10)
  cut = np.where(whole >= -np.sort(-whole, axis=1)[:, [4]], whole, 0)
  with pytest.raises(VictimMismatch, match=r"outputs='top_k' if it hides"):
    check(PROBABILITIES, cut)


def test_percent_is_advised_where_it_is_percent():
  for decimals in (0, 1, 2, 10):
    values = np.round(100 * softmax(8, 5), decimals)
    with pytest.raises(VictimMismatch, match="declare outputs='percent'"):
      check(PROBABILITIES, values)
    assert outputs.look_like_percent(values)
  assert not outputs.look_like_percent(softmax(8, 5))


def test_declared_decimals_count_where_they_are_fewer():
  # Noise below the last decimal that counts, as of a defence.
  rng = np.random.default_rng(0)
  values = softmax(8, 20) + rng.uniform(0, 0.005, (8, 20))
  with pytest.raises(VictimMismatch, match="declare the decimals"):
    check(PROBABILITIES, values)
  check(PROBABILITIES, values, 2)


def test_logits_are_not_refused_by_chance():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(200_000, 4)) @ rng.normal(size=(4, 2)) * 0.5
  sums = np.abs(logits.sum(axis=1) - 1) < 2e-4
  unlucky = logits[sums & (logits >= 0).all(axis=1)]
  assert len(unlucky) > 2
  for row in unlucky:
    check(LOGITS, row[None])
  # Nor are two rows of coarse ones, of which one in three hundred pairs are
  # in [0, 1] and sum to one.
  check(LOGITS, np.array([[0.2, 0.7], [0.5, 0.6]]))


def test_probabilities_declared_as_logits_are_seen_through_their_rounding():
  for values in (np.round(softmax(16, 10), 2), softmax(16, 10).astype("f2"),
                 softmax(16, 10).astype(ml_dtypes.bfloat16)):
    assert outputs.look_like_probabilities(values)
    with pytest.raises(VictimMismatch, match="declare outputs='probabilities'"):
      check(LOGITS, values)


def test_decimals_are_counted():
  assert outputs.decimals_of(np.array([[0.25, 0.75]])) == 2
  assert outputs.decimals_of(np.array([[0.123, 0.877]], np.float32)) == 3
  assert outputs.decimals_of(softmax(4, 4)) is None
