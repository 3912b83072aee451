"""Tests of the networks: against keras.applications, and by hand."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from fixtures.commands import ROOT
from fixtures.random_weights import randomised
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2

# Keras converts its variables on tensorflow by a protocol that NumPy 2 has
# extended.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword")


def images_of(shape, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def close(actual, expected, tolerance=1e-5):
  """Equal within a share of the largest value."""
  actual, expected = map(ops.convert_to_numpy, (actual, expected))
  np.testing.assert_allclose(
      actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.fixture(scope="module")
def twins():
  """ResNet50V2 of keras.applications and ours with its weights."""
  shape = (64, 48, 3)
  theirs = randomised(keras.applications.ResNet50V2(
      weights=None, input_shape=shape, classes=7, classifier_activation=None))
  ours = resnet_v2(shape, 7, depth=50, stem="imagenet",
                   value_range=(-1.0, 1.0))
  for layer in theirs.layers:
    if layer.weights:
      name = "logits" if layer.name == "predictions" else layer.name
      ours.get_layer(name).set_weights(layer.get_weights())
  assert len(ours.weights) == len(theirs.weights)
  return ours, theirs


def test_equals_keras_applications(twins):
  ours, theirs = twins
  images = images_of((3, 64, 48, 3))
  expected = theirs(images, training=False)
  assert np.std(ops.convert_to_numpy(expected), axis=0).min() > 1e-3
  close(ours(images, training=False), expected)


def test_equals_keras_applications_in_training(twins):
  ours, theirs = twins
  before = [layer.get_weights()[2:] for layer in ours.layers
            if isinstance(layer, keras.layers.BatchNormalization)]
  images = images_of((4, 64, 48, 3), seed=1)
  # Batch statistics of few values magnify the rounding of 50 layers.
  close(ours(images, training=True), theirs(images, training=True), 1e-4)
  norms = [layer.name for layer in theirs.layers
           if isinstance(layer, keras.layers.BatchNormalization)]
  assert len(norms) == len(before) == 49
  for name, (mean, _) in zip(norms, before, strict=True):
    moved = ours.get_layer(name).get_weights()[2:]
    assert not np.array_equal(moved[0], mean)
    for value, expected in zip(
        moved, theirs.get_layer(name).get_weights()[2:], strict=True):
      close(value, expected, 1e-4)


@pytest.mark.parametrize("depth, parameters", [(50, 25_613_800),
                                               (200, 64_894_440)])
def test_parameters_for_imagenet(depth, parameters):
  network = resnet_v2((224, 224, 3), 1000, depth=depth)
  assert network.count_params() == parameters
  assert network.get_layer("post_relu").output.shape == (None, 7, 7, 2048)


@pytest.mark.parametrize("channels, width, classes", [(1, 16, 10), (3, 8, 7)])
def test_parameters_of_depth_8_by_hand(channels, width, classes):
  w = width
  norm = 4  # gamma, beta, mean and variance of a channel
  stem = 9 * channels * w + w
  first = norm * w + 9 * w * w + norm * w + 9 * w * w + w
  second = (norm * w + (2 * w * w + 2 * w)
            + 18 * w * w + norm * 2 * w + 36 * w * w + 2 * w)
  third = (norm * 2 * w + (8 * w * w + 4 * w)
           + 72 * w * w + norm * 4 * w + 144 * w * w + 4 * w)
  head = norm * 4 * w + 4 * w * classes + classes
  network = resnet_v2((28, 28, channels), classes, width=width)
  assert network.count_params() == stem + first + second + third + head


def test_parameters_of_depth_11_by_hand():
  w, norm = 4, 4
  def block(inputs, filters):
    return (norm * inputs + inputs * 4 * filters + 4 * filters
            + inputs * filters + norm * filters
            + 9 * filters * filters + norm * filters
            + 4 * filters * filters + 4 * filters)
  total = (9 * 3 * w + w + block(w, w) + block(4 * w, 2 * w)
           + block(8 * w, 4 * w) + norm * 16 * w + 16 * w * 5 + 5)
  assert resnet_v2((16, 16, 3), 5, depth=11, width=w).count_params() == total


def weighted_layers(network):
  """Layers with weights on the main path, as papers count depth."""
  kinds = (keras.layers.Conv2D, keras.layers.Dense)
  return sum(isinstance(layer, kinds) and not layer.name.endswith("_0_conv")
             for layer in network.layers)


@pytest.mark.parametrize("depth", [8, 11, 14, 18, 20, 29, 34, 38, 50, 56, 65,
                                   101, 110])
def test_depth_counts_layers(depth):
  assert weighted_layers(resnet_v2((32, 32, 3), 10, depth=depth,
                                   width=2)) == depth


@pytest.mark.parametrize("depth, bottleneck", [
    (18, False), (20, False), (34, False), (50, True), (110, False),
    (164, True), (170, False)])
def test_kind_of_block(depth, bottleneck):
  network = resnet_v2((32, 32, 3), 10, depth=depth, width=2)
  names = {layer.name for layer in network.layers}
  assert ("conv2_block1_3_conv" in names) == bottleneck


def test_shapes_of_depth_20():
  network = resnet_v2((32, 32, 3), 10, depth=20)
  shapes = [network.get_layer(f"conv{stage}_block{block}_out").output.shape[1:]
            for stage in (2, 3, 4) for block in (1, 2, 3)]
  assert shapes == [(32, 32, 16), (32, 32, 16), (16, 16, 16),
                    (16, 16, 32), (16, 16, 32), (8, 8, 32),
                    (8, 8, 64), (8, 8, 64), (8, 8, 64)]
  assert network.get_layer("logits").input.shape == (None, 64)
  assert network.output.shape == (None, 10)
  projections = [layer.name for layer in network.layers
                 if layer.name.endswith("_0_conv")]
  assert projections == ["conv3_block1_0_conv", "conv4_block1_0_conv"]


@pytest.mark.parametrize("depth", [8, 18])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_small_images_get_the_cifar_stem(depth, shape):
  conv = resnet_v2(shape, 10, depth=depth).get_layer("conv1_conv")
  assert conv.kernel_size == (3, 3)
  assert conv.output.shape[1:3] == shape[:2]


@pytest.mark.parametrize("stem, side", [(None, 56), ("cifar", 224),
                                        ("half", 112), ("imagenet", 56)])
def test_stem_of_large_images(stem, side):
  network = resnet_v2((224, 160, 3), 10, depth=18, width=4, stem=stem)
  stage = network.get_layer("conv2_block1_out")
  assert stage.output.shape[1:3] == (side, side * 160 // 224)


@pytest.mark.parametrize("shape", [(7, 13, 1), (31, 4, 3), (75, 99, 5)])
@pytest.mark.parametrize("depth", [8, 11])
def test_odd_sizes(shape, depth):
  network = resnet_v2(shape, 3, depth=depth, width=4)
  images = np.random.default_rng(0).integers(0, 256, (2, *shape))
  logits = ops.convert_to_numpy(network(images.astype("uint8")))
  assert logits.shape == (2, 3)
  assert np.isfinite(logits).all()


@pytest.mark.parametrize("low, high", [(0, 255), (0, 1), (-1, 1), (-3, 5)])
def test_value_range_is_centred(low, high):
  network = resnet_v2((8, 8, 1), 3, value_range=(low, high))
  images = np.linspace(low, high, 64).reshape(1, 8, 8, 1).astype("float32")
  centred = network.get_layer("rescaling")(images)
  np.testing.assert_allclose(ops.convert_to_numpy(centred).ravel(),
                             np.linspace(-1, 1, 64), atol=1e-6)


def test_logits_are_float32_under_mixed_precision():
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    network = resnet_v2((8, 8, 1), 3)
  finally:
    keras.config.set_dtype_policy("float32")
  assert network.get_layer("logits").compute_dtype == "float32"
  assert network.get_layer("conv1_conv").compute_dtype == "bfloat16"
  logits = network(np.zeros((2, 8, 8, 1), "uint8"))
  assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_pooled_features_feed_the_logits():
  network = randomised(resnet_v2((12, 12, 1), 3, width=4))
  head = network.get_layer("logits")
  features = keras.Model(network.input, head.input)
  images = images_of((5, 12, 12, 1))
  close(head(features(images)), network(images))


def test_a_seed_decides_the_weights():
  def weights(seed):
    return resnet_v2((8, 8, 1), 3, depth=14, width=4, seed=seed).get_weights()

  first = weights(4)
  keras.layers.Dense(3).build((None, 5))  # Draws from the global stream.
  keras.random.normal((3,))
  for value, again in zip(first, weights(4), strict=True):
    np.testing.assert_array_equal(value, again)
  for other in (5, None):
    assert not np.array_equal(first[0], weights(other)[0])
  same_shape = [value for value in first if value.shape == (3, 3, 4, 4)]
  assert len(same_shape) == 4
  assert len({value.tobytes() for value in same_shape}) == 4


def test_initial_weights_keep_the_variance():
  network = resnet_v2((8, 8, 3), 3, depth=8, width=64, seed=0)
  kernel = network.get_layer("conv4_block1_2_conv").get_weights()[0]
  # He et al. 2015: variance 2 over the inputs of a filter.
  assert np.var(kernel) == pytest.approx(2 / (9 * 256), rel=0.01)


def test_batch_norm_momentum_and_epsilon():
  network = resnet_v2((8, 8, 1), 3, batch_norm_momentum=0.9)
  norms = [layer for layer in network.layers
           if isinstance(layer, keras.layers.BatchNormalization)]
  assert len(norms) == 7
  assert {layer.momentum for layer in norms} == {0.9}
  assert {layer.epsilon for layer in norms} == {1.001e-5}


def test_saves_and_loads_in_safe_mode(tmp_path):
  network = randomised(resnet_v2((12, 10, 3), 4, width=4, seed=2**31))
  network.save(tmp_path / "network.keras")
  again = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
  images = images_of((3, 12, 10, 3))
  np.testing.assert_array_equal(*map(
      ops.convert_to_numpy, (network(images), again(images))))


_PREDICT = """
import sys, keras, numpy as np
from fixtures import undrawn_weights
images = np.load("images.npy")
for path in sys.argv[1:]:
  with undrawn_weights.undrawn():
    network = keras.saving.load_model(path)
  np.save(path + ".npy", network.predict_on_batch(images))
