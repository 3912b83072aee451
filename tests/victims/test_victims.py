"""Victims: trained once and found again, loaded safely, or any function."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest

from wsl_extraction.data import datasets
from wsl_extraction.data.examples import Examples, image_dataset
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimMismatch
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Label
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training import augment
from wsl_extraction.training.recipe import Recipe
from wsl_extraction.victims.function import Function
from wsl_extraction.victims.keras_file import KerasFile, KerasModel, load
from wsl_extraction.victims.trained import Trained


@pytest.fixture
def dataset():
  """Two classes told apart by brightness."""
  rng = np.random.default_rng(0)
  labels = (np.arange(120) % 2).astype(np.int32)
  images = rng.integers(0, 100, (120, 8, 8, 1)) + labels[
      :, None, None, None] * 150
  return image_dataset("bright", Examples(images.astype(np.uint8), labels),
                       None, ("dark", "light"))


@pytest.fixture
def parts(dataset):
  return Split(private=80, pool=20, test=20)(dataset)


def trained(seed=0, **kwargs):
  return Trained(seed=seed, recipe=Recipe(**{
      "network": functools.partial(
          resnet_v2, depth=8, width=4, batch_norm_momentum=0.5),
      "optimizer": functools.partial(keras.optimizers.SGD, 0.1),
      "augment": functools.partial(augment.Augment, shift=1),
      "steps": 20, "batch_size": 16, "checkpoint_every": 10, **kwargs}))


def runtime(folder):
  return Runtime(cache=folder, compile_options=devices.compile_options())


def accuracy(victim, examples):
  return (victim.predict(examples.rows).argmax(1) == examples.labels).mean()


def test_a_trained_victim_learns_and_is_found_again(tmp_path, parts):
  trainings = []
  spied = Runtime(
      cache=tmp_path, compile_options=devices.compile_options(),
      training_callbacks=lambda *size: trainings.append(size) or [])
  first = trained().load(parts, spied)
  assert set(first.quantities) == {Quantity.LOGITS}
  assert (first.space, first.outputs) == (parts.space, 2)
  assert accuracy(first, parts.test) == 1.0
  again = trained().load(parts, spied)
  assert trainings == [("victim", 20, 16)]
  np.testing.assert_array_equal(
      again.predict(parts.test.rows), first.predict(parts.test.rows))
  assert again.fingerprint == first.fingerprint
  assert [path.suffix for path in (tmp_path / "victims").iterdir()] == [
      ".keras"]


def key(victim, parts):
  return victim._key(
      victim.recipe.make_network(parts.space, 2, victim.seed), parts)


@pytest.mark.parametrize("change", [
    {"steps": 10}, {"batch_size": 8}, {"seed": 1}, {"augment": None},
    {"optimizer": functools.partial(keras.optimizers.SGD, 0.05)},
    {"accumulate": 2},
    {"network": functools.partial(
        resnet_v2, depth=8, width=4, batch_norm_momentum=0.6)},
    {"augment": functools.partial(augment.Augment, shift=2)}])
def test_another_recipe_is_another_victim(change, parts):
  assert key(trained(), parts) == key(trained(), parts)
  assert key(trained(**change), parts) != key(trained(), parts)


def test_another_private_part_is_another_victim(dataset, parts):
  other = Split(private=80, pool=20, test=20, seed=1)(dataset)
  assert key(trained(), parts) != key(trained(), other)


def test_a_perceptron_of_a_table_is_found_again():
  """Its initializers share a generator of seeds, which Keras numbers."""
  table = Split(private=100, pool=20, test=20)(datasets.load("iris"))
  victim = trained(
      network=functools.partial(dense.mlp, hidden=(4,)), augment=None)

  def described(parts):
    return victim._key(victim.recipe.make_network(
        parts.space, 3, victim.seed, parts.private.rows), parts)

  other = dataclasses.replace(
      table, private=table.private.take(np.arange(99)))
  assert described(table) == described(table) != described(other)


def test_a_victim_needs_private_examples(tmp_path, dataset):
  nothing = Split(private=0, pool=20, test=20)(dataset)
  with pytest.raises(InputError, match=r"Split.private"):
    trained().load(nothing, runtime(tmp_path))


def saved(path, activation=None, side=8, classes=2):
  image = keras.Input((side, side, 1))
  x = keras.layers.Rescaling(1 / 255)(image)
  x = keras.layers.Flatten()(x)
  model = keras.Model(image, keras.layers.Dense(
      classes, activation=activation)(x))
  model.save(path)
  return model


@pytest.fixture(params=["file", "at hand"])
def keras_victim(request, tmp_path, parts):
  """Makes a victim of the Keras model in m.keras, or of a model at hand."""
  def make(**options):
    path = tmp_path / "m.keras"
    source = (KerasFile(path=str(path), **options)
              if request.param == "file" else
              KerasModel(model=load(path), **options))
    return source.load(parts, runtime(tmp_path))

  return make


@pytest.mark.parametrize("batch_size", [3, 256])
def test_a_keras_model_answers_as_by_itself(
    tmp_path, parts, keras_victim, batch_size):
  model = saved(tmp_path / "m.keras")
  victim = keras_victim(batch_size=batch_size)
  np.testing.assert_allclose(
      victim.predict(parts.test.rows),
      model.predict(parts.test.rows, verbose=0), rtol=1e-6)


def test_a_keras_model_may_want_another_range(tmp_path, parts, keras_victim):
  model = saved(tmp_path / "m.keras")
  victim = keras_victim(value_range=(-1.0, 1.0))
  np.testing.assert_allclose(
      victim.predict(parts.test.rows),
      model.predict(parts.test.rows / 127.5 - 1, verbose=0), rtol=1e-4,
      atol=1e-6)


@pytest.mark.parametrize("declared, activation", [
    ("probabilities", None), ("logits", "softmax")])
def test_a_wrong_declaration_is_caught_by_its_owner(
    tmp_path, parts, keras_victim, declared, activation):
  saved(tmp_path / "m.keras", activation)
  victim = keras_victim(outputs=declared)
  with pytest.raises(VictimMismatch, match="declare"):
    Oracle(Live(victim, Label(), is_owner=True)).query(parts.test.rows)
  # The adversary hears nothing of it.
  response = Oracle(Live(victim, Label())).query(parts.test.rows)
  np.testing.assert_array_equal(
      response.top_classes, victim.predict(parts.test.rows).argmax(axis=1))


@pytest.mark.parametrize("kwargs, message", [
    ({"side": 9}, "takes inputs of shape"),
    ({"classes": 3}, "gives outputs of shape")])
def test_a_keras_model_of_other_data(tmp_path, keras_victim, kwargs, message):
  saved(tmp_path / "m.keras", **kwargs)
  with pytest.raises(InputError, match=message):
    keras_victim()


def test_what_changes_answers_changes_the_fingerprint(
    tmp_path, keras_victim):
  saved(tmp_path / "m.keras")
  prints = [keras_victim(**options).fingerprint for options in (
      {}, {"outputs": "probabilities"}, {"value_range": (0, 1)})]
  assert keras_victim(batch_size=3).fingerprint == prints[0]
  saved(tmp_path / "m.keras")  # of other initial weights
  prints.append(keras_victim().fingerprint)
  assert len(set(prints)) == 4


@pytest.mark.parametrize("source", [
    functools.partial(KerasFile, path="m.keras"),
    functools.partial(KerasModel, model=keras.Sequential())])
@pytest.mark.parametrize("settings", [
    {"outputs": "scores"}, {"value_range": (1, 0)}, {"value_range": 255},
    {"value_range": (0, float("nan"))}, {"batch_size": 0},
    {"batch_size": 2.5}])
def test_settings_that_cannot_be(source, settings):
  (name,) = settings
  with pytest.raises(
      InputError, match=rf"^Keras(File|Model)\.{name} is .*; (give|choose) "):
    source(**settings)


def test_a_model_at_hand_is_a_keras_model():
  with pytest.raises(InputError, match=r"Model\.model is 'm.*; give a Ker"):
    KerasModel(model="m.keras")


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


def test_any_function_can_be_a_victim(tmp_path, parts):
  def loaded(function, **options):
    return Function(function=function, **options).load(
        parts, runtime(tmp_path))

  victim = loaded(brightness)
  assert set(victim.quantities) == {Quantity.PROBABILITIES}
  assert (victim.space, victim.outputs) == (parts.space, 2)
  np.testing.assert_array_equal(
      victim.predict(parts.test.rows), brightness(parts.test.rows))
  prints = {
      loaded(function, fingerprint=mark).fingerprint
      for function in (brightness, darkness) for mark in ("", "v2")}
  assert len(prints) == 4
  # Scores are another answer if the same numbers are taken for logits.
  assert loaded(brightness, outputs="logits").fingerprint not in prints
  assert not victim.remote
  assert loaded(brightness, remote=True).remote
  assert loaded(brightness, num_classes=5).outputs == 5
  with pytest.raises(InputError, match="by reference"):
    loaded("brightness")


def test_the_classes_of_a_function_must_be_known(tmp_path, parts):
  unknown = dataclasses.replace(parts, class_names=None)
  with pytest.raises(InputError, match=r"give Function\.num_classes"):
    Function(function=brightness).load(unknown, runtime(tmp_path))
  victim = Function(function=brightness, num_classes=2).load(
      unknown, runtime(tmp_path))
  assert victim.outputs == 2
