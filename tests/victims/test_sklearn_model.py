"""Classifiers of scikit-learn as victims: they answer as by themselves."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sklearn import (
    datasets,
    linear_model,
    pipeline,
    preprocessing,
    svm,
    tree,
)

from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import TopK
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.sklearn_model import Sklearn

X, Y = datasets.load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]


def fitted(model=None, labels=WORDS):
  return (model or tree.DecisionTreeClassifier(random_state=0)).fit(X, labels)


def loaded(model, pool=X, num_classes=None):
  return Sklearn(estimator=model).load(
      parts_of(pool, num_classes=num_classes), Runtime())


def test_probabilities_are_the_classifiers():
  model = fitted(linear_model.LogisticRegression(max_iter=1000))
  victim = loaded(model)
  assert set(victim.quantities) == {Quantity.PROBABILITIES}
  assert (victim.space.shape, victim.outputs) == ((4,), 3)
  np.testing.assert_array_equal(victim.predict(X), model.predict_proba(X))
  response = Oracle(Live(victim, TopK(2), is_owner=True)).query(X)
  np.testing.assert_array_equal(
      model.classes_[response.top_classes], model.predict(X))


def test_without_probabilities_rows_are_one_hot():
  model = fitted(svm.LinearSVC(random_state=0))
  assert not hasattr(model, "predict_proba")
  given = loaded(model).predict(X)
  assert given.dtype == np.float64
  np.testing.assert_array_equal(given.sum(axis=1), 1)
  np.testing.assert_array_equal(
      model.classes_[given.argmax(axis=1)], model.predict(X))


def test_images_are_flattened():
  images, labels = datasets.load_digits(return_X_y=True)
  model = linear_model.LogisticRegression(max_iter=3000).fit(
      images[:300], labels[:300])
  victim = loaded(model, images.reshape(-1, 8, 8, 1))
  assert victim.space.shape == (8, 8, 1)
  np.testing.assert_array_equal(
      victim.predict(images.reshape(-1, 8, 8, 1)), model.predict_proba(images))


def test_other_classifiers_have_other_fingerprints():
  models = [fitted(), fitted(labels=WORDS[::-1]),
            fitted(tree.DecisionTreeClassifier(max_depth=2, random_state=0))]
  assert len({loaded(model).fingerprint for model in models}) == 3
  assert loaded(fitted()).fingerprint == loaded(models[0]).fingerprint


def test_data_of_another_kind():
  with pytest.raises(InputError, match="takes 4 features, the data has 3; use"):
    loaded(fitted(), X[:, :3])
  with pytest.raises(InputError, match="has 3 classes, the data 5; use"):
    loaded(fitted(), num_classes=5)
  assert loaded(fitted(), num_classes=3).outputs == 3


def test_classifiers_made_of_functions_of_ones_own():
  models = [pipeline.make_pipeline(
      preprocessing.FunctionTransformer(function),
      tree.DecisionTreeClassifier(random_state=0)).fit(X, WORDS)
            for function in (lambda rows: rows + 1, lambda rows: 2 * rows)]
  for model in models:
    np.testing.assert_array_equal(
        loaded(model).predict(X), model.predict_proba(X))
  assert loaded(models[0]).fingerprint != loaded(models[1]).fingerprint
  models[0].lock = threading.Lock()
  with pytest.raises(InputError, match=r"cannot be pickled \(.*lock.*; give"):
    loaded(models[0])


def test_what_is_no_answer_stays_charged():
  model = fitted()
  model.predict_proba = lambda rows: np.ones((len(rows), 2))
  oracle = Oracle(Live(loaded(model), TopK(1)), 200)
  with pytest.raises(VictimFailed, match="failed to answer a batch of 150"):
    oracle.query(X)
  assert oracle.ledger.rows == 150


@pytest.mark.parametrize("estimator", [
    tree.DecisionTreeClassifier(), tree.DecisionTreeClassifier,
    linear_model.LinearRegression(), "tree", None])
def test_what_is_no_fitted_classifier(estimator):
  with pytest.raises(InputError, match=r"^Sklearn\.estimator is .*; give a fi"):
    Sklearn(estimator=estimator)
