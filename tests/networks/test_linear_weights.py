"""Weights of linear models, beside scikit-learn's own classifiers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn import datasets, linear_model, multiclass

from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.victims import sklearn_weights

ROWS, LABELS = datasets.load_iris(return_X_y=True)
TWO = LABELS < 2


def logistic(rows=ROWS, labels=LABELS):
  return linear_model.LogisticRegression(max_iter=300).fit(rows, labels)


def models():
  return {"softmax": logistic(), "two classes": logistic(
      ROWS[TWO], LABELS[TWO]), "one_vs_rest": multiclass.OneVsRestClassifier(
          linear_model.LogisticRegression()).fit(ROWS, LABELS)}


@pytest.mark.parametrize("name", ["softmax", "two classes", "one_vs_rest"])
def test_it_is_the_classifier_on_all_sides(name, tmp_path):
  """As weights, as a Keras file, and as scikit-learn's classifier again."""
  model = models()[name]
  weights = sklearn_weights.weights_of(model)
  assert isinstance(weights, LinearWeights)
  scores = model.predict_proba(ROWS)
  np.testing.assert_allclose(weights.probabilities(ROWS), scores, atol=1e-13)

  network, held = weights.to_keras((4,))
  network.save(tmp_path / "linear.keras")
  loaded = keras.saving.load_model(tmp_path / "linear.keras", safe_mode=True)
  logits = np.asarray(loaded.predict(ROWS, verbose=0))
  np.testing.assert_allclose(logits, held.logits(ROWS), atol=1e-4)
  kept = LinearWeights.of_keras(loaded)
  assert kept.link == weights.link
  np.testing.assert_array_equal(kept.kernel, held.kernel)
  np.testing.assert_array_equal(kept.bias, held.bias)

  again = weights.to_sklearn()
  np.testing.assert_allclose(again.predict_proba(ROWS), scores, atol=1e-13)
  np.testing.assert_array_equal(again.predict(ROWS), model.predict(ROWS))


def test_classes_have_their_names():
  names = np.array(["setosa", "versicolor", "virginica"])
  weights = sklearn_weights.weights_of(logistic())
  assert isinstance(weights, LinearWeights)
  np.testing.assert_array_equal(
      weights.to_sklearn(names).predict(ROWS),
      logistic(labels=names[LABELS]).predict(ROWS))
  with pytest.raises(InputError, match="in increasing order"):
    weights.to_sklearn(names[::-1])


def test_centred_weights_are_those_that_an_l2_penalty_gives():
  weights = sklearn_weights.weights_of(logistic())
  assert isinstance(weights, LinearWeights)
  moved = LinearWeights(weights.kernel + 3, weights.bias)
  np.testing.assert_allclose(moved.centred().kernel, weights.kernel, atol=1e-6)


def test_other_models_have_no_linear_weights():
  network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2),
                              keras.layers.Dense(2)])
  with pytest.raises(InputError, match="is not one dense layer"):
    LinearWeights.of_keras(network)


@pytest.mark.parametrize("kernel, bias", [
    (np.zeros((0, 2)), np.zeros(2)), (np.zeros((2, 2)), np.zeros(3)),
    (np.zeros(2), np.zeros(2)), (np.full((1, 2), np.nan), np.zeros(2))])
def test_what_is_no_linear_model_is_refused(kernel, bias):
  with pytest.raises(InputError, match="linear model"):
    LinearWeights(kernel, bias)
