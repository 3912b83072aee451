"""In what numbers networks compute, and what stays in float32 all the same."""

from __future__ import annotations

import json

import gin
import keras
import numpy as np
import pytest
from absl.testing import flagsaver
from keras import ops

from fixtures import commands
from wsl_extraction import cli
from wsl_extraction.data.examples import Examples, image_dataset
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.networks.wide_resnet import wide_resnet
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Objective, Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training.augment import Augment
from wsl_extraction.training.recipe import Recipe
from wsl_extraction.training.student import Student
from wsl_extraction.victims.trained import Trained

BFLOAT16 = "mixed_bfloat16"
OBJECTIVES = {
    "supervised": Supervised(), "distillation": Distillation(),
    "rotation": Rotation(base=Distillation()),
    "mixmatch": MixMatch(ramp_steps=0)}


@pytest.fixture(autouse=True)
def _policy():
  before = keras.config.dtype_policy()
  yield
  keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("names, chosen", [
    (["cpu:0"], "float32"), (["cpu:0", "gpu:0"], BFLOAT16),
    (["cuda:0"], BFLOAT16), (["tpu:0", "tpu:1"], BFLOAT16)])
def test_auto_suits_the_device(names, chosen, monkeypatch):
  monkeypatch.setattr(devices, "names", lambda: names)
  devices.set_precision("auto")
  assert keras.config.dtype_policy().name == chosen
  assert devices.describe()["precision"] == chosen
  for name in ("float32", BFLOAT16):
    devices.set_precision(name)
    assert keras.config.dtype_policy().name == name


@pytest.mark.parametrize("name", ["float16", "mixed_float16", "", None, 32, []])
def test_other_names_are_refused(name):
  before = keras.config.dtype_policy().name
  with pytest.raises(InputError, match=r"precision is .*; give one of auto, "):
    devices.set_precision(name)
  assert keras.config.dtype_policy().name == before


def batch():
  rng = np.random.default_rng(0)
  return {
      "labeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "unlabeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "labels": rng.integers(0, 3, 8).astype("int32"),
      "targets": rng.normal(size=(8, 3)).astype("float32"),
      "revealed": np.ones((8, 3), np.uint8),
  }


def student(name, rate=0.01):
  network = resnet_v2((8, 8, 1), 3, depth=8, width=4, seed=0)
  made = Student(network, OBJECTIVES[name], seed=1)
  made.compile(keras.optimizers.SGD(rate), jit_compile=devices.jit_compile())
  return made


def dtype(tensor):
  return keras.backend.standardize_dtype(tensor.dtype)


def number(tensor):
  return float(ops.convert_to_numpy(tensor))


