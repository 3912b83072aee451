"""Classifiers of scikit-learn as victims: they answer as by themselves."""

from __future__ import annotations

import pickle
import threading
import zipfile
from typing import Any

import numpy as np
import pytest
from sklearn import (
    datasets,
    ensemble,
    linear_model,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from skops import io

from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import TopK
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import convert
from wsl_extraction.victims.sklearn_model import Sklearn, SklearnFile

X, Y = datasets.load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]


def fitted(model=None, labels=WORDS):
  if model is None:
    model = tree.DecisionTreeClassifier(random_state=0)
  return model.fit(X, labels)


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


@pytest.mark.parametrize("labels", [WORDS, WORDS == "setosa"])
@pytest.mark.parametrize("model", [
    svm.LinearSVC(random_state=0), linear_model.RidgeClassifier(),
    linear_model.SGDClassifier(random_state=0)])
def test_without_probabilities_decisions_are_logits(model, labels):
  model = fitted(model, labels)
  assert not hasattr(model, "predict_proba")
  victim = loaded(model)
  assert set(victim.quantities) == {Quantity.LOGITS}
  response = Oracle(Live(victim, TopK(2), is_owner=True)).query(X)
  np.testing.assert_array_equal(
      model.classes_[response.top_classes], model.predict(X))


@pytest.mark.parametrize("model", [
    svm.SVC(decision_function_shape="ovo"), ensemble.VotingClassifier([
        ("tree", tree.DecisionTreeClassifier(random_state=0)),
        ("line", svm.LinearSVC(random_state=0))])])
def test_without_scores_of_classes_rows_are_one_hot(model):
  # With three classes there are as many pairs of them.
  model = fitted(model)
  victim = loaded(model)
  given = victim.predict(X)
  assert set(victim.quantities) == {Quantity.PROBABILITIES}
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


# Skops trusts it only where told: a made-up one may read beyond its arrays.
TREE = "sklearn.tree._tree.Tree"


class Own(tree.DecisionTreeClassifier):
  """A type that nobody knows to be harmless."""


def saved(path, model):
  io.dump(model, path)
  return str(path)


def test_a_skops_file_answers_as_its_classifier(tmp_path):
  model = fitted(ensemble.GradientBoostingClassifier(
      n_estimators=5, random_state=0))
  path = saved(tmp_path / "m.skops", model)
  source = SklearnFile(path, trusted=[TREE])
  victim = source.load(parts_of(X), Runtime())
  np.testing.assert_array_equal(victim.predict(X), model.predict_proba(X))
  assert victim.fingerprint == source.load(
      parts_of(X), Runtime()).fingerprint
  line = saved(tmp_path / "line.skops", fitted(svm.LinearSVC(random_state=0)))
  assert isinstance(convert.source_of(line, X[:4])[0], Sklearn)


def test_untrusted_types_are_named_and_not_loaded(tmp_path):
  path = saved(tmp_path / "m.skops", fitted(Own(random_state=0)))
  name = f"{Own.__module__}.Own"
  with pytest.raises(InputError, match=rf"not trusted, {TREE}, {name}; look"):
    SklearnFile(path).load(parts_of(X), Runtime())
  with pytest.raises(InputError, match=rf"not trusted, {name}; look at them"):
    SklearnFile(path, trusted=(TREE,)).load(parts_of(X), Runtime())
  victim = SklearnFile(path, trusted=(name, TREE)).load(parts_of(X), Runtime())
  assert victim.outputs == 3


def test_a_pickle_is_refused_and_not_run(tmp_path):
  mark = tmp_path / "ran"

  class Code:
    def __reduce__(self):
      return open, (str(mark), "w")

  (tmp_path / "m.skops").write_bytes(pickle.dumps(Code()))
  with pytest.raises(InputError, match=r"is no \.skops file; write it with"):
    SklearnFile(str(tmp_path / "m.skops")).load(parts_of(X), Runtime())
  assert not mark.exists()


def test_missing_damaged_and_foreign_files(tmp_path):
  def refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
      SklearnFile(str(path)).load(parts_of(X), Runtime())
    assert "\n" not in str(caught.value)

  refused(tmp_path / "none.skops", "there is no model file .*none.skops; give")
  path = tmp_path / "m.skops"
  saved(path, linear_model.LinearRegression().fit(X, Y))
  refused(path, "holds LinearRegression, which is no fitted classifier")
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("schema.json", "{")
  refused(path, "cannot be loaded as a .skops file")
  wrong: list[dict[str, Any]] = [
      {"path": ""}, {"path": "m", "trusted": "a"},
      {"path": "m", "value_range": 3}]
  for settings in wrong:
    with pytest.raises(InputError, match=r"^SklearnFile\.\w+ is .*; give"):
      SklearnFile(**settings)


def test_a_classifier_may_want_another_range():
  model = fitted(svm.LinearSVC(random_state=0))
  pool = np.clip(X * 25, 0, 255)
  parts = parts_of(pool, value_range=(0, 255))
  victim = Sklearn(model, value_range=(0, 10.2)).load(parts, Runtime())
  np.testing.assert_allclose(
      victim.predict(pool), model.decision_function(pool / 25), atol=1e-4)
