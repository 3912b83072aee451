"""Equation solving: scikit-learn's models, rounding, and wrong victims."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import neural_network

from fixtures import linear_victims as victims
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.linear import log_ratios
from wsl_extraction.attacks.linear.equation_solving import EquationSolving
from wsl_extraction.attacks.linear.score_queries import Scored
from wsl_extraction.equivalence import linear
from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork

# On jax weights are kept in single precision.
EXACT = 1e-11 if keras.backend.backend() != "jax" else 1e-5


def extract(oracle, seed=0, **options):
  return EquationSolving(**options)(oracle, Knowledge(), seed)


def differences(weights):
  """Weights and bias of each class less those of class 0."""
  assert isinstance(weights, LinearWeights)
  kernel = np.vstack([weights.kernel, weights.bias])
  return kernel[:, 1:] - kernel[:, :1]


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_a_softmax_follows_from_one_row_more_than_features(
    name, binary, bounded, tmp_path):
  rows, labels = victims.binary(name) if binary else victims.table(name)
  model = victims.logistic(rows[::2], labels[::2])
  d = rows.shape[1]
  oracle = victims.of_model(model, "scores", bounded=bounded, budget=d + 1)
  extraction = extract(oracle, classifier="softmax")
  assert extraction.status is Status.DONE, extraction.missing
  assert oracle.ledger.rows == d + 1
  truth = victims.weights(model)
  assert np.abs(differences(extraction.weights)
                - differences(truth)).max() <= EXACT
  assert isinstance(extraction.weights, LinearWeights)
  fresh = np.random.default_rng(0).uniform(-1, 1, (100_000, d))
  np.testing.assert_array_equal(
      extraction.weights(fresh).argmax(axis=1), model.predict(fresh))
  extraction.surrogate.save(tmp_path / "copy.keras")
  loaded = LinearWeights.of_keras(keras.saving.load_model(
      tmp_path / "copy.keras", safe_mode=True))
  proof = linear.certify(truth, loaded, -np.ones(d), np.ones(d))
  assert proof.logits is not None and proof.logits <= 100 * EXACT
  # Scikit-learn's own classifier of the weights gives the same scores.
  np.testing.assert_allclose(
      loaded.to_sklearn(model.classes_).predict_proba(rows),
      model.predict_proba(rows), atol=100 * EXACT)


def test_the_class_of_a_victim_need_not_be_known():
  rows, labels = victims.table("wine")
  softmax = victims.logistic(rows, labels)
  rest = victims.one_vs_rest(rows, labels)
  for model, name in ((softmax, "softmax"), (rest, "one_vs_rest")):
    oracle = victims.of_model(model, "scores")
    extraction = extract(oracle)
    assert extraction.status is Status.DONE, extraction.missing
    assert extraction.figure("classifier") == name
    fresh = np.random.default_rng(1).uniform(-1, 1, (20_000, 13))
    assert isinstance(extraction.weights, LinearWeights)
    np.testing.assert_allclose(
        extraction.weights.probabilities(fresh), model.predict_proba(fresh),
        atol=1e-7 if EXACT < 1e-8 else 1e-3)


def test_a_perceptron_is_told_and_recovered():
  rng = np.random.default_rng(1)
  rows = rng.uniform(-1, 1, (300, 4))
  labels = (np.abs(rows[:, 0]) > 0.4).astype(int) + (rows[:, 1] > 0)
  model = neural_network.MLPClassifier(
      (5,), max_iter=2000, random_state=0, tol=1e-3).fit(rows, labels)
  oracle = victims.of_model(model, "scores")
  extraction = extract(oracle, hidden=5, rows=150)
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("classifier") == "perceptron"
  assert isinstance(extraction.weights, ReluNetwork)
  fresh = np.random.default_rng(1).uniform(-1, 1, (10_000, 4))
  assert (extraction.weights(fresh).argmax(axis=1)
          == model.predict(fresh)).mean() >= 0.9999


def agreement(model, decimals, rows, seed=0, **options):
  oracle = victims.of_model(model, "scores", decimals=decimals)
  extraction = extract(
      oracle, seed, classifier="softmax", rows=rows, **options)
  fresh = np.random.default_rng(2).uniform(-1, 1, (20_000, 64))
  assert isinstance(extraction.weights, LinearWeights)
  same = extraction.weights(fresh).argmax(axis=1) == model.predict(fresh)
  return float(same.mean()), extraction


@pytest.mark.parametrize("decimals, least", [(2, 0.438), (4, 0.988)])
def test_more_rounded_rows_raise_agreement(decimals, least):
  rows, labels = victims.table("digits")
  model = victims.logistic(rows[:900], labels[:900])
  shares = [agreement(model, decimals, count)[0] for count in (65, 130, 260)]
  assert shares == sorted(shares) and shares[0] >= least
  plain, _ = agreement(model, decimals, 260, intervals=False)
  assert shares[-1] > plain


def test_intervals_hold_the_weights_that_made_them():
  """At many rows the true weights are as good as those that are found."""
  rng = np.random.default_rng(0)
  truth = LinearWeights(rng.normal(size=(3, 4)), rng.normal(size=4)).centred()
  points = rng.uniform(-1, 1, (400, 3))
  scores = np.round(truth.probabilities(points), 2)
  with np.errstate(divide="ignore"):
    scored = Scored(points, scores, np.log(scores))
  weights = log_ratios.within_intervals(scored, 0.01)
  exact = np.vstack([truth.kernel, truth.bias])
  assert np.abs(weights - exact).max() < 0.02
  plain = log_ratios.fitted(scored, 0.01)
  assert np.abs(weights - exact).max() < np.abs(plain - exact).max()


def test_rounding_that_is_not_declared_is_seen():
  rows, labels = victims.table("iris")
  model = victims.logistic(rows, labels)
  oracle = victims.oracle(
      lambda rows: np.round(model.predict_proba(rows), 3), 4, 3, "scores",
      quantity="probabilities")
  extraction = extract(oracle)
  assert extraction.figure("resolution") == 1e-3
  assert extraction.figure("rows") == 50


@pytest.mark.parametrize("name", ["xor", "ball", "tree", "perceptron"])
def test_victims_of_another_kind_are_never_done(name):
  oracle = victims.oracle(victims.WRONG[name], reveal="scores", quantity=(
      "probabilities" if name in ("tree", "perceptron") else "logits"))
  extraction = extract(oracle, classifier="softmax")
  assert extraction.status is Status.INCOMPLETE
  assert "the victim is another kind" in extraction.missing or (
      "labels in disguise" in extraction.missing)


def test_a_victim_that_answers_otherwise_the_next_time_is_never_done():
  rng = np.random.default_rng(0)

  def predict(rows):
    exact = victims.affine(np.arange(1.0, 6), 0.3)(rows)
    return exact + 1e-3 * rng.standard_normal(exact.shape)

  extraction = extract(victims.oracle(predict, reveal="scores"),
                       classifier="softmax")
  assert extraction.status is Status.INCOMPLETE
  assert "does not always answer alike" in extraction.missing


def test_labels_in_the_form_of_scores_are_told():
  extraction = extract(victims.oracle(
      lambda rows: np.eye(2)[(rows.sum(axis=1) > 0).astype(int)],
      reveal="scores", quantity="probabilities"), hidden=2, restarts=1)
  assert extraction.status is Status.INCOMPLETE
  assert "labels in disguise" in extraction.missing


def test_a_constant_victim_is_a_softmax_without_slopes():
  extraction = extract(victims.oracle(
      lambda rows: np.tile([1 / 3, 2 / 3], (len(rows), 1)), reveal="scores",
      quantity="probabilities"), classifier="softmax")
  assert extraction.status is Status.DONE, extraction.missing
  assert isinstance(extraction.weights, LinearWeights)
  assert np.abs(differences(extraction.weights)[:-1]).max() < 1e-9


@pytest.mark.parametrize("d, classes", [(1, 2), (1, 5), (3, 1000), (40, 2)])
def test_other_shapes(d, classes):
  rng = np.random.default_rng(0)
  truth = LinearWeights(rng.normal(size=(d, classes)), rng.normal(size=classes))
  oracle = victims.oracle(truth, d, classes, "scores")
  extraction = extract(oracle)
  assert extraction.status is Status.DONE, extraction.missing
  assert oracle.ledger.rows == d + 1 + 16
  assert np.abs(differences(extraction.weights)
                - differences(truth)).max() <= 10 * EXACT


@pytest.mark.parametrize("scale", [1e-6, 30.0, 300.0])
def test_flat_and_steep_softmaxes(scale):
  """Steep ones underflow one step from the middle; shorter steps do not."""
  rng = np.random.default_rng(0)
  truth = LinearWeights(scale * rng.normal(size=(4, 3)), rng.normal(size=3))
  extraction = extract(victims.oracle(truth, 4, 3, "scores"))
  assert extraction.status is Status.DONE, extraction.missing
  assert np.abs(differences(extraction.weights)
                - differences(truth)).max() <= 10 * EXACT * max(scale, 1)


def test_a_budget_that_is_one_row_short():
  truth = LinearWeights(np.eye(5), np.arange(5.0))
  for classifier in ("softmax", "auto"):
    oracle = victims.oracle(truth, 5, 5, "scores", budget=5)
    extraction = extract(oracle, classifier=classifier)
    assert extraction.status is Status.BUDGET_EXHAUSTED
    assert "takes 6 rows" in extraction.missing
    assert oracle.ledger.rows == 5
  # Without a check nobody knows that it is a softmax, unless it was said.
  extraction = extract(victims.oracle(truth, 5, 5, "scores", budget=6))
  assert extraction.status is Status.INCOMPLETE
  assert "no row was left" in extraction.missing


def test_the_score_of_a_single_class_says_nothing():
  with pytest.raises(InputError, match="2 classes or more"):
    extract(victims.oracle(lambda rows: rows[:, :1], c=1, reveal="scores"))


MODELS = {
    "seed": st.integers(0, 2**31 - 1), "d": st.integers(1, 8),
    "c": st.integers(2, 6), "scale": st.sampled_from([1e-3, 1.0, 20.0]),
    "short": st.integers(0, 2)}


def recovers(seed, d, c, scale, short):
  rng = np.random.default_rng(seed)
  truth = LinearWeights(scale * rng.normal(size=(d, c)), rng.normal(size=c))
  budget = max(d + 1 - short, 1) if short else None
  extraction = extract(
      victims.oracle(truth, d, c, "scores", budget=budget), seed,
      classifier="softmax")
  if short:
    assert extraction.status is not Status.DONE
  if extraction.status is Status.DONE:
    assert np.abs(differences(extraction.weights)
                  - differences(truth)).max() <= 1e3 * EXACT * max(scale, 1)


@settings(max_examples=25, deadline=None)
@given(**MODELS)
def test_random_models_are_recovered_or_said_to_be_incomplete(**model):
  recovers(**model)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**MODELS)
def test_two_thousand_random_models(**model):
  recovers(**model)
