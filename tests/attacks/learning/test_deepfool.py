"""DeepFool's perturbations, against the closed form of linear networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as numbers

from fixtures import learning_attacks
from wsl_extraction.attacks.learning import deepfool, surrogate_views
from wsl_extraction.networks import dense


def linear(weights, bias):
  model = keras.Sequential([
      keras.Input((len(weights),)), keras.layers.Dense(len(bias))])
  model.set_weights([np.asarray(weights), np.asarray(bias)])
  return model


def test_the_distance_to_the_nearest_boundary_of_a_linear_network():
  rng = np.random.default_rng(0)
  weights, bias = rng.normal(size=(6, 4)), rng.normal(size=4)
  rows = rng.normal(size=(300, 6)).astype(np.float32)
  logits = rows @ weights + bias
  expected = []
  for row in logits:
    first = row.argmax()
    expected.append(min(
        (row[first] - row[k]) / np.linalg.norm(
            weights[:, first] - weights[:, k]) for k in range(4) if k != first))
  got = deepfool.perturbations(linear(weights, bias), rows)
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def test_a_perturbation_of_that_length_changes_the_class_of_a_curved_one():
  """On a line there is nothing to search: bisection finds the boundary."""
  model = dense.mlp((1,), 2, (-1.0, 1.0), seed=3, hidden=(8, 8))
  rows = np.linspace(-1, 1, 41, dtype=np.float32)[:, None]
  grid = np.linspace(-4, 4, 80_001, dtype=np.float32)[:, None]
  classes = numbers(model(grid)).argmax(axis=1)
  changes = grid[np.flatnonzero(np.diff(classes)), 0]
  assert len(changes)
  got = deepfool.perturbations(model, rows, most=50)
  nearest = np.abs(rows - changes).min(axis=1)
  # It may stop at a boundary that is not the nearest, not before one.
  assert (got >= nearest * 0.97 - 1e-3).all()
  assert (got <= nearest * 1.05 + 1e-3).mean() > 0.9


@pytest.mark.parametrize("overshoot, length", [(0.25, 1.0), (0.02, 1.18)])
def test_a_step_overshoots_and_is_as_long_as_without(overshoot, length):
  """From 0 the boundary seems to be at 1, and is at 1.2 behind a kink at 0.9.

  1.25 lies beyond it. From 1.02, where the second logit is -0.06 and its slope
  1/3, a step of 0.18 leads to 1.02 * 1.18 > 1.2.
  """
  model = keras.Sequential([
      keras.Input((1,)), keras.layers.Dense(2, activation="relu"),
      keras.layers.Dense(2)])
  model.set_weights([np.array([[1.0, 1.0]]), np.array([10.0, -0.9]),
                     np.array([[0.0, 1.0], [0.0, -2 / 3]]),
                     np.array([0.0, -11.0])])
  got = deepfool.perturbations(model, np.zeros((1, 1)), overshoot=overshoot)
  np.testing.assert_allclose(got, [length], rtol=1e-4)


def test_no_gradient_is_no_way():
  assert np.isinf(deepfool.perturbations(
      linear(np.zeros((2, 3)), [0.0, 1.0, 2.0]), np.ones((2, 2)))).all()


@pytest.mark.parametrize("reads", ["features", "perturbations"])
def test_views_are_of_all_rows(reads):
  network = learning_attacks.network((8, 8, 1), 3, (0, 255), seed=0)
  rows = np.asarray(learning_attacks.pool(70).rows)
  probabilities, features = surrogate_views.look(network, rows, reads)
  logits = numbers(network(rows))
  powers = np.exp(logits - logits.max(axis=1, keepdims=True))
  np.testing.assert_allclose(
      probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-4)
  assert features.shape == (70, 4 if reads == "features" else 1)
  if reads == "perturbations":
    np.testing.assert_allclose(
        features[:, 0], deepfool.perturbations(network, rows), rtol=1e-5)
