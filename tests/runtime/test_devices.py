"""Batches divided among devices train as on one device."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from fixtures import host_commands
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices, distribution
from wsl_extraction.runtime.placement import ONE_DEVICE, Placement
from wsl_extraction.training import augment, batches, fit
from wsl_extraction.training.student import Student

STEPS = 8
BACKENDS = {
    "tensorflow": """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
""",
    "jax": "",
}


def network(seed=0):
  """With batch normalisation, whose statistics depend on the whole batch."""
  initial = keras.initializers.GlorotUniform(seed=seed)
  image = keras.Input((8, 8, 1))
  x = keras.layers.Rescaling(1 / 255)(image)
  x = keras.layers.Conv2D(4, 3, kernel_initializer=initial)(x)
  x = keras.layers.BatchNormalization(momentum=0.8)(x)
  x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
  return keras.Model(image, keras.layers.Dense(
      3, kernel_initializer=initial, dtype="float32")(x))


def student(placement):
  """With a head of rotations and averages of the weights."""
  # The replicas of tensorflow draw random numbers each for itself.
  drawn = keras.backend.backend() == "jax"
  with placement.scope():
    made = Student(network(), Rotation(base=Distillation()), seed=1,
                   augment=augment.Augment(seed=2) if drawn else None)
    made.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9),
        **devices.compile_options(placement.replicas))
  placement.joined(made)
  return made


def training_data():
  rng = np.random.default_rng(0)
  rows = {"labeled": rng.integers(0, 256, (24, 8, 8, 1), np.uint8),
          "targets": rng.normal(size=(24, 3)).astype(np.float32),
          "revealed": np.ones((24, 3), np.uint8)}
  rest = rng.integers(0, 256, (30, 8, 8, 1), np.uint8)
  return batches.by_step(rows, STEPS, 8, 3, rest, 4)


class Record(keras.callbacks.Callback):
  """Keeps the losses; breaks the training off after some epochs."""

  def __init__(self, losses, stop=STEPS):
    super().__init__()
    self.losses, self.stop = losses, stop

  def on_epoch_end(self, epoch, logs=None):
    self.losses.append(logs["loss"])

  def on_epoch_begin(self, epoch, logs=None):
    if epoch == self.stop:
      raise KeyboardInterrupt


def train(path, placement, losses, stop=STEPS):
  made = student(placement)
  with placement.scope():
    fit.fit(made, training_data(), STEPS, checkpoint=path, checkpoint_every=2,
                 placement=placement, callbacks=[Record(losses, stop)])
  return made


def moved(path, first, second):
  """The losses of a training that two placements share, and its surrogate."""
  losses = []
  with pytest.raises(KeyboardInterrupt):
    train(path, first, losses, stop=2)
  return losses, train(path, second, losses)


def save_trainings(folder):
  """Losses and answers of trainings on one and two devices, and of both."""
  two = distribution.place()
  assert two.replicas == 2
  runs = {"one": (ONE_DEVICE, ONE_DEVICE), "two": (two, two),
          "one then two": (ONE_DEVICE, two), "two then one": (two, ONE_DEVICE)}
  found = {}
  for name, (first, second) in runs.items():
    losses, made = moved(folder / f"{name}.npz", first, second)
    found[f"{name} losses"] = losses
    found |= answers(name, second, made)
  devices.set_precision("mixed_bfloat16")
  for name, where in (("one bfloat16", ONE_DEVICE), ("two bfloat16", two)):
    losses = []
    made = train(folder / f"{name}.npz", where, losses)
    found[f"{name} losses"] = losses
    assert {w.dtype for w in made.trainable_variables} == {"float32"}
    assert made.network.layers[2].compute_dtype == "bfloat16"
  np.savez(folder / "found.npz", **found)


def answers(name, placement, made):
  """What the network says, alone on a device, and as a file."""
  surrogate = placement.alone(made.network)
  assert (surrogate is made.network) == (placement is ONE_DEVICE)
  images = training_data()[0]["labeled"]
  normal = surrogate.layers[3]
  assert isinstance(normal, keras.layers.BatchNormalization)
  assert not normal.synchronized
  return {f"{name} logits": surrogate.predict(images, verbose=0),
          f"{name} statistics": np.array(normal.moving_variance)}


@pytest.fixture(scope="module", params=BACKENDS, name="found")
def fixture_found(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("devices")
  paths = os.pathsep.join([
      str(host_commands.ROOT), str(host_commands.ROOT / "tests")])
  subprocess.run(
      [sys.executable, "-W", "ignore", "-c", BACKENDS[request.param] + (
          "import pathlib, sys, test_devices\n"
          "test_devices.save_trainings(pathlib.Path(sys.argv[1]))"),
       str(folder)], check=True, timeout=300, env={
           **os.environ, "KERAS_BACKEND": request.param, "PYTHONPATH": paths,
           "XLA_FLAGS": "--xla_force_host_platform_device_count=2"})
  return np.load(folder / "found.npz")


@pytest.mark.parametrize("name", ["two", "one then two", "two then one"])
def test_two_devices_train_as_one(name, found):
  assert len(found["one losses"]) == STEPS // 2
  np.testing.assert_allclose(
      found[f"{name} losses"], found["one losses"], rtol=1e-4)
  for part in ("logits", "statistics"):
    np.testing.assert_allclose(
        found[f"{name} {part}"], found[f"one {part}"], rtol=1e-3, atol=1e-4)


def test_two_devices_train_as_one_in_bfloat16(found):
  losses = found["two bfloat16 losses"]
  np.testing.assert_allclose(losses, found["one bfloat16 losses"], rtol=0.01)
  np.testing.assert_allclose(losses, found["one losses"], rtol=0.05)
  # It was another precision, after all.
  assert np.abs(losses - found["two losses"]).max() > 1e-6


@pytest.mark.parametrize(("size", "replicas", "count", "message"), [
    (30, 8, 1, "batch is 30, which does not divide among 8 devices; give 24 or "
               "32, or use fewer devices (--devices, CUDA_VISIBLE_DEVICES)"),
    (1, 4, 2, "batch is 1, which does not divide among 4 devices of 2 hosts; "
              "give 4, or use"),
])
def test_a_batch_that_does_not_divide(size, replicas, count, message):
  with pytest.raises(InputError) as caught:
    distribution.check_batches({"other": 0, "batch": size}, replicas, count)
  assert str(caught.value).startswith(message)


def test_batches_that_divide():
  distribution.check_batches({"batch": 24, "none": 0}, 8)
  distribution.check_batches({"batch": 7}, 1)


@pytest.mark.parametrize("limit", [0, -1, 99])
def test_more_devices_than_there_are(limit):
  backend = keras.backend.backend()
  with pytest.raises(InputError, match=(
      rf"^--devices is {limit}; this process sees \d+ on {backend}: .*; give a "
      "number up to that$")):
    distribution.place(limit)


def test_one_device_needs_nothing():
  assert distribution.place(1) == Placement()
  assert Placement().first


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_several_hosts_need_jax(backend, monkeypatch):
  monkeypatch.setenv("KERAS_BACKEND", backend)
  monkeypatch.setattr(devices, "check_backend", lambda: None)
  with pytest.raises(InputError, match=(
      f"^several hosts train together on jax alone, this is {backend}; set "
      "KERAS_BACKEND=jax$")):
    devices.check_hosts()
