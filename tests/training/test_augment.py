"""Tests of Augment: against numpy, compiled, and of its stream of draws."""

import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.training.augment import Augment

# Keras converts its variables on tensorflow by a protocol that NumPy 2 has
# extended.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword")


def images_of(shape, dtype="uint8", seed=0):
  values = np.random.default_rng(seed).integers(0, 256, shape)
  return values.astype(dtype)


def crop(image, shift, row, column, mirrored):
  """What one draw should make of one image, by numpy alone."""
  padded = np.pad(image, [(shift, shift), (shift, shift), (0, 0)], "reflect")
  height, width, _ = image.shape
  moved = padded[shift + row:shift + row + height,
                 shift + column:shift + column + width]
  return moved[:, ::-1] if mirrored else moved


def numbers(tensors):
  return [ops.convert_to_numpy(tensor) for tensor in tensors]


def peek(augment, count):
  """What the next call will draw, the stream left where it was."""
  state = ops.convert_to_numpy(augment.seed_generator.state)
  drawn = numbers(augment.draw(count))
  augment.seed_generator.state.assign(state)
  return drawn


def compiled(augment):
  """The layer as one function compiled by XLA, its state handled inside."""
  if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    return tf.function(lambda x: augment(x, training=True), jit_compile=True)
  if keras.backend.backend() == "jax":
    import jax
    step = jax.jit(
        lambda state, x: augment.stateless_call([], state, x, training=True))

    def call(images):
      variables = augment.non_trainable_variables
      result, state = step([v.value for v in variables], images)
      for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
      return result
    return call
  pytest.skip("XLA compiles for tensorflow and jax only")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(64, 28, 28, 1), (40, 9, 14, 3)])
@pytest.mark.parametrize("shift, flip", [(2, False), (4, True), (8, True),
                                         (0, True)])
def test_equals_slow_reference(shape, dtype, shift, flip):
  images, augment = images_of(shape, dtype), Augment(shift, flip, seed=5)
  offsets, mirrored = peek(augment, len(images))
  result = ops.convert_to_numpy(augment(images, training=True))
  expected = [crop(image, shift, top, left, bool(turned))
              for image, (top, left), (turned,)
              in zip(images, offsets, mirrored, strict=True)]
  assert result.dtype == dtype
  np.testing.assert_array_equal(result, expected)


@settings(max_examples=25)
@given(height=st.integers(2, 9), width=st.integers(2, 9),
       channels=st.integers(1, 4), flip=st.booleans(),
       seed=st.integers(0, 2**31 - 1), data=st.data())
def test_every_output_is_a_variant_of_its_input(
    height, width, channels, flip, seed, data):
  shift = data.draw(st.integers(0, min(height, width) - 1))
  images = images_of((3, height, width, channels), seed=seed)
  result = ops.convert_to_numpy(
      Augment(shift, flip, seed=seed)(images, training=True))
  moves = range(-shift, shift + 1)
  for before, after in zip(images, result, strict=True):
    assert any(np.array_equal(after, crop(before, shift, *move))
               for move in itertools.product(
                   moves, moves, (False, True) if flip else (False,)))


@pytest.mark.parametrize("flip", [False, True])
def test_compiled_equals_eager(flip):
  images = images_of((16, 12, 10, 3))
  eager, jitted = Augment(3, flip, seed=1), Augment(3, flip, seed=1)
  jitted.build(images.shape)
  function = compiled(jitted)
  for _ in range(2):
    np.testing.assert_array_equal(
        *numbers([function(images), eager(images, training=True)]))


