"""The Student: one `fit` for every objective, backend and device count."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices
from wsl_extraction.training import augment, batches, fit
from wsl_extraction.training.student import Student

ROOT = pathlib.Path(__file__).parents[2]
OBJECTIVES = {
    "supervised": Supervised(),
    "distillation": Distillation(),
    "rotation": Rotation(base=Distillation()),
    # Of which nothing is mixed, so that nothing is random.
    "mixmatch": MixMatch(alpha=1e-6, ramp_steps=2),
}


def batch(seed=0, labeled=8, unlabeled=8, side=8):
  rng = np.random.default_rng(seed)
  return {
      "labeled": rng.integers(0, 256, (labeled, side, side, 1), np.uint8),
      "unlabeled": rng.integers(0, 256, (unlabeled, side, side, 1), np.uint8),
      "labels": rng.integers(0, 3, labeled).astype("int32"),
      "targets": rng.normal(size=(labeled, 3)).astype("float32"),
      "revealed": np.ones((labeled, 3), np.uint8),
  }


def student(objective, seed=0, augment=None, rate=0.05):
  network = resnet_v2((8, 8, 1), 3, depth=8, width=4, seed=seed,
                      batch_norm_momentum=0.9)
  made = Student(network, objective, seed=seed + 1, augment=augment)
  made.compile(keras.optimizers.SGD(rate, momentum=0.9),
               jit_compile=devices.jit_compile())
  return made


def four_steps(name):
  """The losses of four steps from weights that numpy drew, and the weights."""
  made = student(OBJECTIVES[name])
  draw_weights(made)
  losses = [made.train_on_batch(batch(step), return_dict=True)["loss"]
            for step in range(4)]
  weights = np.concatenate([np.ravel(ops.convert_to_numpy(w))
                            for w in made.extended.weights])
  return np.array([float(loss) for loss in losses]), weights


def run_elsewhere(code, backend, tmp_path, **environment):
  """Runs `code` on another backend; returns what it saved as `out`."""
  out = tmp_path / "out.npz"
  subprocess.run(
      [sys.executable, "-W", "ignore", "-c", code, str(out)], check=True,
      cwd=ROOT, timeout=300, env={
          **os.environ, "KERAS_BACKEND": backend,
          "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **environment})
  return np.load(out)


def save_four_steps(path):
  found = {}
  for name in OBJECTIVES:
    found[f"{name} losses"], found[f"{name} weights"] = four_steps(name)
  np.savez(path, **found)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
  """Four steps of each objective on another backend, in one process."""
  other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
  return run_elsewhere(
      "import sys, test_student; test_student.save_four_steps(sys.argv[1])",
      other, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_four_steps_agree_across_backends(name, elsewhere):
  """Copied weights, no randomness: the same steps to 1e-5 (rounding)."""
  losses, weights = four_steps(name)
  np.testing.assert_allclose(losses, elsewhere[f"{name} losses"], rtol=1e-5)
  np.testing.assert_allclose(
      weights, elsewhere[f"{name} weights"], rtol=1e-5, atol=1e-5)


TWO_LOGICAL_CPUS = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_student
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
test_student.save_fits(sys.argv[1], strategy.scope)
"""

FOUR_JAX_DEVICES = """
import contextlib, sys, jax, keras
assert len(jax.devices()) == 4
keras.distribution.set_distribution(keras.distribution.DataParallel())
import test_student
test_student.save_fits(sys.argv[1], contextlib.nullcontext)
"""


