"""The rotation loss, summed by loops in NumPy, and its head."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.special
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import penultimate
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation, four_turns


def numpy_of(tensor):
  return np.asarray(ops.convert_to_numpy(tensor))


def small_network(side=6, seed=0):
  """A network without batch normalisation: each image is on its own."""
  image = keras.Input((side, side, 2))
  x = keras.layers.Conv2D(
      5, 3, activation="relu",
      kernel_initializer=keras.initializers.HeNormal(seed))(image)
  x = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(image, keras.layers.Dense(
      3, kernel_initializer=keras.initializers.HeNormal(seed + 1))(x))


def images(count, side=6, seed=0):
  return np.random.default_rng(seed).normal(
      size=(count, side, side, 2)).astype("float32")


def test_four_turns_against_numpy():
  given_ = images(3)
  got = numpy_of(four_turns(ops.convert_to_tensor(given_)))
  for quarter in range(4):
    np.testing.assert_array_equal(
        got[3 * quarter:3 * quarter + 3],
        np.stack([np.rot90(image, quarter) for image in given_]))


@pytest.mark.parametrize("batch_equals_height", [False, True])
@pytest.mark.parametrize("classify_rotated", [False, True])
def test_rotation_loss_is_the_double_sum(batch_equals_height, classify_rotated):
  """L_R = 1/(4N) sum_i sum_j H(f(R_j(x_i)), j), summed by loops in numpy."""
  count = 6 if batch_equals_height else 2
  objective = Rotation(base=Supervised(), weight=0.5,
                       classify_rotated=classify_rotated)
  network = objective.extend(small_network(), seed=3)
  labeled, unlabeled = images(count, seed=1), images(4, seed=2)
  labels = np.arange(count) % 3
  terms = objective(network, {
      "labeled": ops.convert_to_tensor(labeled),
      "unlabeled": ops.convert_to_tensor(unlabeled),
      "labels": ops.convert_to_tensor(labels)}, training=True)
  rotation, supervised = [], []
  for i, image in enumerate(np.concatenate([labeled, unlabeled])):
    for j in range(4):
      seen = network(np.rot90(image, j)[None].copy())
      rotation.append(-scipy.special.log_softmax(
          numpy_of(seen["rotation"])[0])[j])
      if i < count and (j == 0 or classify_rotated):
        supervised.append(-scipy.special.log_softmax(
            numpy_of(seen["logits"])[0])[labels[i]])
  np.testing.assert_allclose(
      numpy_of(terms["rotation"]), 0.5 * np.mean(rotation), rtol=1e-5)
  np.testing.assert_allclose(
      numpy_of(terms["supervised"]), np.mean(supervised), rtol=1e-5)


def test_rotation_without_unlabelled_images_uses_the_labelled_ones():
  objective = Rotation(base=Supervised())
  network = objective.extend(small_network(), seed=0)
  terms = objective(network, {
      "labeled": ops.convert_to_tensor(images(2)),
      "labels": ops.convert_to_tensor([0, 1])}, training=True)
  assert set(terms) == set(objective.terms) == {"supervised", "rotation"}
  assert 0.5 < float(numpy_of(terms["rotation"])) < 3


def test_the_rotation_head_reads_the_penultimate_layer():
  network = small_network()
  extended = Rotation(base=Supervised()).extend(network, seed=0)
  assert extended.get_layer("rotation").input is penultimate(network)
  assert extended.get_layer("rotation").kernel.shape == (5, 4)
  np.testing.assert_array_equal(
      numpy_of(extended(images(2))["logits"]), numpy_of(network(images(2))))


def test_rotation_needs_square_images_and_a_linear_head():
  image = keras.Input((4, 6, 1))
  flat = keras.layers.Dense(2)(keras.layers.Flatten()(image))
  with pytest.raises(InputError, match="4 by 6"):
    Rotation(base=Supervised()).extend(keras.Model(image, flat), seed=0)
  image = keras.Input((4, 4, 1))
  soft = keras.layers.Dense(2, activation="softmax")(
      keras.layers.Flatten()(image))
  with pytest.raises(InputError, match="dense layer without activation"):
    Rotation(base=Supervised()).extend(keras.Model(image, soft), seed=0)


@pytest.mark.parametrize("arguments, message", [
    ({"base": "distillation"}, "Rotation.base"),
    ({"base": Rotation(base=Supervised())}, "Rotation.base"),
    ({"base": Supervised(), "weight": -1}, "Rotation.weight"),
    ({"base": Supervised(), "weight": float("nan")}, "Rotation.weight"),
    ({"base": Supervised(), "classify_rotated": 1}, "Rotation.classify_rot"),
])
def test_rotation_settings(arguments, message):
  with pytest.raises(InputError, match=message):
    Rotation(**arguments)


def test_a_sequential_network_can_be_extended():
  network = keras.Sequential([
      keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
  extended = Rotation(base=Supervised()).extend(network, seed=0)
  seen = extended(images(3, side=4)[..., :1])
  assert seen["logits"].shape == (3, 2)
  assert seen["rotation"].shape == (3, 4)
