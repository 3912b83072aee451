"""Metrics against scipy, scikit-learn and brute force."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn_metrics

from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import metrics


@st.composite
def _counts(draw):
  total = draw(st.integers(1, 100_000))
  return draw(st.integers(0, total)), total


@hypothesis.given(_counts(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval_is_scipys(counts, confidence):
  successes, total = counts
  ours = metrics.proportion(successes, total, confidence)
  theirs = stats.binomtest(successes, total).proportion_ci(
      confidence, method="wilson")
  assert ours.value == successes / total
  np.testing.assert_allclose(
      (ours.low, ours.high), (theirs.low, theirs.high), rtol=1e-9, atol=1e-12)
  assert 0 <= ours.low <= ours.value <= ours.high <= 1


@pytest.mark.parametrize("successes, total", [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(successes, total):
  with pytest.raises(InputError):
    metrics.proportion(successes, total)


_VALUES = hnp.arrays(
    np.float64, st.integers(2, 12), elements=st.floats(-100, 100, width=16))


@hypothesis.given(_VALUES)
def test_mean_interval_is_scipys(values):
  ours = metrics.mean(values)
  assert ours.value == pytest.approx(values.mean())
  if values.std() > 1e-6:
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(
        (ours.low, ours.high), (theirs.low, theirs.high), atol=1e-9)


def test_paired_difference_is_scipys():
  rng = np.random.default_rng(0)
  seeds = rng.normal(size=5)
  a = 0.93 + 0.1 * seeds + 0.001 * rng.normal(size=5)
  b = 0.90 + 0.1 * seeds + 0.001 * rng.normal(size=5)
  ours = metrics.paired_difference(a, b, confidence=0.9)
  theirs = stats.ttest_rel(a, b).confidence_interval(0.9)
  np.testing.assert_allclose(
      (ours.low, ours.high), (theirs.low, theirs.high), rtol=1e-9)
  assert 0 < ours.low < ours.value < ours.high


def test_one_value_has_no_interval():
  alone = metrics.mean([0.5])
  assert alone.value == 0.5
  assert math.isnan(alone.low) and math.isnan(alone.high)


@pytest.mark.parametrize(
    "values", [[], [[1.0, 2.0]], [1.0, math.nan], [math.inf]])
def test_values_without_a_mean_are_refused(values):
  with pytest.raises(InputError):
    metrics.mean(values)


def test_unequal_pairs_and_confidences_are_refused():
  with pytest.raises(InputError, match="as many values"):
    metrics.paired_difference([1.0, 2.0], [1.0])
  for confidence in (0.0, 1.0, 95.0):
    with pytest.raises(InputError, match="confidence"):
      metrics.mean([1.0, 2.0], confidence)


@hypothesis.given(
    st.integers(0, 2**32), st.integers(1, 40), st.integers(6, 20),
    st.integers(1, 5))
def test_top_k_accuracy_without_ties_is_sklearns(seed, n, c, k):
  rng = np.random.default_rng(seed)
  scores = rng.permuted(np.tile(np.arange(c, dtype=float), (n, 1)), axis=1)
  labels = rng.integers(c, size=n)
  theirs = sklearn_metrics.top_k_accuracy_score(
      labels, scores, k=k, labels=np.arange(c))
  assert metrics.accuracy(scores, labels, k).value == pytest.approx(theirs)
  assert metrics.fidelity(scores, labels, k) == metrics.accuracy(
      scores, labels, k)


@hypothesis.given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 8), st.integers(1, 7)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, -0.0, 2.0, np.inf])),
    st.integers(0, 2**32), st.integers(1, 9))
def test_ties_rank_by_class_as_a_stable_sort_does(scores, seed, k):
  labels = np.random.default_rng(seed).integers(
      scores.shape[1], size=len(scores))
  brute = [
      label in sorted(range(len(row)), key=lambda i, row=row: -row[i])[:k]
      for row, label in zip(scores, labels, strict=True)]
  assert metrics.among_top(scores, labels, k).tolist() == brute


def test_top_1_is_argmax_and_few_classes_are_always_among_five():
  scores = np.random.default_rng(0).integers(3, size=(200, 4))
  best = scores.argmax(axis=1)
  assert metrics.fidelity(scores, best).value == 1
  assert metrics.fidelity(scores, (best + 1) % 4, k=5).value == 1
  assert metrics.fidelity(scores, (best + 1) % 4).value == 0


def test_interval_of_accuracy_is_wilsons():
  scores = np.eye(10)[np.repeat(np.arange(10), 10)]
  labels = np.repeat(np.arange(10), 10)
  labels[:7] = 9
  assert metrics.accuracy(scores, labels) == metrics.proportion(93, 100)


@pytest.mark.parametrize("scores, labels, k, said", [
    ([[0.1, math.nan], [1, 2]], [0, 1], 1, "input 0 hold NaN"),
    ([[1, 2], [3, 4]], [0], 1, r"not \[2, 2\] and \[1\]"),
    ([1, 2], [0, 1], 1, "must be"),
    ([[1, 2]], [[0]], 1, "must be"),
    ([[1, 2]], [2], 1, "label 2 of input 0"),
    ([[1, 2]], [-1], 1, "label -1"),
    ([[1, 2]], [0.0], 1, "integers"),
    ([[1, 2]], [0], 0, "top-0"),
])
def test_scores_and_labels_that_do_not_match_are_refused(
    scores, labels, k, said):
  with pytest.raises(InputError, match=said):
    metrics.among_top(scores, labels, k)


def test_nothing_to_measure_on_is_refused():
  with pytest.raises(InputError, match="no examples"):
    metrics.accuracy(np.zeros((0, 3)), np.zeros(0, int))
