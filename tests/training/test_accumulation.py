"""Batches in parts: the same steps from less memory at a time."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.training import batches, fit, optimizers
from wsl_extraction.training.optimizers import MomentumL2, Staircase
from wsl_extraction.training.recipe import Recipe
from wsl_extraction.training.student import Student

STEPS, BATCH = 6, 8


def network():
  # Without batch normalisation, which sees one part at a time.
  images = keras.Input((4, 4, 1))
  x = layers.Conv2D(5, 3, kernel_initializer=keras.initializers.HeNormal(1))(
      images)
  x = layers.Flatten()(layers.ReLU()(x))
  return keras.Model(images, layers.Dense(
      3, kernel_initializer=keras.initializers.HeNormal(2))(x))


def make_student(objective, accumulate):
  student = Student(network(), objective, seed=3, accumulate=accumulate)
  student.compile(optimizers.accumulating(
      MomentumL2(Staircase(0.1, [4], warmup_steps=2), l2=0.01), accumulate))
  return student


def make_batches(accumulate):
  rng = np.random.default_rng(0)
  labeled = rng.normal(size=(20, 4, 4, 1)).astype("float32")
  return batches.by_step(
      {"labeled": labeled, "labels": rng.integers(0, 3, 20).astype("int32")},
      STEPS * accumulate, BATCH // accumulate, 7,
      rng.normal(size=(12, 4, 4, 1)).astype("float32"), BATCH // accumulate)


class StopAt(keras.callbacks.Callback):
  """Raises in the middle of a step's parts."""

  def on_train_batch_end(self, batch, logs=None):
    if self.params["steps"] > 1 and ops.convert_to_numpy(self.model.step) == 3:
      raise KeyboardInterrupt


def trained(student, path=None, callbacks=()):
  fit.fit(student, make_batches(student.accumulate), STEPS, checkpoint=path,
          checkpoint_every=2, callbacks=callbacks)
  return student


@pytest.mark.parametrize("objective", [
    Supervised(), Rotation(base=Supervised())])
def test_parts_make_the_same_steps_as_the_whole(objective):
  whole = trained(make_student(objective, 1))
  parts = trained(make_student(objective, 4))
  for a, b in zip(whole.trainable_variables, parts.trainable_variables,
                  strict=True):
    np.testing.assert_allclose(ops.convert_to_numpy(a),
                               ops.convert_to_numpy(b), atol=2e-6)
  for student in (whole, parts):
    assert int(ops.convert_to_numpy(student.step)) == STEPS
    assert int(ops.convert_to_numpy(student.optimizer.iterations)) == STEPS


def test_goes_on_between_the_same_parts(tmp_path):
  whole = trained(make_student(Supervised(), 4))
  with pytest.raises(KeyboardInterrupt):
    trained(make_student(Supervised(), 4), tmp_path / "c.npz", [StopAt()])
  resumed = make_student(Supervised(), 4)
  assert fit.Checkpoint(tmp_path / "c.npz").restore(resumed) == 2
  resumed = trained(make_student(Supervised(), 4), tmp_path / "c.npz")
  for a, b in zip(whole.variables, resumed.variables, strict=True):
    np.testing.assert_array_equal(ops.convert_to_numpy(a),
                                  ops.convert_to_numpy(b))


@pytest.mark.parametrize("settings, message", [
    ({"accumulate": 3}, "Recipe.batch_size is 64, which Recipe.accumulate, 3"),
    ({"accumulate": 4, "unlabeled_batch_size": 6},
     "Recipe.unlabeled_batch_size is 6, which Recipe.accumulate, 4"),
    ({"accumulate": 0}, "Recipe.accumulate is 0; give a whole number, 1 or")])
def test_parts_have_to_be_equal(settings, message):
  with pytest.raises(InputError, match=message):
    Recipe(network=network, optimizer=MomentumL2, steps=1, **settings)


def test_the_penalty_is_that_of_a_loss():
  """Against Keras' own regularizer, which adds it to the loss."""
  images = np.random.default_rng(1).normal(size=(8, 4, 4, 1)).astype("float32")
  labels = np.arange(8) % 3
  weights = []
  for l2, regularizer in ((0.1, None), (0.0, keras.regularizers.L2(0.05))):
    model = network()
    for layer in model.layers:
      if hasattr(layer, "kernel"):
        layer.kernel_regularizer = regularizer
        layer.kernel.regularizer = regularizer
    model.compile(MomentumL2(0.1, momentum=0.9, l2=l2), loss=keras.losses
                  .SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=8, epochs=4, verbose=0)
    weights.append(model.get_weights())
  start = network().get_weights()
  for a, b, first in zip(*weights, start, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(a - first).max() > 1e-3


def test_the_rate_rises_and_falls():
  rate = Staircase(0.4, [6, 8], warmup_steps=4, factor=0.5)
  found = [float(ops.convert_to_numpy(rate(ops.convert_to_tensor(step))))
           for step in range(10)]
  np.testing.assert_allclose(
      found, [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1], rtol=1e-6)
  again = Staircase.from_config(rate.get_config())
  assert again.get_config() == rate.get_config()


# No whole number, as callers may give.
HALF: Any = 2.5


@pytest.mark.parametrize("make, message", [
    (lambda: MomentumL2(0.1, l2=-1), "l2 is -1"),
    (lambda: Staircase(0.1, [5, 4]), r"boundaries \[5, 4\]"),
    (lambda: Staircase(0.1, [5], warmup_steps=6), "6 steps of warm-up"),
    (lambda: Staircase(0.1, [5], warmup_steps=HALF),
     "Staircase.warmup_steps is 2.5; give a whole number, 0 or more"),
    (lambda: Staircase(0, []), "rate 0")])
def test_settings_that_cannot_be(make, message):
  with pytest.raises(InputError, match=message):
    make()


def test_averaged_weights_are_refused():
  with pytest.raises(InputError, match="give up use_ema"):
    optimizers.accumulating(keras.optimizers.Adam(use_ema=True), 2)
