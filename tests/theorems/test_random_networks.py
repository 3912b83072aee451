"""Theorem 3: random networks against closed forms found elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from wsl_extraction.errors import InputError
from wsl_extraction.theorems import random_networks
from wsl_extraction.theorems.random_networks import (
    ACTIVATIONS,
    RELU,
    SIGN,
    RandomNetwork,
    inputs_with_correlation,
    predicted,
)

DEPTH, NETWORKS, WIDTH = 8, 30, 400


def expected_product(function, rho):
  """E[s(u) s(v)] / E[s(u)^2] for Gaussians of correlation rho, by quadrature.

  In polar coordinates u = r cos t and v = r cos(t - arccos rho) the radius
  cancels, since s is homogeneous.
  """
  apart = np.arccos(rho)

  def mean(shift):
    kinks = np.array([np.pi / 2, 3 * np.pi / 2])
    points = sorted({*kinks, *((kinks + shift) % (2 * np.pi))})
    return integrate.quad(
        lambda t: function(np.cos(t)) * function(np.cos(t - shift)), 0,
        2 * np.pi, points=points, limit=200)[0]

  return mean(apart) / mean(0)


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.3, 0.9, 0.999])
def test_closed_forms(rho):
  assert random_networks.after_sign(rho) == pytest.approx(
      expected_product(np.sign, rho), abs=1e-6)
  assert random_networks.after_relu(rho) == pytest.approx(
      expected_product(lambda z: max(z, 0), rho), abs=1e-6)


def test_known_values():
  assert random_networks.after_sign(np.array(0.5)) == pytest.approx(1 / 3)
  assert random_networks.after_relu(np.array(0.0)) == pytest.approx(1 / np.pi)
  assert predicted(RELU, 1.0, 3).tolist() == [1, 1, 1, 1]
  np.testing.assert_allclose(predicted(SIGN, 1.0, 3), [1, 1, 1, 1])
  shrunk = predicted(SIGN, 1e-3, 4)
  np.testing.assert_allclose(
      shrunk, 1e-3 * (2 / np.pi)**np.arange(5), rtol=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_measured_within_three_standard_errors(activation, rho):
  rng = np.random.default_rng(1)
  measured = np.array([random_networks.correlations(
      activation, inputs_with_correlation(rho, 100, rng), WIDTH, DEPTH, rng)
      for _ in range(NETWORKS)])
  error = measured.std(axis=0, ddof=1) / NETWORKS**0.5
  law = predicted(activation, rho, DEPTH)[1:]
  assert (np.abs(measured.mean(axis=0) - law) <= 3 * error).all()
  # Fine enough to tell a layer from the next, until they converge.
  assert error.max() < 0.02


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.9, 1.0])
def test_inputs_have_the_correlation(rho):
  pair = inputs_with_correlation(rho, 40, np.random.default_rng(0))
  assert set(pair.ravel()) <= {0.0, 1.0}
  a, b = 2 * pair - 1
  assert a @ b / 40 == pytest.approx(rho)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("depth", [1, 6])
def test_labels_are_balanced_and_seeded(activation, depth):
  one, two = (RandomNetwork.draw(
      activation, 20, 32, depth, np.random.default_rng(4)) for _ in range(2))
  rows = np.random.default_rng(1).integers(0, 2, (4000, 20))
  labels = one(rows)
  assert set(labels) == {0, 1}
  assert 0.44 < labels.mean() < 0.56
  np.testing.assert_array_equal(labels, two(rows))
  np.testing.assert_array_equal(
      one.probabilities(rows).argmax(axis=1), labels)


def test_one_layer_by_hand():
  net = RandomNetwork(
      SIGN, [np.array([[1.0, -1.0], [0.5, 1.0]])], np.array([2.0, 1.0]), 0.0)
  # Inputs become (1, -1), (-1, -1): sums (0.5, -2), (-1.5, 0).
  rows = np.array([[1, 0], [0, 0]])
  assert net.heights(rows).tolist() == [1, -1]
  assert net(rows).tolist() == [1, 0]


def test_bad_input():
  with pytest.raises(InputError, match="no two inputs"):
    inputs_with_correlation(0.33, 10, np.random.default_rng(0))
  with pytest.raises(InputError, match="depth 0"):
    RandomNetwork.draw(RELU, 3, 3, 0, np.random.default_rng(0))
