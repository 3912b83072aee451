"""Keras models as people save them: other layouts, heads, types, versions."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from wsl_extraction.data.convert import parts_of
from wsl_extraction.errors import InputError
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import convert, inspection
from wsl_extraction.victims.keras_file import KerasFile, KerasModel

COLOUR = np.random.default_rng(0).integers(0, 256, (24, 6, 5, 3), np.uint8)
GREY = COLOUR[..., :1]


def model(shape, classes=4, activation=None, dtype=None, head=lambda x: x):
  image = keras.Input(shape)
  x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
  return keras.Model(image, head(layers.Dense(
      classes, activation, dtype=dtype)(x)))


def loaded(made, images=COLOUR, num_classes=None, **options):
  parts = parts_of(images, images, num_classes=num_classes)
  victim = KerasModel(made, **options).load(parts, Runtime())
  assert inspection.check_victim(victim, parts, pytest.fail) == 16
  return victim


@pytest.mark.parametrize("shape, images, layout", [
    ((3, 6, 5), COLOUR, lambda x: x.transpose(0, 3, 1, 2)),
    ((3, None, None), COLOUR, lambda x: x.transpose(0, 3, 1, 2)),
    ((90,), COLOUR, lambda x: x.reshape(-1, 90)),
    ((6, 5), GREY, lambda x: x[..., 0]), ((1, 6, 5), GREY, None),
    ((6, 5, 1), GREY.reshape(-1, 30), lambda x: x.reshape(-1, 6, 5, 1)),
    ((6, 5, 3), COLOUR, lambda x: x)])
def test_other_layouts_of_the_same_numbers_are_made(shape, images, layout):
  if None in shape:
    image = keras.Input(shape)
    made = keras.Model(image, layers.Dense(4)(
        layers.GlobalAveragePooling2D(data_format="channels_first")(image)))
  else:
    made = model(shape)
  layout = layout or (lambda x: x.transpose(0, 3, 1, 2))
  np.testing.assert_allclose(
      loaded(made, images).predict(images),
      made.predict(layout(images).astype("float32"), verbose=0), rtol=1e-5,
      atol=1e-5)


@pytest.mark.parametrize("shape, images, message", [
    ((6, 5, 3), GREY, "convert the data, as one of the two is grey"),
    ((6, 5, 1), COLOUR, "convert the data, as one of the two is grey"),
    ((5, 6, 3), COLOUR, "use the data that it was made for"),
    ((80,), COLOUR, "use the data that it was made for")])
def test_other_numbers_are_refused(shape, images, message):
  with pytest.raises(InputError, match=rf"takes inputs of shape .*; {message}"):
    loaded(model(shape), images)


@pytest.mark.parametrize("head", [
    lambda x: {"scores": x}, lambda x: [x], lambda x: (x,)])
def test_an_output_in_a_dictionary_or_list_is_taken_out(head):
  made = model((6, 5, 3), head=head)
  bare = keras.Model(made.inputs, made.outputs[0])
  np.testing.assert_allclose(
      loaded(made).predict(COLOUR), bare.predict(COLOUR, verbose=0), rtol=1e-5)
  source, _ = convert.source_of(made, COLOUR[:16])
  assert isinstance(source, KerasModel) and source.outputs == "logits"


@pytest.mark.parametrize("head", [
    lambda x: {"a": x, "b": x + 1}, lambda x: [x, x + 1]])
def test_several_outputs_are_refused(head):
  with pytest.raises(InputError, match=r"save a keras\.Model of one of them"):
    loaded(model((6, 5, 3), head=head))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_heads_of_half_precision(dtype):
  made = model((6, 5, 3), 10, "softmax", dtype)
  scores = loaded(made, outputs="probabilities").predict(COLOUR)
  assert scores.shape == (24, 10)
  np.testing.assert_allclose(scores.sum(axis=1, dtype=float), 1, atol=0.05)
  source, _ = convert.source_of(made, COLOUR[:16])
  assert isinstance(source, KerasModel) and source.outputs == "probabilities"


@pytest.mark.parametrize("activation, outputs", [
    ("sigmoid", "probabilities"), (None, "logits")])
@pytest.mark.parametrize("num_classes", [None, 2])
def test_one_output_is_two_classes(activation, outputs, num_classes):
  made = model((6, 5, 3), 1, activation)
  victim = loaded(made, num_classes=num_classes, outputs=outputs)
  assert victim.outputs == 2
  second = made.predict(COLOUR, verbose=0)
  first = 1 - second if activation else np.zeros_like(second)
  np.testing.assert_allclose(
      victim.predict(COLOUR), np.concatenate([first, second], 1), atol=1e-6)
  with pytest.raises(InputError, match=r"gives outputs of shape \(None, 1\)"):
    loaded(made, num_classes=3)


def test_a_file_of_another_version_is_named_as_such(tmp_path):
  path = tmp_path / "m.keras"
  model((6, 5, 3)).save(path)
  with zipfile.ZipFile(path) as file:
    parts = {name: file.read(name) for name in file.namelist()}
  metadata = json.loads(parts["metadata.json"])
  parts["metadata.json"] = json.dumps(
      {**metadata, "keras_version": "4.2.0"}).encode()
  parts["config.json"] = parts["config.json"].replace(
      b'"class_name": "Dense"', b'"class_name": "DenseOfTomorrow"')
  with zipfile.ZipFile(path, "w") as file:
    for name, content in parts.items():
      file.writestr(name, content)
  expected = (r"m\.keras was saved by Keras 4\.2\.0, and this is Keras "
              rf"{keras.__version__}, which cannot load it .*; save it anew")
  with pytest.raises(InputError, match=expected) as caught:
    KerasFile(str(path)).load(parts_of(COLOUR), Runtime())
  assert "\n" not in str(caught.value)