def test_other_backend_compiles_as_well():
  """Runs the test above on jax where this process is of tensorflow."""
  if keras.backend.backend() != "tensorflow":
    pytest.skip("this process already compiles with XLA on its own backend")
  pytest.importorskip("jax")
  test = f"{__file__}::test_compiled_equals_eager"
  done = subprocess.run(
      [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
      env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True,
      text=True, timeout=120, check=False)
  assert done.returncode == 0, done.stdout + done.stderr
  assert "2 passed" in done.stdout


def test_fits_inside_a_compiled_model():
  model = keras.Sequential([
      keras.Input((8, 8, 1), dtype="uint8"), Augment(2, True),
      keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
      keras.layers.Dense(2)])
  compilable = keras.backend.backend() in ("tensorflow", "jax")
  model.compile("sgd", "mse", jit_compile=compilable)
  state = ops.convert_to_numpy(model.layers[0].seed_generator.state)
  model.fit(images_of((20, 8, 8, 1)), np.zeros((20, 2)), batch_size=8,
            verbose=0)
  after = ops.convert_to_numpy(model.layers[0].seed_generator.state)
  assert not np.array_equal(state, after)


def test_only_training_changes_images():
  images, augment = images_of((4, 8, 8, 1)), Augment(2, True)
  state = ops.convert_to_numpy(augment.seed_generator.state)
  for result in (augment(images), augment(images, training=False)):
    np.testing.assert_array_equal(ops.convert_to_numpy(result), images)
  np.testing.assert_array_equal(
      ops.convert_to_numpy(augment.seed_generator.state), state)


def test_calls_differ_and_a_restored_state_repeats_them():
  images, augment = images_of((32, 8, 8, 1)), Augment(3, True, seed=3)
  saved = numbers(augment.variables)
  first, second = numbers(augment(images, training=True) for _ in range(2))
  assert not np.array_equal(first, second)
  for variable, value in zip(augment.variables, saved, strict=True):
    variable.assign(value)
  again = numbers(augment(images, training=True) for _ in range(2))
  np.testing.assert_array_equal(again, [first, second])


def test_equal_seeds_draw_equally_and_others_do_not():
  draws = [np.concatenate(numbers(Augment(3, True, seed=seed).draw(50)), 1)
           for seed in (7, 7, 8)]
  np.testing.assert_array_equal(draws[0], draws[1])
  assert not np.array_equal(draws[0], draws[2])


def test_all_moves_are_equally_likely():
  offsets, mirrored = numbers(Augment(1, True, seed=0).draw(18_000))
  _, counts = np.unique(np.concatenate([offsets, mirrored], 1), axis=0,
                        return_counts=True)
  # 18 moves, 1,000 times each: five standard deviations are about 154.
  assert len(counts) == 18
  assert np.all(abs(counts - 1000) < 160)


def test_images_of_mixed_precision_are_not_rounded():
  images = np.random.default_rng(0).random((4, 8, 8, 1), "float32")
  augment = Augment(2, dtype="mixed_bfloat16")
  result = ops.convert_to_numpy(augment(images, training=True))
  assert result.dtype == "float32"
  assert np.isin(result, images).all()


@pytest.mark.parametrize("shift", [-1, 1.5, "2", None, True])
def test_impossible_shift_is_refused(shift):
  with pytest.raises(InputError, match=r"^Augment\.shift is .*; give a whole"):
    Augment(shift)


@pytest.mark.parametrize("side, pixels", [(28, 2), (8, 0), (32, 2), (224, 16)])
def test_a_share_is_of_the_shorter_side(side, pixels):
  share, whole = Augment(0.075), Augment(pixels)
  images = images_of((20, side, side + 9, 1))
  np.testing.assert_array_equal(*(
      ops.convert_to_numpy(layer(images, training=True))
      for layer in (share, whole)))
  assert share.get_config()["shift"] == 0.075
  with pytest.raises(InputError, match=r"shift=0\.075 is a share of sides"):
    Augment(0.075)(keras.KerasTensor((None, None, None, 1)))


@pytest.mark.parametrize("sides", [(8, 20), (20, 8), (3, 3)])
def test_shift_as_large_as_a_side_is_refused(sides):
  images = images_of((2, *sides, 1))
  with pytest.raises(InputError, match=f"shift=8 .* {sides[0]} x {sides[1]}"):
    Augment(8)(images, training=True)


def test_config_rebuilds_the_layer():
  augment = Augment(3, True, seed=9, name="vary")
  again = Augment.from_config(augment.get_config())
  assert (again.shift, again.flip, again.seed, again.name) == (
      3, True, 9, "vary")
  np.testing.assert_array_equal(*numbers(
      layer.draw(20)[0] for layer in (augment, again)))
