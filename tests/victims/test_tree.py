"""Trees of scikit-learn as victims: leaves, absent features, regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets, pipeline, preprocessing, tree

import wsl_extraction as wsl
from wsl_extraction.attacks.tree.path_finding import PathFinding
from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.reveal_names import parse
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.tree import RegressionTree

X, Y = datasets.load_iris(return_X_y=True)
MODEL = tree.DecisionTreeClassifier(max_leaf_nodes=5, random_state=0).fit(X, Y)


def oracle(source, reveal):
  return Oracle(Live(source.load(parts_of(X, None, None), Runtime()),
                     parse("reveal", reveal)))


def test_leaves_are_those_of_scikit_learn():
  response = oracle(wsl.Sklearn(MODEL), "leaf + scores").query(X)
  np.testing.assert_array_equal(response.leaves, MODEL.apply(X))
  np.testing.assert_array_equal(response.values, MODEL.predict_proba(X))
  piped = pipeline.make_pipeline(preprocessing.StandardScaler(), MODEL)
  piped.fit(X, Y)
  response = oracle(wsl.Sklearn(piped), "leaf + label").query(X)
  np.testing.assert_array_equal(
      response.leaves, MODEL.apply(piped[:-1].transform(X)))
  MODEL.fit(X, Y)


def test_rows_with_absent_features_stop_at_inner_nodes():
  asked = oracle(wsl.Sklearn(MODEL), "partial + scores")
  nothing = asked.query(np.full((1, 4), np.nan))
  assert nothing.leaves == [0]
  np.testing.assert_allclose(nothing.values[0], [1 / 3, 1 / 3, 1 / 3])
  root = MODEL.tree_.feature[0]
  row = np.full((2, 4), np.nan)
  row[:, root] = MODEL.tree_.threshold[0] + np.array([-0.1, 0.1])
  # The right child compares the same feature again.
  left, right = MODEL.tree_.children_left, MODEL.tree_.children_right
  assert MODEL.tree_.feature[right[0]] == root
  np.testing.assert_array_equal(
      asked.query(row).leaves, [left[0], left[right[0]]])
  np.testing.assert_array_equal(asked.query(X).leaves, MODEL.apply(X))


def test_a_regression_tree_gives_numbers_and_is_copied_by_name():
  x, y = datasets.load_diabetes(return_X_y=True)
  model = tree.DecisionTreeRegressor(max_leaf_nodes=8, random_state=0).fit(x, y)
  copy = wsl.extract(model, x[:50], reveal="leaf + logits", test=x[50:150],
                     attack=PathFinding())
  assert copy.status == "DONE"
  assert copy.evaluation and copy.evaluation.certificate
  assert "the trees are equal on every row: all 8" in str(copy)
  np.testing.assert_allclose(
      copy.surrogate.predict(x, verbose=0)[:, 0], model.predict(x), rtol=1e-6)


@pytest.mark.parametrize("model", [
    tree.DecisionTreeRegressor(), MODEL, "tree", None])
def test_what_is_no_regression_tree_is_refused(model):
  with pytest.raises(InputError, match=r"RegressionTree.estimator is .*fitted"):
    RegressionTree(model)


def test_another_number_of_features_or_targets_is_refused():
  narrow = tree.DecisionTreeRegressor().fit(X[:, :2], Y)
  with pytest.raises(InputError, match="the tree takes 2 features"):
    oracle(RegressionTree(narrow), "leaf")
  both = tree.DecisionTreeRegressor().fit(X, np.stack([Y, Y], axis=1))
  with pytest.raises(InputError, match="2 targets"):
    oracle(RegressionTree(both), "leaf")
