"""Tests of wide_resnet: against jax.lax, against torch, and by hand."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import ops

from fixtures.random_weights import randomised
from fixtures.source_tree import ROOT
from wsl_extraction.errors import InputError
from wsl_extraction.networks.wide_resnet import wide_resnet

small = functools.partial(
    wide_resnet, input_shape=(8, 8, 3), num_classes=4, depth=10, width=1)


def images_of(shape, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, shape).astype("float32")


def close(actual, expected, tolerance=1e-4):
  """Equal within a share of the largest value."""
  actual, expected = map(np.asarray, (actual, expected))
  assert np.std(expected) > 1e-3
  np.testing.assert_allclose(
      actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def weights_of(network):
  """Layer name -> copies of its arrays, in the order of Keras."""
  return {layer.name: [np.array(value) for value in layer.get_weights()]
          for layer in network.layers if layer.weights}


def moving_of(weights):
  return {name: arrays[2:] for name, arrays in weights.items()
          if name.endswith("_bn")}


class Rewritten:
  """The network once more, from the paper's figures, on jax.lax alone."""

  def __init__(self, weights, training):
    self.weights, self.training = weights, training
    self.moving = {}

  def __call__(self, images, blocks):
    x = self.conv("conv1", jnp.asarray(images) / 127.5 - 1)
    for stage in (2, 3, 4):
      for block in range(1, blocks + 1):
        x = self.block(f"conv{stage}_block{block}", x,
                       stride=2 if block == 1 and stage > 2 else 1)
    x = self.active("post_bn", x).mean((1, 2))
    kernel, bias = self.weights["logits"]
    return jnp.matmul(x, kernel, precision="highest") + bias

  def block(self, name, x, stride):
    active = self.active(f"{name}_1_bn", x)
    short = active if name == "conv2_block1" else x
    if f"{name}_0_conv" in self.weights:
      short = self.conv(f"{name}_0_conv", short, stride)
    x = self.conv(f"{name}_1_conv", active, stride)
    return short + self.conv(f"{name}_2_conv", self.active(f"{name}_2_bn", x))

  def active(self, name, x):
    gamma, beta, mean, variance = self.weights[name]
    if self.training:
      mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    self.moving[name] = mean, variance
    x = (x - mean) / jnp.sqrt(variance + 0.001) * gamma + beta
    return jnp.where(x > 0, x, 0.1 * x)

  def conv(self, name, x, stride=1):
    kernel, bias = self.weights[name]
    return bias + jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", precision="highest",
        dimension_numbers=("NHWC", "HWIO", "NHWC"))


CASES = [((32, 32, 3), 28, 2), ((28, 28, 1), 10, 3), ((7, 13, 2), 16, 1)]


