"""Keras models read as the graphs that they are, held against Keras itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from wsl_extraction.equivalence.decide import Different, decide
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense, keras_reader


def relu_dense(units):
  return layers.Dense(units, activation="relu")


def through(shape, function) -> keras.Model:
  inputs = keras.Input(shape)
  return keras.Model(inputs, function(inputs))


def in_a_row(shape, *parts) -> keras.Model:
  return keras.Sequential([keras.Input(shape), *parts])


def shared_layer():
  both = relu_dense(4)
  return through((4,), lambda x: layers.Dense(2)(both(both(x))))


def skipping():
  """Inputs and first hidden units that are read again further up."""
  def function(x):
    first = relu_dense(5)(x)
    second = relu_dense(4)(layers.Concatenate()([first, x]))
    third = relu_dense(4)(second)
    return layers.Dense(3)(layers.Concatenate()([third, first, x]))
  return through((3,), function)


def residual():
  def function(x):
    first = relu_dense(3)(x)
    second = layers.Dense(3)(first)
    return layers.Dense(2)(layers.ReLU()(layers.Add()([second, x])))
  return through((3,), function)


def nested_twice():
  inner = in_a_row((4,), relu_dense(6), layers.Dense(4))
  return through((4,), lambda x: layers.Subtract()([inner(inner(x)), x]))


def image_network():
  return in_a_row(
      (6, 6, 2), layers.Rescaling(1 / 127.5, -1),
      layers.Conv2D(3, 3, activation="relu", padding="same", strides=2),
      layers.BatchNormalization(), layers.DepthwiseConv2D(2),
      layers.LeakyReLU(0.1), layers.AveragePooling2D(2, padding="same"),
      layers.Flatten(), layers.Dropout(0.5), layers.Dense(3))


def normalized():
  layer = layers.Normalization(mean=[1.0, -2.0, 0.5], variance=[4.0, 0.1, 2.0])
  return in_a_row((3,), layer, relu_dense(4), layers.Dense(2))


def with_lora():
  model = in_a_row((4,), relu_dense(8), layers.Dense(2))
  model.layers[0].enable_lora(2)
  factor = model.layers[0].lora_kernel_b
  factor.assign(np.ones(factor.shape))
  return model


def operators():
  def function(x):
    first = relu_dense(3)(x)
    return ops.relu(first + x - 0.5) + np.arange(3.0, dtype="float32")
  return through((3,), function)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "shared layer": shared_layer, "skipping": skipping, "residual": residual,
    "nested twice": nested_twice, "images": image_network,
    "normalized": normalized, "LoRA": with_lora, "operators": operators,
    "rank 3": lambda: in_a_row((3, 4), relu_dense(5), layers.Dense(2)),
    "dense on dense": lambda: in_a_row(
        (3,), layers.Dense(4), layers.Dense(5), relu_dense(4),
        layers.Dense(3), layers.Dense(2)),
    "ReLU twice": lambda: in_a_row(
        (3,), relu_dense(4), layers.ReLU(), layers.Activation("relu"),
        layers.Dense(2)),
    "ReLU at both ends": lambda: in_a_row(
        (3,), layers.ReLU(), relu_dense(4)),
    "bounded and leaky": lambda: in_a_row(
        (3,), layers.Dense(4), layers.ReLU(max_value=0.5, negative_slope=0.3),
        layers.Dense(4, activation="leaky_relu"), layers.PReLU("ones"),
        layers.Dense(3, activation="relu6"), layers.Dense(2)),
    "activation that is a layer": lambda: in_a_row(
        (3,), layers.Dense(4, activation=layers.LeakyReLU(0.2)),
        layers.Dense(2)),
    "pooled and moved": lambda: in_a_row(
        (4, 6), layers.Permute((2, 1)), layers.Conv1D(3, 2, activation="relu"),
        layers.ZeroPadding1D(1), layers.AveragePooling1D(2),
        layers.Reshape((9, 1)), layers.Conv1D(2, 3),
        layers.GlobalAveragePooling1D(), layers.BatchNormalization()),
    "average": lambda: through((3,), lambda x: layers.Average()(
        [relu_dense(4)(x), layers.Dense(4)(x), relu_dense(4)(x)])),
    "affine": lambda: in_a_row((2, 2), layers.Flatten(), layers.Dense(3)),
    "no weights": lambda: in_a_row((3,), layers.Flatten()),
}


def disturbed(model, rng):
  """Gives each weight another value, the statistics of norms too."""
  for variable in model.variables:
    if "seed" in variable.path or not variable.shape:
      continue
    values = rng.normal(size=variable.shape)
    is_spread = "variance" in variable.path
    variable.assign(np.abs(values) + 0.1 if is_spread else values)


@pytest.mark.parametrize("name", MODELS)
def test_read_as_it_answers(name):
  rng = np.random.default_rng(3)
  model = MODELS[name]()
  if name != "LoRA":
    disturbed(model, rng)
  network = dense.network_of(model)
  rows = rng.normal(size=(50, *model.input_shape[1:])).astype("float32")
  answers = np.asarray(model.predict_on_batch(rows)).reshape(len(rows), -1)
  own = network(rows.reshape(len(rows), -1))
  np.testing.assert_allclose(
      own, answers, rtol=1e-4, atol=1e-5 * np.abs(answers).max())
  # Not by chance: no row is answered like another.
  assert np.abs(answers - answers[::-1]).max() > 1e-3


def test_dense_layers_keep_their_weights():
  model = in_a_row((3,), relu_dense(4), layers.Dense(2))
  for own, theirs in zip(dense.network_of(model).weights,
                         model.get_weights()[::2], strict=True):
    np.testing.assert_array_equal(own, theirs)


def test_a_layer_that_counts_twice_is_told_from_one_that_counts_once():
  both = relu_dense(4)
  twice = through((4,), lambda x: both(both(x)))
  both.set_weights([2 * np.eye(4), np.zeros(4)])
  once = keras.Model(twice.inputs, both(twice.inputs[0]))
  answer = decide(
      dense.network_of(twice), dense.network_of(once), Box.unit(4))
  assert isinstance(answer, Different)
  assert answer.difference == 2  # 4 x and 2 x, at 1


class Doubled(layers.Dense):
  """Looks like a dense layer to everyone but to its caller."""

  def call(self, inputs, training=None):
    return 2 * super().call(inputs)


@keras.saving.register_keras_serializable("test")
class Lying(keras.Model):
  """A functional model that answers otherwise than its graph."""

  def call(self, inputs, training=None, mask=None):
    result: Any = super().call(inputs, training=training)
    return result + 1e-3


def lying() -> keras.Model:
  inputs = keras.Input((3,))
  return Lying(inputs, layers.Dense(2)(inputs))


def two_outputs():
  inputs = keras.Input((3,))
  return keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])


def two_inputs():
  inputs = [keras.Input((3,)), keras.Input((3,))]
  return keras.Model(inputs, layers.Add()(inputs))


def in_training():
  norm = layers.BatchNormalization()
  return through((3,), lambda x: layers.Dense(2)(norm(x, training=True)))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: in_a_row((4, 4, 1), layers.MaxPooling2D(), layers.Flatten()),
     r"MaxPooling2D\) cannot"),
    (lambda: in_a_row((3,), layers.Dense(2, activation="tanh")),
     "activation tanh"),
    (lambda: in_a_row((3,), layers.Dense(2), layers.Activation("sigmoid")),
     "activation sigmoid"),
    (lambda: in_a_row((3,), layers.Dense(2), layers.Softmax()), "Softmax"),
    (lambda: in_a_row((3,), layers.ReLU(threshold=1.0)), "threshold"),
    (lambda: in_a_row((3,), Doubled(2)), r"Doubled\) cannot"),
    (lambda: in_a_row((3,), layers.LayerNormalization()), "LayerNorm"),
    (lambda: in_a_row((3,), layers.Lambda(lambda x: x)), "Lambda"),
    (lambda: through((3,), lambda x: layers.Multiply()([x, x])), "Multiply"),
    (lambda: through((3,), lambda x: x * x), r"Multiply\) cannot"),
    (two_outputs, "one input and one output"),
    (two_inputs, "one input and one output"),
    (in_training, "as in training"),
    (lambda: in_a_row((None, 3), layers.Dense(2)), "fixed shape"),
    (lambda: through((3,), lambda x: layers.Add()(
        [layers.Dense(2)(x), layers.Dense(1)(x)])), "different shapes"),
    (lying, "off what its layers say"),
])
def test_what_is_not_understood_is_refused(make, said):
  with pytest.raises(InputError, match=said) as error:
    keras_reader.read(make())
  assert "\n" not in str(error.value)


def test_whole_numbers_are_refused():
  inputs = keras.Input((3,), dtype="uint8")
  model = keras.Model(inputs, layers.Dense(2)(layers.Rescaling(1.0)(inputs)))
  with pytest.raises(InputError, match="takes uint8"):
    keras_reader.read(model)


def test_matrices_that_are_too_large_are_refused():
  model = in_a_row((64, 64, 3), layers.Conv2D(64, 3))
  with pytest.raises(InputError, match="as a matrix"):
    keras_reader.read(model)


def test_half_precision_is_read_and_rounds():
  model = keras.Sequential([
      keras.Input((3,)), layers.Dense(8, activation="relu", dtype="float16"),
      layers.Dense(2, dtype="float32")])
  network = keras_reader.read(model)
  assert network.hidden == (8,)
