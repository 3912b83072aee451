"""Victims that are asked in the wrong way are told of before a query."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import special, stats
from sklearn import datasets, ensemble, linear_model, svm

import wsl_extraction as wsl
from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import VictimWarning
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import inspection
from wsl_extraction.victims.diagnosis import is_guessing
from wsl_extraction.victims.function import Function
from wsl_extraction.victims.keras_file import KerasModel

DIGITS, LABELS = datasets.load_digits(return_X_y=True)
IMAGES = np.round(DIGITS / 16 * 255).astype(np.uint8).reshape(-1, 8, 8, 1)
MODEL = linear_model.LogisticRegression(max_iter=2000).fit(
    DIGITS[:900] / 16 * 20 - 10, LABELS[:900])


# The one guesses where pixels have another range, the other gets by.
MACHINE, TREES = (model.fit(DIGITS[:900] / 16, LABELS[:900]) for model in (
    svm.SVC(), ensemble.ExtraTreesClassifier(30, random_state=0)))


def of_unit_range(rows):
  """A victim of pixels from 0 to 1."""
  return special.softmax(
      MACHINE.decision_function(rows.reshape(len(rows), -1)), axis=1)


def doubts(function, images=IMAGES, labels=LABELS, **options):
  parts = parts_of(images[:900], (images[900:], labels[900:]))
  source = (function if isinstance(function, KerasModel) else Function(
      function, num_classes=10, **options))
  texts = []
  asked = inspection.check_victim(
      source.load(parts, Runtime()), parts, texts.append)
  return texts, asked


def test_a_victim_as_it_should_be_is_asked_about_a_few_rows():
  assert doubts(of_unit_range, value_range=(0, 1)) == ([], 16)


def test_another_range_is_named():
  (constant, text), asked = doubts(of_unit_range, value_range=(0, 255))
  assert "one and the same answer" in constant
  assert "with value_range=(0, 1) it is right on" in text
  assert asked > 128  # those that found the cause included
  assert not doubts(of_unit_range, value_range=(0, 1))[0]
  # Whatever the range was said to be.
  texts, _ = doubts(of_unit_range, value_range=(-1, 1))
  assert "with value_range=(0, 1) it is right on" in texts[-1]


def test_another_range_is_named_where_the_victim_is_right_all_the_same():
  def trees(rows):
    return TREES.predict_proba(rows.reshape(len(rows), -1))

  (text,), _ = doubts(trees, value_range=(0, 255))
  assert "with value_range=(0, 1) it is right on" in text
  assert "guessed" not in text
  assert not doubts(trees, value_range=(0, 1))[0]


def test_a_keras_model_that_rescales_by_itself():
  image = keras.Input((8, 8, 1))
  x = keras.layers.Flatten()(keras.layers.Rescaling(20 / 255, -10)(image))
  model = keras.Model(image, keras.layers.Dense(10)(x))
  model.layers[-1].set_weights([MODEL.coef_.T, MODEL.intercept_])
  assert doubts(KerasModel(model)) == ([], 16)
  texts, _ = doubts(KerasModel(model, value_range=(0, 1)))
  assert "with value_range=(0, 255) it is right on" in texts[-1]


def test_classes_in_another_order_are_named():
  order = np.roll(np.arange(10), 3)
  texts, _ = doubts(lambda rows: of_unit_range(rows)[:, order],
                    value_range=(0, 1))
  assert "as if it guessed among 10 classes" in texts[0]
  assert "check the order of the classes" in texts[0]


def test_channels_in_another_order_are_named():
  # Each class has its colour, and a bright blue is class 2.
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 1200)
  images = (np.eye(3)[labels][:, None, None] * 200 + rng.integers(
      0, 50, (1200, 4, 4, 3))).astype(np.uint8)

  def bgr(rows):
    scores = rows.mean(axis=(1, 2))[:, ::-1] / 255.0
    return np.pad(scores / scores.sum(axis=1, keepdims=True), ((0, 0), (0, 7)))

  texts, _ = doubts(bgr, images, labels)
  assert "channels in reverse order (BGR for RGB) it is right" in texts[0]


def test_constant_answers_are_named():
  texts, _ = doubts(lambda rows: np.tile([0.55] + [0.05] * 9, (len(rows), 1)))
  assert "one and the same answer to 128 different rows" in texts[0]
  assert "value_range" in texts[0] and "guessed" in texts[1]


def test_rows_of_0_to_1_in_a_range_of_0_to_255():
  texts, _ = doubts(of_unit_range, (IMAGES > 127).astype(np.uint8))
  assert "values from 0 to 1, and their range is 0 to 255" in texts[0]


def test_a_service_is_not_asked_to_find_the_cause():
  seen = []

  def counted(rows):
    seen.append(len(rows))
    return of_unit_range(rows)

  texts, asked = doubts(counted, remote=True)
  assert "check the range of its inputs (value_range), the o" in texts[-1]
  assert sum(seen) == asked == 16 + 128


def test_labels_alone_are_looked_at_too():
  texts, _ = doubts(lambda rows: of_unit_range(rows).argmax(1),
                    outputs="label", value_range=(0, 255))
  assert "with value_range=(0, 1) it is right on" in texts[0]
  assert not doubts(lambda rows: of_unit_range(rows).argmax(1),
                    outputs="label", value_range=(0, 1))[0]


def test_extract_warns_once_and_goes_on():
  # A victim that guesses, of vectors.
  x = np.random.default_rng(0).normal(size=(300, 4))
  y = np.random.default_rng(1).integers(0, 2, 300)
  with pytest.warns(VictimWarning, match="as if it guessed among 2") as caught:
    copy = wsl.extract(lambda rows: rows[:, :2] * 9, x, budget=20, test=(x, y))
  assert copy.queries == 20
  (warning,) = caught
  assert warning.filename == __file__


@pytest.mark.parametrize("rows, classes", [(128, 2), (128, 10), (20, 3)])
def test_chance_is_that_of_the_binomial_distribution(rows, classes):
  level = 0.05 if rows >= 64 else 0.15
  for right in range(rows + 1):
    likely = stats.binom.sf(right - 1, rows, 1 / classes)
    assert is_guessing(right, rows, classes) == (likely > level)