@pytest.mark.parametrize("shape, depth, width", CASES)
def test_equals_its_rewriting(shape, depth, width):
  network = randomised(wide_resnet(shape, 10, depth=depth, width=width))
  images = images_of((5, *shape))
  expected = Rewritten(weights_of(network), training=False)(
      images, (depth - 4) // 6)
  close(ops.convert_to_numpy(network(images)), expected)


@pytest.mark.parametrize("shape, depth, width", CASES)
def test_equals_its_rewriting_in_training(shape, depth, width):
  network = randomised(wide_resnet(shape, 10, depth=depth, width=width))
  before = weights_of(network)
  rewritten = Rewritten(before, training=True)
  images = images_of((6, *shape), seed=1)
  logits = ops.convert_to_numpy(network(images, training=True))
  close(logits, rewritten(images, (depth - 4) // 6))
  after = moving_of(weights_of(network))
  assert after.keys() == rewritten.moving.keys()
  for name, old in moving_of(before).items():
    for place, value in enumerate(rewritten.moving[name]):
      expected = 0.999 * old[place] + 0.001 * np.asarray(value)
      np.testing.assert_allclose(after[name][place], expected, rtol=1e-4,
                                 atol=1e-5)
      assert not np.array_equal(after[name][place], old[place])


@pytest.mark.parametrize("training", [False, True])
def test_equals_plain_torch(training, monkeypatch):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  monkeypatch.syspath_prepend(ROOT / "benchmarks")
  import wide_resnet_torch

  network = randomised(wide_resnet((32, 32, 3), 10))
  module = wide_resnet_torch.WideResNet(3, 10).train(training)
  wide_resnet_torch.copy_weights(network, module)
  images = images_of((5, 32, 32, 3), seed=2)
  with torch.no_grad():
    expected = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
  close(ops.convert_to_numpy(network(images, training=training)), expected)
  if training:
    for name, (mean, variance) in moving_of(weights_of(network)).items():
      norm = module.parts[name]
      np.testing.assert_allclose(mean, norm.running_mean, atol=1e-5)
      # torch's moving average is of the unbiased variance.
      np.testing.assert_allclose(variance, norm.running_var, rtol=1e-3)


def parameters(channels, classes, depth, width):
  """Trainable parameters and moving averages, in closed form."""
  n, total, averages, inputs = (depth - 4) // 6, 144 * channels + 16, 0, 16
  for filters in (16 * width, 32 * width, 64 * width):
    total += 9 * inputs * filters + filters  # The first convolution,
    total += (2 * n - 1) * (9 * filters**2 + filters)  # and the others.
    total += (inputs + 1) * filters * (inputs != filters)
    averages += 2 * (inputs + (2 * n - 1) * filters)
    inputs = filters
  averages += 2 * inputs
  return total + averages + (inputs + 1) * classes, averages


@pytest.mark.parametrize("channels, classes, depth, width", [
    (3, 10, 28, 2), (1, 7, 10, 1), (4, 3, 16, 3)])
def test_parameters(channels, classes, depth, width):
  network = wide_resnet((8, 8, channels), classes, depth=depth, width=width)
  expected = parameters(channels, classes, depth, width)
  for variables, count in zip(
      (network.trainable_variables, network.non_trainable_variables), expected,
      strict=True):
    assert sum(np.prod(v.shape) for v in variables) == count


def test_parameters_of_the_docstring():
  assert parameters(3, 10, 28, 2) == (1_469_642, 3_616)
  text = wide_resnet.__doc__
  assert text
  for count in parameters(3, 10, 28, 2):
    assert f"{count:,}" in text


def test_shapes_of_wrn_28_2():
  network = wide_resnet((32, 32, 3), 10)
  shapes = [network.get_layer(f"conv{stage}_block{block}_out").output.shape[1:]
            for stage in (2, 3, 4) for block in (1, 4)]
  assert shapes == [(32, 32, 32)] * 2 + [(16, 16, 64)] * 2 + [(8, 8, 128)] * 2
  assert network.get_layer("logits").input.shape == (None, 128)
  assert network.output.shape == (None, 10)
  projections = [layer.name for layer in network.layers
                 if layer.name.endswith("_0_conv")]
  assert projections == [f"conv{stage}_block1_0_conv" for stage in (2, 3, 4)]


@pytest.mark.parametrize("depth", [10, 16, 28, 40])
def test_depth_counts_layers(depth):
  """As Zagoruyko and Komodakis: all convolutions, those of shortcuts too."""
  network = wide_resnet((8, 8, 3), 10, depth=depth, width=2)
  assert sum(isinstance(layer, keras.layers.Conv2D)
             for layer in network.layers) == depth


def test_initial_weights():
  network = wide_resnet((8, 8, 3), 10, seed=0)
  for layer in network.layers:
    if isinstance(layer, keras.layers.Conv2D):
      kernel, bias = layer.get_weights()
      expected = np.sqrt(2 / (kernel.shape[0] ** 2 * layer.filters))
      # Of n normal numbers the deviation is known to 1 in sqrt(2 n).
      assert np.std(kernel) == pytest.approx(
          expected, rel=5 / np.sqrt(2 * kernel.size))
      assert abs(np.mean(kernel)) < 5 * expected / np.sqrt(kernel.size)
      assert not bias.any()
  dense = network.get_layer("logits").get_weights()[0]
  assert np.std(dense) == pytest.approx(np.sqrt(2 / (128 + 10)), rel=0.1)


def test_batch_norm_momentum_and_epsilon():
  norms = {
      momentum: [layer for layer in network.layers
                 if layer.name.endswith("_bn")]
      for momentum, network in (
          (0.999, small()), (0.9, small(batch_norm_momentum=0.9)))}
  for momentum, found in norms.items():
    assert len(found) == 7
    assert {layer.momentum for layer in found} == {momentum}
    assert {layer.epsilon for layer in found} == {1e-3}


def test_a_seed_decides_the_weights():
  def weights(seed):
    return small(depth=16, seed=seed).get_weights()

  first = weights(4)
  keras.layers.Dense(3).build((None, 5))  # Draws from the global stream.
  keras.random.normal((3,))
  for value, again in zip(first, weights(4), strict=True):
    np.testing.assert_array_equal(value, again)
  for other in (5, None):
    assert not np.array_equal(first[0], weights(other)[0])
  same_shape = [value for value in first if value.shape == (3, 3, 16, 16)]
  assert len({value.tobytes() for value in same_shape}) == 4


@pytest.mark.parametrize("low, high", [(0, 255), (0, 1), (-3, 5)])
def test_value_range_is_centred(low, high):
  network = small(value_range=(low, high))
  images = np.linspace(low, high, 192).reshape(1, 8, 8, 3).astype("float32")
  centred = network.get_layer("rescaling")(images)
  np.testing.assert_allclose(ops.convert_to_numpy(centred).ravel(),
                             np.linspace(-1, 1, 192), atol=1e-6)


def test_saves_and_loads_in_safe_mode(tmp_path):
  network = randomised(small(seed=2**31))
  network.save(tmp_path / "network.keras")
  again = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
  images = images_of((3, 8, 8, 3))
  np.testing.assert_array_equal(*map(
      ops.convert_to_numpy, (network(images), again(images))))


_PREDICT = """
import keras, numpy as np
for made, loaded in (
    ("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")):
  keras.config.set_dtype_policy(loaded)
  network = keras.saving.load_model(made + ".keras")
  np.save(made + ".npy", network.predict_on_batch(np.load("images.npy")))
"""


def test_a_saved_network_keeps_its_precision(tmp_path):
  # Not whole numbers: those bfloat16 holds up to 256.
  images = images_of((4, 8, 8, 3)) * np.float32(0.9973)
  np.save(tmp_path / "images.npy", images)
  before, logits = keras.config.dtype_policy(), {}
  for policy in ("mixed_bfloat16", "float32"):
    keras.config.set_dtype_policy(policy)
    try:
      network = randomised(small())
    finally:
      keras.config.set_dtype_policy(before)
    compute = policy.removeprefix("mixed_")
    assert network.get_layer("logits").compute_dtype == "float32"
    assert network.get_layer("conv1").compute_dtype == compute
    network.save(tmp_path / f"{policy}.keras")
    logits[policy] = network.predict_on_batch(images)
    assert logits[policy].dtype == "float32"
  assert not np.array_equal(*logits.values())
  subprocess.run([sys.executable, "-c", _PREDICT], cwd=tmp_path,
                 env=os.environ, check=True, capture_output=True, timeout=300)
  for policy, expected in logits.items():
    np.testing.assert_array_equal(
        np.load(tmp_path / f"{policy}.npy"), expected)


@pytest.mark.parametrize("depth, nearest", [
    (27, "22 and 28"), (9, "10"), (4, "10"), (-4, "10"), (28.0, "28 and 34"),
    ("28", "10"), (True, "10"), (None, "10")])
def test_impossible_depth_names_the_nearest(depth, nearest):
  with pytest.raises(InputError, match=f"depth {depth!r}; .*: {nearest}$"):
    wide_resnet((32, 32, 3), 10, depth=depth)


@pytest.mark.parametrize("arguments, named", [
    (dict(input_shape=(28, 28)), "input_shape"),
    (dict(input_shape=(28, None, 1)), "input_shape"),
    (dict(input_shape=(32, 3, 1)), "32 x 3 pixels.*by 4"),
    (dict(num_classes=0), "num_classes"),
    (dict(width=0), "width"),
    (dict(width=None), "width"),
    (dict(width=1.5), "width"),
    (dict(value_range=(1, 0)), "value_range"),
    (dict(value_range=(0, float("nan"))), "value_range"),
    (dict(batch_norm_momentum=1.0), "batch_norm_momentum=1.0"),
    (dict(batch_norm_momentum=-0.1), "batch_norm_momentum"),
    (dict(batch_norm_momentum="0.9"), "batch_norm_momentum"),
])
def test_impossible_arguments_are_refused(arguments, named):
  with pytest.raises(InputError, match=named) as caught:
    small(**arguments)
  assert "wide_resnet: " in str(caught.value)
  assert "\n" not in str(caught.value)
