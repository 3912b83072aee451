"""The parts of the extraction of ReLU networks, one by one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.two_layer_networks import weights
from wsl_extraction.attacks.relu import jacobians, signs
from wsl_extraction.attacks.relu.line_search import LineSearch, TooManyKinks
from wsl_extraction.attacks.relu.refine import refine
from wsl_extraction.attacks.relu.region import Region
from wsl_extraction.attacks.relu.smooth import Smooth, curves_within, is_curve
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.two_layer import TwoLayerNetwork


def random_network(h=6, d=5, k=3, seed=0):
  hidden, bias, outer, constant = weights(d, h, k, seed)
  linear = np.random.default_rng(seed + 1).standard_normal((d, k))
  return TwoLayerNetwork.of(hidden.T, bias, outer, linear, constant)


def search(f, confirm=False):
  line = LineSearch(
      f, lambda y, t: 2.0**-50 * (np.abs(y).max(axis=1) + 1 + t),
      np.random.default_rng(0), confirm)
  region = Region(np.zeros(3), np.ones(3), np.zeros(3))
  return line(region.grid(-1e8, 1e8), 1e-9)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 25),
       k=st.sampled_from([1, 2, 10]))
def test_all_kinks_of_a_line_are_found(seed, h, k):
  rng = np.random.default_rng(seed)
  w, b = rng.standard_normal(h), rng.standard_normal(h)
  a = rng.standard_normal((h, k))
  kinks = search(lambda t: np.maximum(np.outer(t, w) + b, 0) @ a)
  order = np.argsort(-b / w)
  true = (-b / w)[order]
  # Twins nearer than this may be merged, which is said.
  near = h > 1 and np.diff(true).min() < 1e-6
  if near or np.abs(true).max() > 1e6:
    return
  np.testing.assert_allclose(kinks.at, true, rtol=1e-6, atol=1e-8)
  np.testing.assert_allclose(
      kinks.jumps, (a * np.abs(w)[:, None])[order], rtol=1e-3, atol=1e-6)
  assert not kinks.merged.any()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), h=st.integers(1, 300),
       k=st.sampled_from([1, 3, 10]))
def test_no_sum_of_kinks_is_taken_for_a_curve(seed, h, k):
  rng = np.random.default_rng(seed)
  at, jumps = rng.uniform(-1, 1, h), rng.standard_normal((h, k))
  assert not curves_within(
      lambda t: np.maximum(t[:, None] - at, 0) @ jumps, -1, 1, 1e-13)


@pytest.mark.parametrize("function", [
    np.tanh, np.square, lambda t: np.logaddexp(0, 1e5 * t) / 1e5,
    lambda t: np.where(t > 0, t, np.expm1(np.minimum(t, 0)))])
def test_curves_are_told_however_sharp(function):
  assert curves_within(
      lambda t: function(t)[:, None] * [1.0, -2.0], -0.7, 1, 1e-15)
  assert not is_curve(np.maximum(np.linspace(-1, 1, 33), 0)[:, None], 1e-15)


def test_parallel_jumps_need_to_be_confirmed():
  at = np.array([0.3, 0.31, 0.33, 0.36])
  size = np.outer([1.0, -0.5, 2.0, 0.7], [1.0, 2.0, 3.0])
  kinks = search(lambda t: np.maximum(t[:, None] - at, 0) @ size, True)
  np.testing.assert_allclose(kinks.at, at, rtol=1e-9)


def test_a_curve_is_no_line():
  with pytest.raises(Smooth, match="bend smoothly"):
    search(lambda t: np.sin(np.outer(t, [1.0, 2.0])))


def test_noise_is_no_line_and_no_curve():
  rng = np.random.default_rng(4)
  with pytest.raises(TooManyKinks, match="not in straight"):
    search(lambda t: rng.standard_normal((len(t), 2)))


def test_signs_are_found_and_turn_units():
  network = random_network()
  plain = TwoLayerNetwork.of(network.normals, network.offsets, network.outer,
                  np.zeros_like(network.linear), network.constant)
  turned = plain.flipped(np.array([1, 0, 1, 1, 0, 0], bool))
  assert np.abs(turned.linear).max() > 0.1
  found = signs.solve(turned)
  assert found.integral and found.distance < 1e-10
  np.testing.assert_allclose(found.network.normals, plain.normals)
  assert not found.network.linear.any()


def test_a_linear_part_of_its_own_is_not_integral():
  found = signs.solve(random_network())
  assert not found.integral
  assert found.distance > 0.2 or found.remainder > 1e-5


@pytest.mark.parametrize("change", [
    lambda n: n.flipped(np.arange(6) % 2 == 0), TwoLayerNetwork.canonical])
def test_other_forms_are_the_same_function(change):
  network, x = random_network(), 3 * np.random.default_rng(1).standard_normal(
      (50, 5))
  np.testing.assert_allclose(change(network)(x), network(x), atol=1e-12)
  moved = change(network).of_inputs(np.arange(5.0), 2.0)
  np.testing.assert_allclose(moved(np.arange(5) + 2 * x), network(x),
                             atol=1e-12)


def test_gauss_newton_reaches_the_network():
  rng, network = np.random.default_rng(2), random_network()
  x = 2 * rng.standard_normal((200, 5))
  start = TwoLayerNetwork.of(*(
      array * (1 + 1e-4 * rng.standard_normal(array.shape)) for array in (
          network.normals, network.offsets, network.outer, network.linear,
          network.constant)))
  fitted = refine(start, x, network(x), np.full(200, 1e-14), True)
  fresh = 2 * rng.standard_normal((500, 5))
  assert np.abs(start(fresh) - network(fresh)).max() > 1e-5
  np.testing.assert_allclose(fitted(fresh), network(fresh), atol=1e-11)


def test_slopes_solve_for_units_and_linear_part():
  network = random_network()
  on = np.array([[0] * 6, [1] * 2 + [0] * 4, [1] * 4 + [0] * 2, [1] * 6], bool)
  made = jacobians.coefficients(on, network.outer, True)
  found = np.stack([  # the Jacobian of each pattern, written out
      network.linear + network.normals.T @ (mask[:, None] * network.outer)
      for mask in on])
  unknown, rest = jacobians.Slopes(made, np.ones(4)).solve(found)
  np.testing.assert_allclose(unknown[:6], network.normals, atol=1e-10)
  np.testing.assert_allclose(unknown[6:].T, network.linear, atol=1e-10)
  assert np.abs(rest).max() < 1e-10


def test_directions_are_orthonormal():
  turned = jacobians.directions(40, np.random.default_rng(0))
  np.testing.assert_allclose(turned @ turned.T, np.eye(40), atol=1e-12)


def test_base_points_have_few_kinks_between_them():
  at = np.sort(np.random.default_rng(3).standard_normal(23))
  places = jacobians.base_points(at, 4, -1e8, 1e8)
  between = np.diff(np.searchsorted(at, places))
  assert places[0] < at[0] and places[-1] > at[-1]
  assert between.max() <= 4 and between.sum() == 23


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_lines_and_samples_stay_in_the_box(seed):
  rng = np.random.default_rng(seed)
  region = Region(rng.uniform(0.2, 0.8, 6), np.full(6, 2.0), np.zeros(6),
                  box=(np.zeros(6), np.ones(6)))
  along = rng.standard_normal(6)
  along /= np.linalg.norm(along)
  for end in region.span(np.zeros(6), along):
    x = region.inputs(end * along[None])
    assert np.min(np.minimum(x, 1 - x)) == pytest.approx(0, abs=1e-12)
  assert region.contains(region.sample(40, rng)).all()


def test_a_keras_network_of_given_weights():
  hidden, bias, outer, constant = weights(12, 5, 3)
  linear = np.random.default_rng(4).standard_normal((12, 3))
  images = np.random.default_rng(5).standard_normal((7, 2, 3, 2))
  x = images.reshape(7, 12)
  exact = keras.backend.backend() != "jax"
  for lines in (None, linear):
    network = ReluNetwork((hidden, outer), (bias, constant), linear=lines)
    model, held = dense.two_layer(network, (2, 3, 2))
    expected = np.maximum(x @ hidden + bias, 0) @ outer + constant + (
        0 if lines is None else x @ lines)
    np.testing.assert_allclose(model.predict_on_batch(images), expected,
                               atol=1e-12 if exact else 1e-4)
    np.testing.assert_allclose(held(x), expected,
                               atol=1e-12 if exact else 1e-4)
    for array, kept in zip((hidden, bias, outer, constant),
                           model.get_weights()[:4], strict=True):
      assert (array == kept).all() == exact
  affine, _ = dense.two_layer(ReluNetwork(
      (np.zeros((12, 0)), np.zeros((0, 3))), (np.zeros(0), constant),
      linear=linear), (2, 3, 2))
  np.testing.assert_allclose(affine.predict_on_batch(images),
                             x @ linear + constant,
                             atol=1e-12 if exact else 1e-4)
