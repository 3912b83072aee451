"""Networks that end in a softmax, in all its forms, train no objective."""

from __future__ import annotations

import functools

import keras
import pytest
from keras import layers, ops

from fixtures import students
from wsl_extraction.errors import InputError
from wsl_extraction.networks.classifier import check_classifier, check_logits
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation, LogitMatching
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.training.recipe import Recipe
from wsl_extraction.training.student import Student


class OwnSoftmax(layers.Layer):
  """A layer of a user's own."""

  def call(self, x):
    return ops.softmax(x)


class OwnScale(layers.Layer):
  """Another one, which bounds nothing."""

  def call(self, x):
    return x * 3 - 1


def network(*ends, activation=None):
  image = keras.Input((8, 8, 1))
  x = layers.Dense(3, activation)(layers.Flatten()(image))
  for end in ends:
    x = end(x)
  return keras.Model(image, x)


def nested(inner):
  image = keras.Input((8, 8, 1))
  return keras.Model(image, layers.Activation("linear")(inner(image)))


BOUNDED = {
    "a dense layer": lambda: network(activation="softmax"),
    "a layer": lambda: network(layers.Softmax()),
    "an activation": lambda: network(layers.Activation("softmax")),
    "an operation": lambda: network(ops.softmax),
    "a sigmoid": lambda: network(ops.sigmoid),
    "a sigmoid layer": lambda: network(activation="sigmoid"),
    "tanh": lambda: network(activation="tanh"),
    "cast to float32": lambda: network(
        layers.Softmax(), layers.Activation("linear", dtype="float32")),
    "dropped": lambda: network(layers.Softmax(), layers.Dropout(0.1)),
    "a model inside": lambda: nested(network(activation="softmax")),
    "a layer of one's own": lambda: network(OwnSoftmax()),
    "a lambda": lambda: network(layers.Lambda(ops.softmax)),
    "sequential": lambda: keras.Sequential([
        keras.Input((8, 8, 1)), layers.Flatten(),
        layers.Dense(3, activation="softmax")]),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_softmax_is_seen_wherever_it_is(name):
  with pytest.raises(InputError, match=r"ends in \w+ \(layer .* need logits"):
    check_logits(BOUNDED[name]())


@pytest.mark.parametrize("good", [
    network(), network(OwnScale()), nested(network()),
    network(layers.Activation("linear")), network(ops.log_softmax),
    network(layers.Dense(3)), network(layers.Softmax(), layers.Dense(3))])
def test_logits_pass(good):
  check_logits(good)
  assert check_classifier(good, "Recipe.network", (8, 8, 1), 3) is good


@pytest.mark.parametrize("objective", [
    *students.OBJECTIVES.values(), LogitMatching()])
def test_no_objective_trains_through_a_softmax(objective):
  with pytest.raises(InputError, match="ends in softmax"):
    Student(network(activation="softmax"), objective)


@pytest.mark.parametrize("maker, message", [
    (lambda **_: None, r"^Recipe\.network returned NoneType; return a keras"),
    (lambda **_: layers.Dense(3), "returned Dense; return a"),
    (lambda **_: keras.Sequential([layers.Dense(3)]), "one input and one outp"),
    (lambda num_classes, **_: resnet_v2(
        (8, 8, 1), num_classes + 1, depth=8, width=4),
     r"gives outputs of shape \(None, 4\), not \(None, 3\); build it by"),
    (lambda num_classes, **_: resnet_v2(
        (9, 9, 1), num_classes, depth=8, width=4),
     r"takes inputs of shape \(None, 9, 9, 1\), not \(None, 8, 8, 1\)"),
    (lambda **_: network(layers.Reshape((3, 1))),
     r"gives outputs of shape \(None, 3, 1\), not"),
    (lambda **_: network(layers.Softmax()), "ends in softmax")])
def test_a_maker_of_something_else_is_named_in_one_line(maker, message):
  recipe = Recipe(network=maker, steps=1, batch_size=2,
                  optimizer=functools.partial(keras.optimizers.SGD, 0.1))
  with pytest.raises(InputError, match=message) as caught:
    recipe.make_network(Images(8, 8, 1), 3, 0)
  assert "\n" not in str(caught.value)


def test_what_trained_through_a_softmax_trained_worse():
  """The fault itself: a second softmax leaves a loss of log c - 1 at best."""
  targets = ops.log(ops.convert_to_tensor([[1.0, 1e-9, 1e-9]]))
  batch = {"targets": targets, "revealed": ops.ones((1, 3))}
  sure = ops.convert_to_tensor([[1.0, 0.0, 0.0]])
  loss = float(Distillation(temperature=1.0).losses(sure, batch)[0])
  assert loss > 0.55
