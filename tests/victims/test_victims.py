"""Victims: trained once and found again, loaded safely, or any function."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.runtime import devices
from wsl_extraction.training import augment
from wsl_extraction.victims.function import Function
from wsl_extraction.victims.keras_file import KerasFile, load
from wsl_extraction.victims.trained import Trained
from wsl_extraction.victims.victim import Surroundings


@pytest.fixture
def dataset():
  """Two classes told apart by brightness."""
  rng = np.random.default_rng(0)
  labels = (np.arange(120) % 2).astype(np.int32)
  images = rng.integers(0, 100, (120, 8, 8, 1)) + labels[
      :, None, None, None] * 150
  return Dataset("bright", Examples(images.astype(np.uint8), labels), None,
                 ("dark", "light"), (0.0, 255.0))


@pytest.fixture
def parts(dataset):
  return Split(private=80, pool=20, test=20)(dataset)


def recipe(**kwargs):
  return Trained(**{
      "network": functools.partial(
          resnet_v2, depth=8, width=4, batch_norm_momentum=0.5),
      "optimizer": functools.partial(keras.optimizers.SGD, 0.1),
      "augment": functools.partial(augment.Augment, shift=1),
      "steps": 20, "batch_size": 16, "checkpoint_every": 10, **kwargs})


def surroundings(folder):
  return Surroundings(folder, compile_options=devices.compile_options())


def accuracy(victim, examples):
  return (victim.predict(examples.rows).argmax(1) == examples.labels).mean()


def test_a_trained_victim_learns_and_is_found_again(tmp_path, dataset, parts):
  trained = []
  spied = Surroundings(
      tmp_path, lambda steps, images: trained.append((steps, images)) or [],
      devices.compile_options())
  first = recipe()(dataset, parts, spied)
  assert accuracy(first, parts.test) == 1.0
  again = recipe()(dataset, parts, spied)
  assert trained == [(20, 16)]
  np.testing.assert_array_equal(
      again.predict(parts.test.rows), first.predict(parts.test.rows))
  assert again.fingerprint == first.fingerprint
  assert [path.suffix for path in (tmp_path / "victims").iterdir()] == [
      ".keras"]


@pytest.mark.parametrize("change", [
    {"steps": 10}, {"batch_size": 8}, {"seed": 1}, {"augment": None},
    {"optimizer": functools.partial(keras.optimizers.SGD, 0.05)},
    {"network": functools.partial(
        resnet_v2, depth=8, width=4, batch_norm_momentum=0.6)},
    {"augment": functools.partial(augment.Augment, shift=2)}])
def test_another_recipe_is_another_victim(change, dataset, parts):
  def key(made):
    network = made.network(
        input_shape=dataset.input_shape, num_classes=2, seed=made.seed,
        value_range=dataset.value_range)
    return made._key(network, made.optimizer(), parts)

  assert key(recipe()) == key(recipe())
  assert key(recipe(**change)) != key(recipe())


def test_another_private_part_is_another_victim(dataset, parts):
  made = recipe()
  network = made.network(input_shape=(8, 8, 1), num_classes=2, seed=0)
  other = Split(private=80, pool=20, test=20, seed=1)(dataset)
  assert made._key(network, made.optimizer(), parts) != made._key(
      network, made.optimizer(), other)


def test_a_victim_needs_private_examples(tmp_path, dataset):
  nothing = Split(private=0, pool=20, test=20)(dataset)
  with pytest.raises(InputError, match=r"Split.private"):
    recipe()(dataset, nothing, surroundings(tmp_path))


def saved(path, activation=None, side=8, classes=2):
  image = keras.Input((side, side, 1))
  x = keras.layers.Rescaling(1 / 255)(image)
  x = keras.layers.Flatten()(x)
  model = keras.Model(image, keras.layers.Dense(
      classes, activation=activation)(x))
  model.save(path)
  return model


def test_a_keras_file_answers_as_the_model_does(tmp_path, dataset, parts):
  model = saved(tmp_path / "m.keras")
  victim = KerasFile(path=str(tmp_path / "m.keras"))(
      dataset, parts, surroundings(tmp_path))
  np.testing.assert_allclose(
      victim.predict(parts.test.rows),
      model.predict(parts.test.rows, verbose=0), rtol=1e-6)


def test_a_keras_file_may_want_another_range(tmp_path, dataset, parts):
  model = saved(tmp_path / "m.keras")
  victim = KerasFile(path=str(tmp_path / "m.keras"), value_range=(-1.0, 1.0))(
      dataset, parts, surroundings(tmp_path))
  np.testing.assert_allclose(
      victim.predict(parts.test.rows),
      model.predict(parts.test.rows / 127.5 - 1, verbose=0), rtol=1e-4,
      atol=1e-6)


@pytest.mark.parametrize("declared, activation", [
    ("probabilities", None), ("logits", "softmax")])
def test_a_wrong_declaration_is_caught(
    tmp_path, dataset, parts, declared, activation):
  saved(tmp_path / "m.keras", activation)
  victim = KerasFile(path=str(tmp_path / "m.keras"), outputs=declared)(
      dataset, parts, surroundings(tmp_path))
  oracle = Oracle(victim.predict, outputs=victim.outputs,
                  input_shape=victim.input_shape, num_classes=2)
  with pytest.raises(InputError, match="declare"):
    oracle.query(parts.test.rows)


@pytest.mark.parametrize("kwargs, message", [
    ({"side": 9}, "takes inputs of shape"),
    ({"classes": 3}, "gives outputs of shape")])
def test_a_keras_file_of_other_data(tmp_path, dataset, parts, kwargs, message):
  saved(tmp_path / "m.keras", **kwargs)
  with pytest.raises(InputError, match=message):
    KerasFile(path=str(tmp_path / "m.keras"))(
        dataset, parts, surroundings(tmp_path))


def test_missing_damaged_and_foreign_files(tmp_path):
  with pytest.raises(InputError, match="there is no model file"):
    load(tmp_path / "none.keras")
  (tmp_path / "text.keras").write_text("no model")
  with pytest.raises(InputError, match=r"no \.keras file"):
    load(tmp_path / "text.keras")
  saved(tmp_path / "m.keras")
  whole = (tmp_path / "m.keras").read_bytes()
  for cut in (len(whole) // 2, len(whole) - 10):
    (tmp_path / "m.keras").write_bytes(whole[:cut])
    with pytest.raises(InputError, match=r"m\.keras"):
      load(tmp_path / "m.keras")


def test_code_in_a_keras_file_is_refused_and_not_run(tmp_path):
  image = keras.Input((2,))
  mark = tmp_path / "ran"
  code = f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]"
  keras.Model(image, keras.layers.Lambda(eval(code))(image)).save(
      tmp_path / "m.keras")
  mark.unlink()
  with pytest.raises(InputError, match="code"):
    load(tmp_path / "m.keras")
  assert not mark.exists()


def brightness(images):
  share = images.reshape(len(images), -1).mean(axis=1) / 255
  return np.stack([1 - share, share], axis=1)


def darkness(images):
  return brightness(images)[:, ::-1]


def test_any_function_can_be_a_victim(tmp_path, dataset, parts):
  victim = Function(function=brightness)(
      dataset, parts, surroundings(tmp_path))
  np.testing.assert_array_equal(
      victim.predict(parts.test.rows), brightness(parts.test.rows))
  prints = {
      Function(function=function, fingerprint=mark)(
          dataset, parts, surroundings(tmp_path)).fingerprint
      for function in (brightness, darkness) for mark in ("", "v2")}
  assert len(prints) == 4
  # Scores are another answer if the same numbers are taken for logits.
  assert Function(function=brightness, outputs="logits")(
      dataset, parts, surroundings(tmp_path)).fingerprint not in prints
  with pytest.raises(InputError, match="by reference"):
    Function(function="brightness")(dataset, parts, surroundings(tmp_path))