def copied(source, target):
  for old, new in zip(source.extended.weights, target.extended.weights,
                      strict=True):
    new.assign(np.array(ops.convert_to_numpy(old)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_computed_in_float32(name):
  exact = student(name)
  devices.set_precision(BFLOAT16)
  rounded = student(name)
  copied(exact, rounded)
  conv = rounded.network.get_layer("conv1_conv")
  assert (conv.compute_dtype, conv.variable_dtype) == ("bfloat16", "float32")
  terms, expected = (made(batch(), training=True) for made in (rounded, exact))
  logits = rounded(batch()["labeled"])
  assert {dtype(term) for term in (*terms.values(), logits)} == {"float32"}
  for term, value in terms.items():
    assert number(value) == pytest.approx(number(expected[term]), rel=0.1)
  # Numbers that bfloat16 cannot hold, so not rounded on their way.
  assert any(
      number(value) != number(ops.cast(ops.cast(value, "bfloat16"), "float32"))
      for value in terms.values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_trains_float32_weights(name):
  devices.set_precision(BFLOAT16)
  made = student(name, rate=1e-4)
  before = [np.array(ops.convert_to_numpy(v)) for v in made.trainable_variables]
  loss = made.train_on_batch(batch(), return_dict=True)["loss"]
  assert np.isfinite(float(loss))
  kernels = 0
  for variable, old in zip(made.trainable_variables, before, strict=True):
    new = ops.convert_to_numpy(variable)
    assert new.dtype == np.float32
    # Steps too small for bfloat16, which has three digits.
    if variable.name == "kernel":
      kernels += 1
      assert 0 < np.abs(new - old).max() < 1e-2
  assert kernels > 5


class Looking(Objective):
  """Remembers the images that it was given."""

  seen = None

  @property
  def terms(self):
    return ("nothing",)

  @property
  def entries(self):
    return frozenset()

  def __call__(self, network, batch, training):
    object.__setattr__(self, "seen", batch["labeled"])
    return {"nothing": 0.0}


@pytest.mark.parametrize("augmented", [False, True])
def test_images_reach_the_network_as_they_are(augmented):
  devices.set_precision(BFLOAT16)
  augment = Augment(shift=2, flip=True) if augmented else None
  images = np.random.default_rng(0).uniform(
      0, 255, (4, 8, 8, 1)).astype("float32")
  objective = Looking()
  Student(wide_resnet((8, 8, 1), 3, depth=10, width=1), objective,
          augment=augment)({"labeled": images}, training=True)
  seen = ops.convert_to_numpy(objective.seen)
  assert seen.dtype == np.float32
  for old, new in zip(images, seen, strict=True):
    assert set(new.ravel().tolist()) <= set(old.ravel().tolist())


def test_the_first_layer_works_in_float32():
  devices.set_precision(BFLOAT16)
  network = wide_resnet((8, 8, 1), 3, depth=10, width=1)
  centred = keras.Model(network.input, network.get_layer("rescaling").output)
  images = np.linspace(0, 255, 64, dtype="float32").reshape(1, 8, 8, 1)
  np.testing.assert_allclose(
      ops.convert_to_numpy(centred(images)), images / 127.5 - 1, atol=1e-6)


def test_a_victim_of_another_precision_is_another_victim(tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
  examples = Examples(images, (np.arange(40) % 2).astype(np.int32))
  dataset = image_dataset("noise", examples, None, ("a", "b"))
  parts = Split(private=30, pool=5, test=5)(dataset)
  victim = Trained(recipe=Recipe(
      network=lambda **kwargs: wide_resnet(**kwargs, depth=10, width=1),
      optimizer=keras.optimizers.SGD, steps=1, batch_size=8))
  for name in ("float32", BFLOAT16, "float32", BFLOAT16):
    devices.set_precision(name)
    victim.load(parts, Runtime(cache=tmp_path))
  kept = sorted((tmp_path / "victims").glob("*.keras"))
  assert len(kept) == 2
  devices.set_precision("float32")
  assert sorted(
      keras.saving.load_model(path).get_layer("conv1").compute_dtype
      for path in kept) == ["bfloat16", "float32"]


@pytest.fixture(name="flags")
def fixture_flags():
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  with flagsaver.flagsaver(gin_file=["gin/rotation.gin"]):
    yield cli.FLAGS
  gin.clear_config()


def test_an_experiment_names_its_precision(flags):
  flags.gin_bindings = [f"Experiment.precision = {BFLOAT16!r}"]
  cli.experiment()
  assert keras.config.dtype_policy().name == BFLOAT16
  flags.gin_bindings = ["Experiment.precision = 'half'"]
  with pytest.raises(InputError, match=(
      r"^Experiment.precision is 'half'; give one of auto, float32, mixed_bf")):
    cli.experiment()


@pytest.mark.slow
def test_a_run_is_evaluated_in_its_own_precision(tmp_path):
  commands.write_modules(tmp_path)

  def run(name, *arguments):
    done = commands.run(commands.command(name, *arguments), tmp_path,
                        commands.environment(tmp_path))
    assert done.status == 0, done.stderr

  run("train", "--gin_file=base.gin", "--workdir=run",
      "--gin_bindings=Experiment.precision = 'auto'")
  path = tmp_path / "run/result.json"
  result = json.loads(path.read_text())
  assert result["precision"] in ("float32", BFLOAT16)
  # As if "auto" had been another device's.
  (other,) = {"float32", BFLOAT16} - {result["precision"]}
  path.write_text(json.dumps({**result, "precision": other}))
  run("evaluate", "--workdir=run", "--output=again.json")
  again = json.loads((tmp_path / "again.json").read_text())
  assert again["precision"] == other
  assert again["surrogate"] == result["surrogate"]
