"""ReLU networks: exact arithmetic, Keras models there and back, bad input."""

from __future__ import annotations

import fractions

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.relu_networks import by_hand, network
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork


def by_fractions(net, row):
  """The definition, a number at a time."""
  values = [fractions.Fraction(float(x)) for x in row]
  for place, (matrix, bias) in enumerate(
      zip(net.weights, net.biases, strict=True)):
    values = [
        sum((v * fractions.Fraction(float(w)) for v, w in zip(
            values, column, strict=True)), fractions.Fraction(float(b)))
        for column, b in zip(matrix.T, bias, strict=True)]
    if net.is_rectified or place + 1 < len(net.weights):
      values = [max(v, fractions.Fraction(0)) for v in values]
  if net.linear is not None:
    values = [v + sum(
        fractions.Fraction(float(x)) * fractions.Fraction(float(w))
        for x, w in zip(row, column, strict=True))
              for v, column in zip(values, net.linear.T, strict=True)]
  return values


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64,
                    min_value=-1e200, max_value=1e200)


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["affine", "rectified", "bypassed"]))
def test_exact_is_exact(data, end):
  def draw(*shape):
    size = int(np.prod(shape))
    return np.array(data.draw(st.lists(
        NUMBERS, min_size=size, max_size=size))).reshape(shape)

  net = ReluNetwork([draw(2, 3), draw(3, 2)], [draw(3), draw(2)],
                    end == "rectified", draw(2, 2) if end == "bypassed" else
                    None)
  rows = draw(2, 2)
  found = net.exact(rows)
  assert found.shape == (2, 2)
  for row, given_ in zip(rows, found, strict=True):
    assert list(given_) == by_fractions(net, row)


def test_float64_by_hand():
  net = by_hand([[[1, -1], [2, 0]], [[1], [10]]], [[0, 1], [-3]])
  # ReLU(1 + 4, -1 + 1) = (5, 0); 5 - 3 = 2. ReLU(-3, 4) = (0, 4); 40 - 3.
  assert net([[1, 2], [-3, 0]]).tolist() == [[2], [37]]
  assert (net.dimension, net.outputs, net.hidden) == (2, 1, (2,))
  bypassed = by_hand(net.weights, net.biases, linear=[[1], [0.5]])
  assert bypassed([[1, 2], [-3, 0]]).tolist() == [[2 + 2], [37 - 3]]


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 4, 5, 2)])
@pytest.mark.parametrize("is_rectified", [False, True])
def test_deeper_forms_are_the_same_function(sizes, is_rectified):
  rng = np.random.default_rng(0)
  net = network(sizes, rng)
  net = ReluNetwork(net.weights, net.biases, is_rectified,
                    None if is_rectified else rng.normal(size=(3, 2)))
  rows = rng.normal(size=(9, 3))
  affine = net.affine_ended()
  assert not affine.is_rectified
  deep = net.deepened(4)
  assert len(deep.hidden) == 4
  for other in (affine, deep):
    assert (other.exact(rows) == net.exact(rows)).all()
  single = net.rounded("float32")
  for ours, theirs in zip((*single.weights, *single.biases),
                          (*net.weights, *net.biases), strict=True):
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))
  np.testing.assert_allclose(single(rows), net(rows), atol=1e-5)


@pytest.mark.parametrize("is_rectified", [False, True])
def test_keras_there_and_back(is_rectified):
  rng = np.random.default_rng(1)
  net = network((5, 7, 4, 3), rng)
  net = ReluNetwork(net.weights, net.biases, is_rectified)
  model = dense.keras_model(net)
  rows = rng.normal(size=(20, 5))
  np.testing.assert_allclose(
      keras.ops.convert_to_numpy(model(rows)), net(rows), atol=1e-12)
  back = dense.network_of(model)
  assert back.is_rectified == is_rectified
  for ours, theirs in zip((*net.weights, *net.biases),
                          (*back.weights, *back.biases), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_other_spellings_of_relu():
  layers = keras.layers
  model = keras.Sequential([
      keras.Input((2, 2)), layers.Flatten(), layers.Dense(3, use_bias=False),
      layers.ReLU(), layers.Dropout(0.5), layers.Dense(2),
      layers.Activation("relu"), layers.Dense(1, activation="linear")])
  net = dense.network_of(model)
  rows = np.random.default_rng(0).normal(size=(6, 2, 2)).astype(np.float32)
  np.testing.assert_allclose(
      net(rows.reshape(6, 4)),
      keras.ops.convert_to_numpy(model(rows)), atol=1e-6)


def test_mlp_is_seeded_and_scales_its_inputs():
  a, b, c = (dense.mlp((4,), 3, (0.0, 255.0), seed=seed, hidden=(6,))
             for seed in (1, 1, 2))
  rows = np.random.default_rng(0).uniform(0, 255, (8, 4)).astype(np.float32)
  first, second, third = (keras.ops.convert_to_numpy(m(rows))
                          for m in (a, b, c))
  np.testing.assert_array_equal(first, second)
  assert not np.allclose(first, third)
  scaled = dense.mlp((4,), 3, (-1.0, 1.0), seed=1, hidden=(6,))
  np.testing.assert_allclose(
      first, keras.ops.convert_to_numpy(scaled(rows / 127.5 - 1)), atol=1e-5)


@pytest.mark.parametrize("hidden", [(0,), (3, 2.5), (True,), "ab", 5, (-1,)])
def test_widths_that_cannot_be(hidden):
  with pytest.raises(InputError, match=r"^mlp\.hidden is .*; give a list of"):
    dense.mlp((4,), 3, hidden=hidden)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 4, 5, 2)])
def test_a_linear_part_as_units(sizes):
  rng = np.random.default_rng(0)
  net = network(sizes, rng)
  net = ReluNetwork(net.weights, net.biases, linear=rng.normal(size=(3, 2)))
  chain = net.as_chain()
  assert chain.linear is None
  rows = rng.normal(size=(20, 3))
  np.testing.assert_array_equal(chain.exact(rows), net.exact(rows))


@pytest.mark.parametrize(("linear", "is_rectified"), [
    (np.ones((3, 2)), False), (np.ones((2, 3)), False),
    (np.ones((2, 2)), True)])
def test_a_linear_part_has_to_fit(linear, is_rectified):
  with pytest.raises(InputError, match=r"linear has shape .*; give \[inputs"):
    ReluNetwork([np.ones((2, 2))], [np.ones(2)], is_rectified, linear)
  with pytest.raises(InputError, match="linear holds NaN or infinity"):
    ReluNetwork([np.ones((2, 2))], [np.ones(2)], False, np.full((2, 2), np.nan))


@pytest.mark.parametrize(("weights", "biases", "said"), [
    ([], [], "0 matrices"),
    ([np.ones((2, 3))], [np.ones(2)], "make them fit"),
    ([np.ones((2, 3)), np.ones((2, 1))], [np.ones(3), np.ones(1)], "after 3"),
    ([np.full((1, 1), np.nan)], [np.ones(1)], "weights[0] holds NaN"),
    ([np.ones((1, 1))], [[np.inf]], "biases[0] holds NaN or infinity"),
    ([np.ones(3)], [np.ones(1)], "2 axes"),
    ([np.ones((1, 1), complex)], [np.ones(1)], "dtype complex128"),
    ([np.array([[2**60]])], [np.ones(1)], "2^53"),
])
def test_bad_input(weights, biases, said):
  with pytest.raises(InputError) as error:
    ReluNetwork(weights, biases)
  assert said in str(error.value)
  assert "\n" not in str(error.value)
