"""The parts of the extraction of ReLU networks, one by one."""

from __future__ import annotations

import json

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
from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.report import progress, run_table
from wsl_extraction.victims.perceptron import Perceptron
from wsl_extraction.victims.victim import Surroundings


def random_network(h=6, d=5, k=3, seed=0):
  hidden, bias, outer, constant = weights(d, h, k, seed)
  linear = np.random.default_rng(seed + 1).standard_normal((d, k))
  return TwoLayerNetwork.of(hidden.T, bias, outer, linear, constant)


def search(f, confirm=False):
  line = LineSearch(
      f, lambda y, t: 2.0**-50 * (np.abs(y).max(axis=1) + 1 + t),
      np.random.default_rng(0), confirm)
  return line(Region(np.zeros(3), 1.0, np.zeros(3)).grid(-1e8, 1e8), 1e-9)


@settings(max_examples=60, deadline=None)
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


def test_parallel_jumps_need_to_be_confirmed():
  at = np.array([0.3, 0.31, 0.33, 0.36])
  size = np.outer([1.0, -0.5, 2.0, 0.7], [1.0, 2.0, 3.0])
  kinks = search(lambda t: np.maximum(t[:, None] - at, 0) @ size, True)
  np.testing.assert_allclose(kinks.at, at, rtol=1e-9)


def test_a_curve_is_no_line():
  with pytest.raises(TooManyKinks, match="not in straight"):
    search(lambda t: np.sin(np.outer(t, [1.0, 2.0])))


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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_lines_and_samples_stay_in_the_box(seed):
  rng = np.random.default_rng(seed)
  region = Region(rng.uniform(0.2, 0.8, 6), 2.0, np.zeros(6), box=(0.0, 1.0))
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


@pytest.fixture
def dataset():
  from sklearn.datasets import load_digits
  digits = load_digits()
  images = (digits.images * 15).astype(np.uint8)[..., None]
  return Dataset("d", Examples(images, digits.target.astype(np.int32)), None,
                 tuple("0123456789"), (0.0, 255.0))


def test_a_perceptron_learns_and_is_found_again(tmp_path, dataset):
  parts = Split(private=300, pool=20, test=200)(dataset)
  made = Perceptron(hidden=24, max_iter=150)
  first, again = (made(dataset, parts, Surroundings(tmp_path))
                  for _ in range(2))
  logits = first.predict(parts.test.rows)
  assert logits.dtype == np.float64
  assert (logits.argmax(1) == parts.test.labels).mean() > 0.8
  np.testing.assert_array_equal(logits, again.predict(parts.test.rows))
  assert first.fingerprint == again.fingerprint
  assert len(list((tmp_path / "victims").glob("*.npz"))) == 1
  single = Perceptron(hidden=24, max_iter=150, dtype="float32")(
      dataset, parts, Surroundings(tmp_path))
  assert single.fingerprint != first.fingerprint
  assert single.predict(parts.test.rows).dtype == np.float32
  np.testing.assert_allclose(single.predict(parts.test.rows), logits,
                             atol=1e-3)


def test_a_perceptron_agrees_with_scikit_learn(tmp_path, dataset):
  from sklearn.neural_network import MLPClassifier
  parts = Split(private=300, pool=20, test=200)(dataset)
  victim = Perceptron(hidden=8, max_iter=3000, alpha=0.1)(
      dataset, parts, Surroundings(tmp_path))
  x = parts.private.rows.reshape(300, -1) / 255
  model = MLPClassifier((8,), alpha=0.1, max_iter=3000, random_state=0).fit(
      x, parts.private.labels)
  logits = victim.predict(parts.test.rows)
  shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(
      shares, model.predict_proba(parts.test.rows.reshape(200, -1) / 255),
      atol=1e-9)


def test_random_perceptrons_need_no_examples(tmp_path, dataset):
  parts = Split(private=0, pool=20, test=20)(dataset)
  one, other = (Perceptron(trained=False, seed=seed)(
      dataset, parts, Surroundings(tmp_path)) for seed in (0, 1))
  assert one.fingerprint != other.fingerprint
  assert one.predict(parts.pool.rows).shape == (20, 10)
  with pytest.raises(InputError, match="private part of 0"):
    Perceptron()(dataset, parts, Surroundings(tmp_path))


@pytest.mark.parametrize("field, value", [
    ("hidden", 0), ("max_iter", True), ("dtype", "float16")])
def test_settings_of_perceptrons(field, value):
  with pytest.raises(InputError, match=f"Perceptron.{field}"):
    Perceptron(**{field: value})


def test_stages_are_lines():
  import io
  stream, now = io.StringIO(), iter([0.0, 1.0, 2.0, 8.0])
  shown = progress.Stages(stream, clock=lambda: next(now))
  for stage, rows in (("a", 1), ("a", 2), ("b", 3), ("b", 4)):
    shown(stage, rows)
  assert stream.getvalue() == "a  1 rows\nb  3 rows\nb  4 rows\n"


def test_a_table_shows_the_certificate():
  notes = {"bound": 237.8, "queries_per_bound": 2.334, "hidden_units": 32,
           "held_out_rows": 24, "held_out_error": 5.4e-14, "missing": ""}
  text = run_table.result_table({"notes": json.loads(json.dumps(notes))})
  assert "238 queries by counting unknowns; 2.33 of it" in text
  assert "5.4e-14 of the largest output, on 24 fresh rows" in text
  assert "missing" not in text
  assert "missing    two units" in run_table.result_table(
      {"notes": notes | {"missing": "two units"}})
  proof = {"least": 9.3e-13, "most": 1.1e-10, "seconds": 0.1}
  assert (
    "proved     logits differ by at most 1.1e-10"
    in run_table.result_table({"proof": proof})
  )
  assert "proved" not in run_table.result_table({"proof": None})
