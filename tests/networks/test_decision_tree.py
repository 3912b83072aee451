"""Trees as arrays, as Keras models, and as scikit-learn's."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from sklearn import datasets, tree

from fixtures import tree_victims
from wsl_extraction.errors import InputError
from wsl_extraction.networks import tree_model
from wsl_extraction.networks.decision_tree import DecisionTree, round_down
from wsl_extraction.oracle.spaces import Vectors

X, Y = datasets.load_iris(return_X_y=True)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)


def fitted(kind, rows=X, **settings):
  return kind(random_state=0, **settings).fit(rows, Y)


@pytest.mark.parametrize("rows", [X, HOLES], ids=["whole", "missing"])
def test_it_is_the_tree_of_scikit_learn_and_back(rows):
  model = fitted(tree.DecisionTreeClassifier, rows)
  copy = DecisionTree.of_sklearn(model)
  assert copy.depth == model.get_depth()
  assert copy.leaf_count == model.get_n_leaves()
  np.testing.assert_array_equal(copy.leaves(rows), model.apply(rows))
  again = copy.to_sklearn()
  np.testing.assert_array_equal(again.predict_proba(rows),
                                model.predict_proba(rows))
  np.testing.assert_array_equal(again.apply(rows), model.apply(rows))


@pytest.mark.parametrize("rows", [X, HOLES], ids=["whole", "missing"])
def test_the_keras_model_agrees_also_after_loading(rows, tmp_path):
  model = fitted(tree.DecisionTreeRegressor, rows)
  network = tree_model.keras_model(DecisionTree.of_sklearn(model), (4,))
  network.save(tmp_path / "tree.keras")
  loaded = keras.saving.load_model(tmp_path / "tree.keras", safe_mode=True)
  for one in (network, loaded):
    np.testing.assert_allclose(one.predict(rows, verbose=0)[:, 0],
                               model.predict(rows), rtol=1e-6)


def test_rows_at_and_next_to_thresholds_go_the_same_way():
  model = fitted(tree.DecisionTreeClassifier)
  copy = DecisionTree.of_sklearn(model)
  network = tree_model.keras_model(copy, (4,))
  inner = copy.feature >= 0
  rows = np.repeat(X[:1].astype(np.float32), 3 * inner.sum(), axis=0)
  for place, (feature, threshold) in enumerate(zip(
      copy.feature[inner], copy.threshold[inner], strict=True)):
    for more, end in enumerate((-np.inf, None, np.inf)):
      rows[3 * place + more, feature] = threshold if end is None else (
          np.nextafter(threshold, np.float32(end)))
  np.testing.assert_allclose(network.predict(rows, verbose=0),
                             model.predict_proba(rows), rtol=1e-6)


def test_a_tree_of_one_leaf():
  one = DecisionTree.constant(3, np.array([0.25, 0.75]))
  rows = np.zeros((2, 3))
  np.testing.assert_array_equal(
      tree_model.keras_model(one, (3,)).predict(rows, verbose=0),
      one(rows))
  np.testing.assert_array_equal(one.to_sklearn().predict_proba(rows), one(rows))


def test_logits_of_scores_keep_the_largest():
  scores = np.array([[0.3, 0.1 + 0.2, 0.4 - 1e-17], [0.0, 0.0, 1.0],
                     [0.5, np.nextafter(0.5, 1), 0.0]])
  logits = tree_model.log_scores(scores)
  assert np.isfinite(logits).all()
  np.testing.assert_array_equal(logits.argmax(1), scores.argmax(1))
  np.testing.assert_allclose(np.exp(logits), scores, atol=1e-6)


def test_thresholds_are_rounded_down():
  values = np.array([0.1, -0.1, 1.0, np.pi, -np.pi, 1e-40])
  rounded = round_down(values)
  assert (rounded <= values).all()
  assert (np.nextafter(rounded, np.float32(np.inf)) > values).all()


@pytest.mark.parametrize("change", [
    {"left": [0, -1, -1]}, {"feature": [4, -1, -1]}, {"values": [[1.0]]}])
def test_arrays_that_are_no_tree_are_refused(change):
  whole = tree_victims.grown(0, Vectors(4, 0.0, 1.0), 2)
  with pytest.raises(InputError, match="tree"):
    dataclasses.replace(whole, **change)
