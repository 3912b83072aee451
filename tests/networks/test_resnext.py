"""Tests of ResNet and ResNeXt: against keras.applications, torch, by hand."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from fixtures.random_weights import randomised
from fixtures.source_tree import ROOT
from wsl_extraction.errors import InputError
from wsl_extraction.networks import resnext as resnexts
from wsl_extraction.networks.resnext import SplitConv2D, resnext

RANGE = (0.0, 255.0)


def images_of(shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, "uint8")


def close(actual, expected, tolerance=1e-5):
  """Equal within a share of the largest value."""
  actual, expected = map(ops.convert_to_numpy, (actual, expected))
  np.testing.assert_allclose(
      actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def weights_of(inputs, planes, groups, per_group, classes, width=64, kernel=3):
  """Trainable weights, counted from the table of the ResNeXt paper.

  Args:
    inputs: Channels of images.
    planes: For each stage, how many blocks.
    groups: Of a 3 x 3 convolution.
    per_group: Channels of a group in the first stage.
    classes: Of the last layer.
    width: Channels of the stem.
    kernel: Of the convolution in the middle.
  """
  norm = 2
  total = 7 * 7 * inputs * width + norm * width
  before = width
  for stage, blocks in enumerate(planes):
    inner = per_group * groups * 2**stage
    after = 4 * width * 2**stage
    for block in range(blocks):
      total += before * inner + norm * inner
      total += kernel**2 * inner * inner // groups + norm * inner
      total += inner * after + norm * after
      total += 0 if block else before * after + norm * after
      before = after
  return total + before * classes + classes


def trainable(network):
  return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


@pytest.mark.parametrize("groups, per_group, published", [
    (1, 64, 25_557_032), (32, 4, 25_028_904), (1, 128, 68_883_240)])
def test_parameters_that_torchvision_tells(groups, per_group, published):
  # Its documentation, of resnet50, resnext50_32x4d and wide_resnet50_2.
  assert weights_of(3, (3, 4, 6, 3), groups, per_group, 1000) == published
  network = resnext((64, 64, 3), 1000, depth=50, groups=groups,
                    width_per_group=per_group)
  assert trainable(network) == published


def test_parameters_of_the_wsl_oracle():
  # 193 to 194 million, by the formula that holds for smaller networks, too.
  assert weights_of(3, (3, 4, 23, 3), 32, 16, 1000) == 194_026_792
  assert weights_of(3, (3, 4, 23, 3), 32, 8, 1000) == 88_791_336
  network = resnext((32, 32, 3), 10, depth=101, groups=32, width_per_group=1)
  assert trainable(network) == weights_of(3, (3, 4, 23, 3), 32, 1, 10)


@pytest.mark.parametrize("depth, published", [(18, 11_689_512),
                                              (34, 21_797_672)])
def test_parameters_of_basic_blocks(depth, published):
  # As torchvision's documentation has them.
  assert trainable(resnext((32, 32, 3), 1000, depth=depth)) == published


def test_equals_keras_applications_up_to_the_first_stride():
  # From the second stage on, that has the stride in the first convolution of a
  # block; its convolutions have biases, here 0.
  theirs = randomised(keras.applications.ResNet50(
      weights=None, input_shape=(48, 32, 3), classes=5,
      classifier_activation=None))
  ours = resnext((48, 32, 3), 5, depth=50, value_range=(-1.0, 1.0),
                 mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
  for layer in theirs.layers:
    values = layer.get_weights()
    if isinstance(layer, keras.layers.Conv2D):
      layer.bias.assign(np.zeros_like(values.pop()))
    if values:
      name = "logits" if layer.name == "predictions" else layer.name
      ours.get_layer(name).set_weights(values)
  assert len(ours.trainable_weights) == len(
      theirs.trainable_weights) - 53  # the biases
  images = np.random.default_rng(0).uniform(-1, 1, (3, 48, 32, 3))
  parts = [keras.Model(model.input, model.get_layer("conv2_block3_out").output)
           for model in (ours, theirs)]
  close(*(part(images.astype("float32")) for part in parts))


@pytest.mark.parametrize("sizes, shape", [
    (dict(depth=10), (45, 70, 3)), (dict(depth=26), (31, 64, 3)),
    (dict(depth=14, groups=4, width_per_group=16), (32, 32, 3))])
def test_equals_plain_torch_in_training(sizes, shape, monkeypatch):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  monkeypatch.syspath_prepend(ROOT / "benchmarks")
  import resnext_torch

  from wsl_extraction.victims import torchvision_layers
  module = resnext_torch.randomised(
      resnext_torch.ResNeXt(5, width=8, **sizes))
  network = resnext(shape, 5, width=8, **sizes)
  state = {name: value.numpy() for name, value in module.state_dict().items()}
  torchvision_layers.assign(network, state, "it")
  images = images_of((6, *shape))
  module.train()
  expected = resnext_torch.logits(
      module, images, resnexts.IMAGENET_MEAN, resnexts.IMAGENET_STD)
  assert expected.std(0).min() > 1e-3
  close(network(images, training=True), expected, 2e-4)
  mean = ops.convert_to_numpy(network.get_layer("conv1_bn").moving_mean)
  # torch's momentum is what Keras subtracts from 1.
  close(mean, module.bn1.running_mean)
  assert torch.isfinite(module.bn1.running_var).all()


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("groups", [2, 4, 8])
def test_split_groups_are_groups(groups, strides):
  images = np.random.default_rng(0).normal(size=(2, 9, 8, 8)).astype("float32")
  mine = SplitConv2D(16, 3, strides=strides, groups=groups)
  plain = keras.layers.Conv2D(16, 3, strides=strides, groups=groups)
  mine.build(images.shape)
  plain.build(images.shape)
  plain.set_weights(mine.get_weights())
  close(mine(images), plain(images), 1e-6)
  kernel, bias = (ops.convert_to_numpy(value) for value in mine.get_weights())
  # Of group 1, by hand: its own inputs and filters only.
  part = slice(8 // groups, 2 * 8 // groups)
  out = slice(16 // groups, 2 * 16 // groups)
  by_hand = np.tensordot(images[0, :3, :3, part], kernel[..., out], 3)
  np.testing.assert_allclose(
      ops.convert_to_numpy(mine(images))[0, 0, 0, out], by_hand + bias[out],
      rtol=1e-4, atol=1e-5)


def test_a_network_with_split_groups_is_the_same():
  small = functools.partial(resnext, (32, 32, 3), 5, depth=14, groups=4,
                            width_per_group=16, width=16)
  split, plain = randomised(small()), small(split_groups=False)
  plain.set_weights(split.get_weights())
  kinds = [type(network.get_layer("conv3_block1_2_conv"))
           for network in (split, plain)]
  assert kinds == [SplitConv2D, keras.layers.Conv2D]
  images = images_of((3, 32, 32, 3))
  close(split(images), plain(images))


def test_grouped_networks_learn():
  network = resnext((16, 16, 3), 2, depth=14, groups=4, width_per_group=16,
                    width=16, batch_norm_momentum=0.5, seed=0)
  rng = np.random.default_rng(0)
  labels = np.arange(32) % 2
  images = rng.integers(0, 120, (32, 16, 16, 3)) + 130 * labels[
      :, None, None, None]
  network.compile(keras.optimizers.SGD(0.05), keras.losses.
                  SparseCategoricalCrossentropy(from_logits=True))
  losses = [float(network.train_on_batch(images, labels)) for _ in range(8)]
  assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("low, high", [(0, 255), (0, 1), (-1, 1), (-3, 5)])
def test_images_are_standardised(low, high):
  mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 2.0)
  network = resnext((32, 32, 3), 3, depth=10, width=2, mean=mean, std=std,
                    value_range=(low, high))
  share = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3))
  found = network.get_layer("rescaling")(low + share * (high - low))
  np.testing.assert_allclose(ops.convert_to_numpy(found), (share - mean) / std,
                             atol=1e-5)


def test_standardised_in_float32_under_mixed_precision():
  before = keras.config.dtype_policy()
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    network = resnext((32, 32, 3), 3, depth=10, width=2)
  finally:
    keras.config.set_dtype_policy(before)
  kinds = {name: network.get_layer(name).compute_dtype
           for name in ("rescaling", "conv1_conv", "logits")}
  assert kinds == {"rescaling": "float32", "conv1_conv": "bfloat16",
                   "logits": "float32"}


def test_a_seed_decides_the_weights():
  def weights(seed):
    return resnext((8, 8, 3), 3, depth=14, width=4, seed=seed).get_weights()

  first = weights(4)
  keras.random.normal((3,))
  for value, again in zip(first, weights(4), strict=True):
    np.testing.assert_array_equal(value, again)
  for other in (5, None):
    assert not np.array_equal(first[0], weights(other)[0])


def test_initial_weights_keep_the_variance_of_gradients():
  network = resnext((8, 8, 3), 3, depth=14, width=32, groups=2,
                    width_per_group=64, seed=0)
  kernel = network.get_layer("conv5_block1_2_conv").get_weights()[0]
  assert kernel.shape == (3, 3, 256, 512)
  # He et al. 2015: variance 2 over the outputs of an input, here of its group
  # times the groups, as torchvision counts them.
  assert np.var(kernel) == pytest.approx(2 / (9 * 512), rel=0.01)


def test_saves_and_loads_in_safe_mode(tmp_path):
  network = randomised(resnext((32, 32, 3), 4, depth=14, width=16, groups=4,
                               width_per_group=16))
  network.save(tmp_path / "network.keras")
  again = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
  images = images_of((3, 32, 32, 3))
  np.testing.assert_array_equal(*map(
      ops.convert_to_numpy, (network(images), again(images))))


@pytest.mark.parametrize("sizes, name", [
    ({}, "resnet14"), (dict(groups=32, width_per_group=4), "resnext14_32x4d"),
    (dict(width_per_group=128), "resnext14_1x128d")])
def test_names(sizes, name):
  assert resnext((32, 32, 3), 2, depth=14, **sizes).name == name


@pytest.mark.parametrize("arguments, named", [
    (dict(depth=51), "depth 51; choose one of 10, 14, .* 152"),
    (dict(depth=True), "depth True"), (dict(depth=[50]), r"depth \[50\]"),
    (dict(groups=0), "groups=0"),
    (dict(width_per_group=1.5), "width_per_group=1.5"),
    (dict(depth=18, groups=32), "depth 18 has no bottlenecks"),
    (dict(width=8, width_per_group=4), "leaves a group no channel"),
    (dict(input_shape=(32, 32, 1)), "1 channels"),
    (dict(std=(0.2, 0.2, 0)), "std above 0"),
    (dict(value_range=(1, 0)), "value_range"),
    (dict(num_classes=0), "num_classes"),
])
def test_impossible_arguments_are_refused(arguments, named):
  with pytest.raises(InputError, match=named) as caught:
    resnext(**{"input_shape": (32, 32, 3), "num_classes": 10, **arguments})
  assert "\n" not in str(caught.value)
