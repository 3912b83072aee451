"""The weights of scikit-learn's classifiers, by what these answer."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import (
    datasets,
    discriminant_analysis,
    linear_model,
    multiclass,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.victims.sklearn_weights import weights_of

ROWS, LABELS = datasets.load_iris(return_X_y=True)
ONE_VS_REST = multiclass.OneVsRestClassifier(linear_model.LogisticRegression())


def fitted(model, classes=3):
  keep = classes > LABELS
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    return model.fit(ROWS[keep], LABELS[keep])


def softmax(logits):
  powers = np.exp(logits - logits.max(axis=1, keepdims=True))
  return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", [
    linear_model.LogisticRegression(), linear_model.SGDClassifier(),
    linear_model.Perceptron(), linear_model.RidgeClassifier(),
    svm.LinearSVC(), discriminant_analysis.LinearDiscriminantAnalysis(),
    ONE_VS_REST, neural_network.MLPClassifier((4,), max_iter=30),
    pipeline.make_pipeline(preprocessing.StandardScaler(), "passthrough",
                           preprocessing.MinMaxScaler((-1, 1)),
                           preprocessing.MaxAbsScaler(),
                           linear_model.LogisticRegression()),
    pipeline.make_pipeline(preprocessing.MinMaxScaler(),
                           neural_network.MLPClassifier((4,), max_iter=30)),
], ids=lambda model: str(model)[:40])
def test_they_answer_as_the_classifier_does(model, classes):
  model = fitted(model, classes)
  weights: Any = weights_of(model)
  assert weights is not None and weights.outputs == classes
  np.testing.assert_array_equal(
      weights(ROWS).argmax(axis=1), model.predict(ROWS))
  if hasattr(model, "predict_proba"):
    scores = softmax(weights(ROWS)) if isinstance(weights, ReluNetwork) else (
        weights.probabilities(ROWS))
    np.testing.assert_allclose(scores, model.predict_proba(ROWS), atol=1e-12)


@pytest.mark.parametrize("model", [
    pipeline.make_pipeline(preprocessing.StandardScaler(),
                           tree.DecisionTreeClassifier()), svm.SVC(),
    neural_network.MLPClassifier((4, 4), max_iter=3),
    neural_network.MLPClassifier((4,), activation="tanh", max_iter=3),
    multiclass.OneVsRestClassifier(tree.DecisionTreeClassifier()),
    pipeline.make_pipeline(preprocessing.PolynomialFeatures(),
                           linear_model.LogisticRegression()),
    pipeline.make_pipeline(preprocessing.MinMaxScaler(clip=True),
                           linear_model.LogisticRegression()),
], ids=lambda model: str(model)[:40])
def test_others_have_none(model):
  assert weights_of(fitted(model)) is None