print(keras.backend.backend())
"""


def test_equal_weights_give_equal_logits_on_another_backend(tmp_path):
  other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
  pytest.importorskip(other, reason=f"{other} is not installed")
  images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), "uint8")
  np.save(tmp_path / "images.npy", images)
  networks = {f"{depth}.keras": randomised(resnet_v2(
      (28, 28, 1), 10, depth=depth)) for depth in (8, 11)}  # Both blocks.
  for name, network in networks.items():
    network.save(tmp_path / name)
  done = subprocess.run(
      [sys.executable, "-c", _PREDICT, *networks], text=True, timeout=300,
      env={**os.environ, "KERAS_BACKEND": other,
           "PYTHONPATH": str(ROOT / "tests")}, cwd=tmp_path,
      capture_output=True, check=False)
  assert done.stdout.strip() == other, done.stderr
  for name, network in networks.items():
    close(np.load(tmp_path / f"{name}.npy"), network(images))


@pytest.mark.parametrize("depth, nearest", [
    (51, "50 and 56"), (9, "8 and 11"), (199, "194 and 200"), (7, "8"),
    (-4, "8"), (50.0, "50 and 56"), ("50", "8"), (True, "8"), (None, "8")])
def test_impossible_depth_names_the_nearest(depth, nearest):
  with pytest.raises(InputError, match=f"depth {depth!r}; .*: {nearest}$"):
    resnet_v2((28, 28, 1), 10, depth=depth)


@pytest.mark.parametrize("arguments, named", [
    (dict(input_shape=(28, 28)), "input_shape"),
    (dict(input_shape=(28, None, 1)), "input_shape"),
    (dict(input_shape=(28, 0, 1)), "input_shape"),
    (dict(num_classes=0), "num_classes"),
    (dict(width=0), "width"),
    (dict(stem="big"), "stem 'big'.*cifar, half, imagenet"),
    (dict(stem="imagenet", depth=50), "28 x 28 pixels.*by 32"),
    (dict(input_shape=(32, 3, 1)), "32 x 3 pixels.*by 4"),
    (dict(value_range=(1, 0)), "value_range"),
    (dict(value_range=(0, float("nan"))), "value_range"),
])
def test_impossible_arguments_are_refused(arguments, named):
  with pytest.raises(InputError, match=named) as caught:
    resnet_v2(**{"input_shape": (28, 28, 1), "num_classes": 10, **arguments})
  assert "\n" not in str(caught.value)
