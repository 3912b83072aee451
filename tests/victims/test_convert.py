"""What is given as a victim, and the source that it becomes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn import linear_model

from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.victims import convert
from wsl_extraction.victims.function import Function
from wsl_extraction.victims.keras_file import KerasModel
from wsl_extraction.victims.sklearn_model import Sklearn

X = np.random.default_rng(0).normal(size=(30, 4))


def network(activation=None):
  image = keras.Input((4,))
  return keras.Model(image, keras.layers.Dense(3, activation)(image))


def softmax(rows):
  powers = np.exp(rows[:, :3])
  return powers / powers.sum(axis=1, keepdims=True)


def classifier():
  return linear_model.LogisticRegression().fit(X, np.arange(30) % 3)


@pytest.mark.parametrize("activation, outputs", [
    (None, "logits"), ("softmax", "probabilities")])
def test_the_answers_of_a_model_tell_what_they_are(
    tmp_path, activation, outputs):
  model = network(activation)
  model.save(tmp_path / "m.keras")
  for given in (model, tmp_path / "m.keras", str(tmp_path / "m.keras")):
    source, _ = convert.source_of(given, X[:4])
    assert type(source) is KerasModel and source.outputs == outputs
    np.testing.assert_array_equal(
        source.model.get_weights()[0], model.get_weights()[0])
  # What is said counts more than what it looks like.
  for said in ("logits", "probabilities"):
    source, _ = convert.source_of(model, X[:4], said)
    assert isinstance(source, KerasModel) and source.outputs == said


@pytest.mark.parametrize("function, outputs", [
    (softmax, "probabilities"), (lambda rows: rows[:, :3], "logits"),
    # 0 and 1 may be the answers of a needle network.
    (lambda rows: np.eye(3)[np.arange(len(rows)) % 3], "logits")])
def test_the_answers_of_a_function_tell_what_they_are(function, outputs):
  source, _ = convert.source_of(function, X[:4])
  assert source == Function(function, outputs=outputs, num_classes=3)
  source, _ = convert.source_of(function, X[:4], "logits")
  assert isinstance(source, Function) and source.outputs == "logits"


def test_a_function_that_works_in_place_does_not_change_the_rows():
  def greedy(rows):
    rows *= 0
    return rows[:, :2]

  before = X.copy()
  convert.source_of(greedy, X)
  np.testing.assert_array_equal(X, before)


def test_a_classifier_and_a_source():
  model = classifier()
  source, _ = convert.source_of(model, X[:4])
  assert isinstance(source, Sklearn) and source.estimator is model
  assert convert.source_of(source, X[:4]) == (source, 0)


@pytest.mark.parametrize("victim", [
    None, 3, KerasModel, linear_model.LogisticRegression(), [classifier]])
def test_what_cannot_be_a_victim(victim):
  with pytest.raises(InputError, match=r"^victim is .*; give the path of a"):
    convert.source_of(victim, X[:4])


@pytest.mark.parametrize("answer", [
    lambda rows: rows[:-1], lambda rows: rows[:, 0],
    lambda rows: np.full(rows.shape, "a"), lambda rows: rows > 0])
def test_what_is_no_answer(answer):
  with pytest.raises(InputError, match=r"answered 4 rows with shape .*maps \["):
    convert.source_of(answer, X[:4])


def test_labels_become_the_numbers_of_classes():
  source = Sklearn(estimator=linear_model.LogisticRegression().fit(
      X, np.array(["b", "a", "c"])[np.arange(30) % 3]))
  numbers = convert.label_numbers(source, np.array(["a", "c", "b", "a"]))
  assert (numbers.tolist(), numbers.dtype) == ([0, 2, 1, 0], np.int32)
  for strange in ("0", "bb", "d"):
    with pytest.raises(InputError, match=f"'{strange}', which is no class"):
      convert.label_numbers(source, np.array(["a", strange]))
  function = Function(softmax, num_classes=3)
  assert convert.label_numbers(function, np.array([2, 0])).tolist() == [2, 0]
  with pytest.raises(InputError, match="dtype float64; give the numbers"):
    convert.label_numbers(function, np.array([2.0]))


def test_rows_of_the_owner_are_the_test_set_or_made_up():
  parts = parts_of(X, X[10:], value_range=(-9, 9))
  np.testing.assert_array_equal(convert.probe_rows(parts, 3), X[10:13])
  bare = parts_of(X, value_range=(-9, 9))
  rows = convert.probe_rows(bare, 5)
  assert rows.shape == (5, 4)
  assert (np.abs(bare.space.checked(rows)) <= 9).all()
  assert not (rows[:, None] == X).any()
