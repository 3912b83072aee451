"""Classifiers that scikit-learn trains here, and tables as they saw them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn import compose, ensemble, linear_model, pipeline, preprocessing

from wsl_extraction.data import datasets
from wsl_extraction.data.columns import Columns
from wsl_extraction.data.split import Parts, Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.sklearn_model import Sklearn
from wsl_extraction.victims.sklearn_trained import SklearnTrained

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({
    "age": RNG.integers(18, 80, 120), "job": RNG.choice(["a", "b", "c"], 120),
    "pay": RNG.normal(3e4, 1e4, 120)})
FRAME["rich"] = np.where(FRAME["pay"] + 5e3 * (FRAME["job"] == "b") > 3e4,
                         "yes", "no")


def boosting():
  return ensemble.GradientBoostingClassifier(n_estimators=5)


def columnwise():
  """What people have: texts are encoded inside, columns chosen by name."""
  return pipeline.make_pipeline(compose.make_column_transformer(
      (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["job"]),
      (preprocessing.StandardScaler(), ["pay", "age"])),
      linear_model.LogisticRegression())


@pytest.fixture(name="parts", scope="module")
def fixture_parts(tmp_path_factory) -> Parts:
  path = tmp_path_factory.mktemp("tables") / "t.csv"
  FRAME.to_csv(path, index=False)
  dataset = datasets.load(str(path), columns=Columns(label="rich"))
  return Split(private=60, pool=40, test=20)(dataset)


def read_again(parts: Parts, rows: np.ndarray) -> pd.DataFrame:
  """The rows of the table of which these are, as pandas has them."""
  whole = FRAME.drop(columns="rich")
  codes = whole.assign(job=whole["job"].map({"a": 0, "b": 1, "c": 2}))
  places = [int(np.flatnonzero((codes.to_numpy() == row).all(axis=1))[0])
            for row in rows]
  return whole.iloc[places]


def test_it_learns_the_private_rows_as_they_are(parts):
  victim = SklearnTrained(estimator=boosting).load(parts, Runtime())
  model = ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0)
  model.fit(parts.private.rows, parts.private.labels)
  test = np.asarray(parts.test.rows)
  np.testing.assert_array_equal(
      victim.predict(test), model.predict_proba(test))


def test_its_fingerprint_follows_from_what_it_depends_on(parts):
  def fingerprint(parts=parts, estimator=boosting, **settings):
    return SklearnTrained(estimator=estimator, **settings).load(
        parts, Runtime()).fingerprint

  other = dataclasses.replace(parts, private=parts.private.take(np.arange(50)))
  prints = [fingerprint(), fingerprint(other), fingerprint(seed=1),
            fingerprint(estimator=ensemble.GradientBoostingClassifier)]
  assert fingerprint() == prints[0]
  assert len(set(prints)) == 4


def test_a_pipeline_gets_columns_by_name_and_categories_as_texts(parts):
  victim = SklearnTrained(estimator=columnwise, frame=True).load(
      parts, Runtime())
  private = read_again(parts, np.asarray(parts.private.rows))
  names = np.array(["no", "yes"])[parts.private.known_labels]
  model = columnwise().fit(private, names)
  test = np.asarray(parts.test.rows)
  expected = model.predict_proba(read_again(parts, test))
  np.testing.assert_allclose(victim.predict(test), expected, rtol=1e-9)
  # So does one that its owner has fitted, on columns in another order.
  model.fit(private[["pay", "job", "age"]], names)
  np.testing.assert_allclose(
      Sklearn(model).load(parts, Runtime()).predict(test),
      model.predict_proba(read_again(parts, test)[["pay", "job", "age"]]))


def test_a_classifier_of_other_columns_is_refused(parts):
  frame = FRAME[["age", "pay"]].rename(columns={"pay": "wage"})
  model = linear_model.LogisticRegression().fit(frame, FRAME["rich"])
  with pytest.raises(InputError, match="fitted on a column 'wage', which"):
    Sklearn(model).load(parts, Runtime())


def test_named_features_draw_no_warning_for_plain_arrays():
  dataset = datasets.load("iris")
  frame = pd.DataFrame(dataset.train.rows, columns=["a", "b", "c", "d"])
  model = linear_model.LogisticRegression(max_iter=1000).fit(
      frame, dataset.train.known_labels)
  parts = Split(private=10, pool=10, test=10)(dataset)
  plain = dataclasses.replace(parts, space=Vectors(4))
  test = np.asarray(parts.test.rows)
  np.testing.assert_array_equal(
      Sklearn(model).load(plain, Runtime()).predict(test),
      model.predict_proba(pd.DataFrame(test, columns=["a", "b", "c", "d"])))


@pytest.mark.parametrize(("change", "settings", "message"), [
    ({"private": slice(0)}, {}, "a private part of 0 examples; raise Split"),
    ({}, {"estimator": lambda: ensemble.GradientBoostingClassifier(depth=2)},
     "estimator cannot be made: .*'depth'; mend its parameters"),
    ({}, {"estimator": lambda: boosting().set_params(n_estimators=-1)},
     r"GradientBoostingClassifier cannot be trained .*n_estimators.*; mend"),
    ({"rows": np.nan}, {}, "missing values: take a classifier that handles"),
    ({"labels": 0}, {}, "the private part shows 1 of the data set's 2 classes"),
])
def test_what_cannot_be_trained_is_one_line(parts, change, settings, message):
  private = parts.private
  if "private" in change:
    private = private.take(np.arange(0))
  if "rows" in change:
    rows = np.array(private.rows)
    rows[0, 0] = np.nan
    private = dataclasses.replace(private, rows=rows)
  if "labels" in change:
    private = dataclasses.replace(private, labels=private.labels * 0)
  source = SklearnTrained(**{"estimator": boosting, **settings})
  with pytest.raises(InputError, match=message) as refused:
    source.load(dataclasses.replace(parts, private=private), Runtime())
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize("estimator", [boosting(), None, "GradientBoosting"])
def test_the_estimator_is_a_reference(estimator):
  with pytest.raises(InputError, match=r"^SklearnTrained\.estimator is"):
    SklearnTrained(estimator=estimator)


def test_classes_in_another_order_are_refused(parts):
  model = boosting().fit(parts.private.rows, np.where(
      parts.private.known_labels == 0, "9", "10"))
  named = dataclasses.replace(parts, class_names=("9", "10"))
  with pytest.raises(InputError, match="in the order 10, 9, the data in 9, 10"):
    Sklearn(model).load(named, Runtime())


def test_what_has_no_range_cannot_be_brought_into_another(parts):
  model = boosting().fit(parts.private.rows, parts.private.known_labels)
  with pytest.raises(InputError, match=r"^value_range is \(0, 1\); give None"):
    Sklearn(model, value_range=(0, 1)).load(parts, Runtime())
