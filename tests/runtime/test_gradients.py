"""Derivatives by inputs, against closed forms and differences."""

from __future__ import annotations

import keras
import numpy as np
from keras.ops import convert_to_numpy as numbers

from wsl_extraction.runtime import gradients


def linear(d=5, c=3):
  model = keras.Sequential([keras.Input((d,)), keras.layers.Dense(c)])
  rng = np.random.default_rng(0)
  model.set_weights([rng.normal(size=(d, c)), rng.normal(size=c)])
  return model


def curved(d=5, c=3):
  rng = np.random.default_rng(1)
  model = keras.Sequential([
      keras.Input((d,)), keras.layers.Dense(7, activation="tanh"),
      keras.layers.Dense(c)])
  model.set_weights([rng.normal(size=one.shape) for one in model.weights])
  return model


def rows(n=600, d=5):
  return np.random.default_rng(2).normal(size=(n, d)).astype(np.float32)


def test_logits_of_a_linear_network_have_its_weights():
  model, classes = linear(), np.arange(600) % 3
  got = gradients.logit_gradients(model, rows(), classes)
  np.testing.assert_allclose(
      got, model.get_weights()[0].T[classes], rtol=1e-5)
  assert gradients.logit_gradients(
      model, rows(0), np.zeros(0, int)).shape == (0, 5)


def test_log_odds_agree_with_differences():
  model, classes = curved(), np.arange(4) % 3
  points, step = rows(4), 1e-3

  def log_odds(x):
    logits = numbers(model(x.astype(np.float32))).astype(np.float64)
    powers = np.exp(logits)
    own = powers[np.arange(4), classes]
    return np.log(own / (powers.sum(axis=1) - own))

  got = gradients.log_odds_gradients(model, points, classes)
  for feature in range(5):
    ahead, behind = points.astype(np.float64), points.astype(np.float64)
    ahead = ahead.copy()
    ahead[:, feature] += step
    behind[:, feature] -= step
    np.testing.assert_allclose(
        got[:, feature], (log_odds(ahead) - log_odds(behind)) / (2 * step),
        atol=2e-3)


def test_directions_stay_where_scores_are_one():
  """Scores round to one, and their derivatives to nothing."""
  model = linear()
  model.set_weights([1000 * one for one in model.get_weights()])
  points = rows(50)
  classes = numbers(model(points)).argmax(axis=1)
  got = gradients.log_odds_gradients(model, points, classes)
  assert (np.abs(got).max(axis=1) > 100).all()
  kernel = model.get_weights()[0]
  logits = np.sort(numbers(model(points)), axis=1)
  sure = logits[:, -2] - logits[:, -3] > 50  # one class is second
  order = np.argsort(numbers(model(points)), axis=1)
  expected = kernel.T[order[:, -1]] - kernel.T[order[:, -2]]
  np.testing.assert_allclose(got[sure], expected[sure], rtol=1e-3, atol=1)


def test_images_keep_their_shape():
  model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
                            keras.layers.Dense(2)])
  images = np.zeros((3, 4, 4, 1), np.uint8)
  got = gradients.logit_gradients(model, images, np.array([0, 1, 1]))
  assert got.shape == (3, 4, 4, 1) and got.dtype == np.float32
  np.testing.assert_allclose(
      got.reshape(3, -1), model.get_weights()[0].T[[0, 1, 1]], rtol=1e-6)