def plain_student(name, rate=0.1, **kwargs):
  """Without batch normalisation, whose statistics each replica has alone."""
  image = keras.Input((8, 8, 1))
  x = keras.layers.Rescaling(1 / 127.5, -1)(image)
  x = keras.layers.Conv2D(
      4, 3, activation="relu",
      kernel_initializer=keras.initializers.HeNormal(1))(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  logits = keras.layers.Dense(
      3, kernel_initializer=keras.initializers.HeNormal(2),
      kernel_regularizer=keras.regularizers.L2(0.01))(x)
  made = Student(keras.Model(image, logits), OBJECTIVES[name], seed=3, **kwargs)
  made.compile(keras.optimizers.SGD(rate, momentum=0.9),
               jit_compile=devices.jit_compile())
  draw_weights(made)
  return made


def draw_weights(made):
  """The same on every backend, which Keras' initializers are not."""
  rng = np.random.default_rng(7)
  for weight in made.extended.trainable_variables:
    weight.assign(rng.normal(scale=0.1, size=weight.shape))


def plain_fit(made):
  entries = batch(labeled=32, unlabeled=0)
  unlabeled = batch(1, unlabeled=32)["unlabeled"]
  entries.pop("unlabeled")
  data = batches.by_step(entries, 6, 16, 5, unlabeled, 8)
  return made.fit(
      data, steps_per_epoch=6, shuffle=False, verbose=0).history


def outcome(made, history):
  return {**{name: np.array(values) for name, values in history.items()},
          "weights": np.concatenate([
              np.ravel(ops.convert_to_numpy(w + 0))
              for w in made.extended.trainable_variables])}


def save_fits(path, scope):
  found = {}
  for name in OBJECTIVES:
    with scope():
      made = plain_student(name)
    found |= {f"{name} {figure}": value for figure, value
              in outcome(made, plain_fit(made)).items()}
  np.savez(path, **found)


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def several_devices(request, tmp_path_factory):
  code = {"tensorflow": TWO_LOGICAL_CPUS, "jax": FOUR_JAX_DEVICES}
  return run_elsewhere(
      code[request.param], request.param, tmp_path_factory.mktemp("several"),
      XLA_FLAGS="--xla_force_host_platform_device_count=4")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_device_and_several_give_the_same(name, several_devices):
  """Two logical CPUs on tensorflow, four on jax: same loss, terms, weights."""
  made = plain_student(name)
  one = outcome(made, plain_fit(made))
  for figure, value in one.items():
    np.testing.assert_allclose(
        several_devices[f"{name} {figure}"], value, rtol=2e-5, atol=1e-6,
        err_msg=figure)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_terms_are_reported_and_add_up(name):
  made = plain_student(name)
  logs = made.train_on_batch(batch(), return_dict=True)
  terms = OBJECTIVES[name].terms
  assert set(logs) == {"loss", *terms}
  penalty = sum(float(ops.convert_to_numpy(loss))
                for loss in plain_student(name).losses)
  assert float(logs["loss"]) == pytest.approx(
      sum(float(logs[term]) for term in terms) + penalty, rel=1e-5)


def test_an_epochs_log_is_the_mean_of_its_steps():
  made = plain_student("supervised", rate=0.0)
  entries = batch(labeled=12)
  entries.pop("unlabeled")
  data = batches.by_step(entries, 3, 4, 0)
  singles = [float(made.train_on_batch(data[i], return_dict=True)["loss"])
             for i in range(3)]
  made.reset_metrics()
  history = made.fit(
      data, steps_per_epoch=3, shuffle=False, verbose=0).history
  assert len(set(singles)) == 3
  assert history["loss"][0] == pytest.approx(np.mean(singles), rel=1e-5)


def test_training_improves_and_predict_gives_the_networks_logits():
  made = student(Supervised())
  first = float(made.train_on_batch(batch(), return_dict=True)["loss"])
  for _ in range(20):
    made.reset_metrics()
    last = float(made.train_on_batch(batch(), return_dict=True)["loss"])
  assert last < first / 2
  assert int(ops.convert_to_numpy(made.step)) == 21
  images = batch()["labeled"]
  np.testing.assert_allclose(
      made.predict(images, verbose=0), made.network.predict(images, verbose=0),
      rtol=1e-6)


def test_evaluate_works_as_for_any_keras_model():
  made = plain_student("supervised")
  made.compile(
      keras.optimizers.SGD(0.1), jit_compile=False,
      loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
      metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
  data = batch(labeled=30)
  scores = made.predict(data["labeled"], verbose=0)
  logs = made.evaluate(
      data["labeled"], data["labels"], verbose=0, return_dict=True)
  assert logs["accuracy"] == pytest.approx(
      (scores.argmax(axis=1) == data["labels"]).mean(), abs=1e-6)


def test_augmentation_acts_in_training_only_and_by_its_seed():
  def losses(seed):
    made = plain_student("supervised", rate=0.0,
                         augment=augment.Augment(shift=3, seed=seed))
    found = []
    for _ in range(2):
      made.reset_metrics()
      found.append(float(made.train_on_batch(
          batch(), return_dict=True)["loss"]))
    images = batch()["labeled"]
    np.testing.assert_array_equal(
        made.predict(images, verbose=0), made.predict(images, verbose=0))
    return found

  assert losses(1) == losses(1)
  assert losses(1) != losses(2)
  assert losses(1)[0] != losses(1)[1]


def test_only_the_surrogates_own_weights_are_saved(tmp_path):
  made = student(OBJECTIVES["rotation"])
  made.train_on_batch(batch())
  assert made.extended.count_params() == (
      made.network.count_params() + 4 * (4 * 4 + 1))
  made.network.save(tmp_path / "s.keras")
  again = keras.saving.load_model(tmp_path / "s.keras", safe_mode=True)
  images = batch()["labeled"]
  np.testing.assert_allclose(
      again.predict(images, verbose=0), made.predict(images, verbose=0),
      rtol=1e-6)


def test_under_bfloat16_targets_and_losses_stay_single_precision():
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    made = student(OBJECTIVES["rotation"], augment=augment.Augment(shift=1))
    logs = made.train_on_batch(batch(), return_dict=True)
  finally:
    keras.config.set_dtype_policy("float32")
  single = student(OBJECTIVES["rotation"], augment=augment.Augment(shift=1))
  expected = single.train_on_batch(batch(), return_dict=True)
  assert made.network.output.dtype == "float32"
  assert made.network.layers[3].compute_dtype == "bfloat16"
  assert float(logs["loss"]) == pytest.approx(float(expected["loss"]), rel=0.02)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="compiles none")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_is_compiled_again_between_steps(name, monkeypatch):
  """Python sees an objective when its step is traced, and then no more."""
  kind, traced = type(OBJECTIVES[name]), []
  real = kind.__call__
  monkeypatch.setattr(
      kind, "__call__", lambda self, network, batch, training: (
          traced.append(1), real(self, network, batch, training))[1])
  counts = []
  for steps in (6, 18):
    made, before = plain_student(name), len(traced)
    entries = batch(labeled=32, unlabeled=0)
    entries.pop("unlabeled")
    fit.fit(made, batches.by_step(
        entries, steps, 16, 5, batch(1, unlabeled=32)["unlabeled"], 8),
                 steps, checkpoint_every=2)
    counts.append(len(traced) - before)
  assert counts[0] == counts[1] <= 4
