"""What responses say of the classes, rounded and reduced ones too."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures import oracles
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.oracle.response import Response
from wsl_extraction.training import batches

LOGITS = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, 2.9]])


def ask(reveal, given_=LOGITS, **kwargs):
  oracle = oracles.oracle(lambda x: given_[x[:, 0].astype(int)],
                          given_.shape[1], 1, reveal, **kwargs)
  return oracle.query(np.arange(len(given_))[:, None])


def test_hidden_scores_are_hidden_not_renormalised():
  top = ask("top_k:2")
  assert (top.values.sum(axis=1) < 0.98).all()
  assert top.known_classes().sum(axis=1).tolist() == [2, 2]
  dense = top.probabilities()
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  np.testing.assert_allclose(dense[0, [0, 2]], top.values[0])
  assert dense[0, 1] == dense[0, 3]


def test_a_label_is_taken_at_its_word():
  bare = ask("label")
  np.testing.assert_array_equal(bare.probabilities(), np.eye(4)[[0, 1]])
  assert bare.known_classes().all()
  assert np.isneginf(bare.log_scores()).sum() == 6


def test_top_k_of_all_classes_equals_scores():
  np.testing.assert_allclose(
      ask("top_k:4").probabilities(), ask("scores").probabilities())


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_probabilities_never_contradict_what_was_revealed(c, k, seed):
  k = min(k, c)
  given_ = np.random.default_rng(seed).normal(scale=3, size=(5, c))
  response = ask(f"top_k:{k}", given_)
  dense = response.probabilities()
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  # No hidden class can be likelier than the least of those revealed.
  assert (dense <= np.where(response.known_classes(), dense,
                            response.values[:, -1:] + 1e-12)).all()


def test_rounding_everything_away_leaves_nothing_known():
  flat = np.zeros((2, 4))
  response = ask("scores", flat, decimals=0)
  np.testing.assert_array_equal(response.values, 0)
  np.testing.assert_allclose(response.probabilities(), 0.25)


def test_joined_and_taken_responses_keep_their_order():
  response = ask("top_k:2")
  again = Response.join(
      [response.take(np.array([row])) for row in (1, 0)])
  np.testing.assert_array_equal(again.classes, response.classes[::-1])
  np.testing.assert_array_equal(again.values, response.values[::-1])
  assert again.outputs == 4


# Rounded answers, taught rightly.


@pytest.mark.parametrize("classes, scale", [(10, 1.0), (100, 1.5), (1000, 2.0)])
@pytest.mark.parametrize("reveal", ["label_score", "top_k:5"])
@pytest.mark.parametrize("decimals", [0, 1, 2, 3])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 1.5, 4.0])
def test_a_named_class_never_gets_a_smaller_target(
    classes, scale, reveal, decimals, temperature):
  given_ = np.random.default_rng(0).normal(size=(300, classes)) * scale
  response = ask(reveal, given_, decimals=decimals)
  dense = response.probabilities()
  target = np.asarray(Distillation(temperature).heated(
      batches.response_entries(response)))
  for taught in (dense, target):
    named = np.take_along_axis(taught, response.classes, axis=1)
    hidden = np.where(response.known_classes(), 0, taught)
    assert (named.min(axis=1) >= hidden.max(axis=1)).all()
    # The first one named is the most likely, up to equals.
    assert (named[:, 0] >= taught.max(axis=1) - 1e-6).all()
  assert (dense.argmax(axis=1) == response.top_classes).all()


@given(st.integers(3, 12), st.integers(1, 3), st.integers(0, 3),
       st.integers(0, 2**32 - 1))
@example(4, 3, 1, 230)  # one of its rows sums to more than one
@settings(max_examples=80)
def test_named_scores_move_within_their_rounding(c, k, decimals, seed):
  """By half a unit at most, before all are made to sum to one."""
  given_ = np.random.default_rng(seed).normal(scale=2, size=(6, c))
  response = ask(f"top_k:{min(k, c - 1)}", given_, decimals=decimals)
  dense = response.probabilities()
  named = np.take_along_axis(dense, response.classes, axis=1)
  hidden = c - response.classes.shape[1]
  np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-6)
  # What is hidden is shared evenly.
  others = np.sort(np.where(response.known_classes(), np.inf, dense), axis=1)
  np.testing.assert_allclose(
      others[:, :hidden], others[:, :1].repeat(hidden, 1), rtol=1e-6)
  off = np.abs(named - response.values).max(axis=1)
  # Where rounded scores sum to more than one, normalising moves them on.
  fits = response.values.sum(axis=1) <= 1
  assert (off[fits] <= 0.5 * 10.0**-decimals + 1e-6).all()


def test_unrounded_scores_stay_as_they_are():
  given_ = np.random.default_rng(1).normal(size=(50, 20))
  response = ask("top_k:3", given_)
  np.testing.assert_allclose(
      np.take_along_axis(response.probabilities(), response.classes, axis=1),
      -np.sort(-scipy.special.softmax(given_, axis=1))[:, :3], rtol=1e-12)


@pytest.mark.parametrize("reveal", ["scores", "top_k:3", "label_score"])
def test_scores_a_little_below_zero_never_become_nan(reveal):
  scores = np.array([[0.6, 0.4 + 2e-9, -2e-9]])
  response = ask(reveal, scores, quantity="probabilities")
  logs = response.log_scores()
  assert not np.isnan(logs).any()
  if reveal == "scores":
    assert np.isneginf(logs[0, 2])
