"""MixMatch's loss and gradient against hand computations in NumPy."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import scipy.special
from keras import layers, ops

from fixtures import oracles
from fixtures.interleaving import swapped
from wsl_extraction.errors import InputError
from wsl_extraction.objectives import mixmatch
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.training import batches
from wsl_extraction.training.student import Student

CLASSES, HIDDEN, LABELED, UNLABELED, K = 3, 5, 4, 4, 2
MOMENTUM, EPSILON = 0.7, 1e-3
SETTINGS = {"alpha": 0.75, "weight": 3.0, "guesses": K, "temperature": 0.5,
            "ramp_steps": 4}


def numbers(seed=0):
  """Everything that is fixed: images, targets, weights, and what is drawn."""
  rng = np.random.default_rng(seed)
  total = LABELED + K * UNLABELED
  return {
      "labeled": rng.uniform(0, 1, (LABELED, 2, 2, 1)),
      # Its K augmentations, which differ.
      "unlabeled": rng.uniform(0, 1, (K * UNLABELED, 2, 2, 1)),
      "targets": rng.normal(size=(LABELED, CLASSES)),
      "first": rng.normal(size=(4, HIDDEN)),
      "gamma": rng.uniform(0.5, 1.5, HIDDEN),
      "beta": rng.normal(size=HIDDEN),
      "last": rng.normal(size=(HIDDEN, CLASSES)),
      "bias": rng.normal(size=CLASSES),
      "lead": rng.uniform(0.5, 1, total),
      "partner": rng.permutation(total),
  }


WEIGHTS = ("first", "gamma", "beta", "last", "bias")


def made(given_numbers, rate=0.0, **kwargs):
  """A student of a network with batch normalisation, with these weights."""
  image = keras.Input((2, 2, 1))
  x = layers.Dense(HIDDEN, use_bias=False)(layers.Flatten()(image))
  x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON)(x)
  x = layers.LeakyReLU(0.1)(x)
  network = keras.Model(image, layers.Dense(CLASSES)(x))
  network.set_weights([*(given_numbers[name] for name in WEIGHTS[:3]),
                       np.zeros(HIDDEN), np.ones(HIDDEN),
                       *(given_numbers[name] for name in WEIGHTS[3:])])
  student = Student(network, MixMatch(**{**SETTINGS, **kwargs}), seed=1,
                    augment=Views(given_numbers["unlabeled"]))
  student.compile(keras.optimizers.SGD(rate), jit_compile=False)
  student.step.assign(2)  # half of the ramp
  return student


class Views(layers.Layer):
  """Makes of the unlabelled images what `numbers` holds, a view a call."""

  def __init__(self, unlabeled):
    super().__init__()
    self.views = [view.astype("float32") for view in np.split(unlabeled, K)]
    self.calls = 0

  def call(self, images, training=False):
    # The labelled ones come first.
    view, self.calls = self.calls % (K + 1), self.calls + 1
    return ops.convert_to_tensor(self.views[view - 1]) if view else images


def entries(fixed):
  return {"labeled": fixed["labeled"].astype("float32"),
          "unlabeled": np.zeros((UNLABELED, 2, 2, 1), "float32"),
          "targets": fixed["targets"].astype("float32")}


@pytest.fixture
def undrawn(monkeypatch):
  """Takes the randomness away: puts in what `numbers` holds instead."""
  fixed = numbers()
  monkeypatch.setattr(
      mixmatch, "mixing_weights", lambda count, alpha, seeds:
      ops.convert_to_tensor(fixed["lead"].astype("float32")))
  monkeypatch.setattr(
      mixmatch, "partners", lambda count, seeds:
      ops.convert_to_tensor(fixed["partner"].astype("int32")))
  return fixed


def forward(fixed, x):
  """Logits by the batch's own statistics, and those."""
  x = x.reshape(len(x), -1) @ fixed["first"]
  mean, variance = x.mean(axis=0), x.var(axis=0)
  x = (x - mean) / np.sqrt(variance + EPSILON) * fixed["gamma"] + fixed["beta"]
  x = np.where(x > 0, x, 0.1 * x)
  return x @ fixed["last"] + fixed["bias"], (mean, variance)


def guessed(fixed, apart=False):
  softmax = functools.partial(scipy.special.softmax, axis=1)
  views = np.split(fixed["unlabeled"], K)
  if apart:
    scores = [softmax(forward(fixed, view)[0]) for view in views]
  else:
    scores = np.split(softmax(forward(fixed, np.concatenate(views))[0]), K)
  sharp = np.mean(scores, axis=0) ** (1 / SETTINGS["temperature"])
  return sharp / sharp.sum(axis=1, keepdims=True)


def losses(fixed, guess, apart=False):
  """L_X, half of weight * L_U, and the statistics that are kept."""
  x = np.concatenate([fixed["labeled"], fixed["unlabeled"]])
  p = np.concatenate([scipy.special.softmax(fixed["targets"], axis=1),
                      *[guess] * K])
  lead, partner = fixed["lead"], fixed["partner"]
  x = (lead[:, None, None, None] * x
       + (1 - lead)[:, None, None, None] * x[partner])
  p = lead[:, None] * p + (1 - lead)[:, None] * p[partner]
  if apart:
    places = swapped(LABELED, K + 1)
    groups = [forward(fixed, g) for g in np.split(x[places], K + 1)]
    logits = np.concatenate([g[0] for g in groups])[places]
    kept = groups[0][1]
  else:
    logits, kept = forward(fixed, x)
  log_f = scipy.special.log_softmax(logits, axis=1)
  l_x = -(p * log_f)[:LABELED].sum(axis=1).mean()
  l_u = ((p - np.exp(log_f))[LABELED:] ** 2).sum(axis=1).mean() / CLASSES
  return l_x, 0.5 * SETTINGS["weight"] * l_u, kept


@pytest.mark.parametrize("interleave", [False, True])
def test_loss_by_hand(undrawn, interleave):
  student = made(undrawn, interleave=interleave)
  logs = student.train_on_batch(entries(undrawn), return_dict=True)
  guess = guessed(undrawn, apart=interleave)
  l_x, l_u, _ = losses(undrawn, guess, apart=interleave)
  assert float(logs["mixmatch_labeled"]) == pytest.approx(l_x, rel=1e-5)
  assert float(logs["mixmatch_unlabeled"]) == pytest.approx(l_u, rel=1e-5)
  assert float(logs["loss"]) == pytest.approx(l_x + l_u, rel=1e-5)


@pytest.mark.parametrize("interleave", [False, True])
def test_only_the_learning_pass_leaves_its_statistics(undrawn, interleave):
  student = made(undrawn, interleave=interleave)
  student.train_on_batch(entries(undrawn))
  *_, (mean, variance) = losses(
      undrawn, guessed(undrawn, interleave), apart=interleave)
  normalisation = student.network.layers[3]
  np.testing.assert_allclose(
      ops.convert_to_numpy(normalisation.moving_mean),
      (1 - MOMENTUM) * mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
      ops.convert_to_numpy(normalisation.moving_variance),
      MOMENTUM + (1 - MOMENTUM) * variance, rtol=1e-4)


@pytest.mark.parametrize("interleave", [False, True])
def test_no_gradient_flows_through_the_guess(undrawn, interleave):
  """A step of SGD is the derivative of the loss with the guess held fixed."""
  student = made(undrawn, rate=1.0, interleave=interleave)
  before = [np.array(w) for w in student.network.get_weights()]
  student.train_on_batch(entries(undrawn))
  after = student.network.get_weights()
  trained = dict(zip(WEIGHTS, (0, 1, 2, 5, 6), strict=True))
  steps = {name: before[i] - after[i] for name, i in trained.items()}
  held = guessed(undrawn, interleave)
  fixed_guess, free_guess = (
      derivatives(undrawn, interleave, guess) for guess in (held, None))
  for name in WEIGHTS:
    np.testing.assert_allclose(
        steps[name], fixed_guess[name], rtol=1e-3, atol=1e-4, err_msg=name)
  # The test would notice: the derivative through the guess is another.
  assert np.abs(fixed_guess["last"] - free_guess["last"]).max() > 0.003


def derivatives(fixed, apart, guess, step=1e-6):
  """Central differences of the loss; without a guess it moves along."""
  def loss(changed):
    q = guessed(changed, apart) if guess is None else guess
    return sum(losses(changed, q, apart)[:2])

  found = {}
  for name in WEIGHTS:
    found[name] = np.zeros_like(fixed[name])
    for place in np.ndindex(fixed[name].shape):
      up, down = fixed[name].copy(), fixed[name].copy()
      up[place] += step
      down[place] -= step
      found[name][place] = (loss({**fixed, name: up})
                            - loss({**fixed, name: down})) / (2 * step)
  return found


def test_the_weight_ramps_up():
  assert float(MixMatch(weight=8.0, ramp_steps=4).ramped(1)) == 2.0
  assert float(MixMatch(weight=8.0, ramp_steps=4).ramped(9)) == 8.0
  assert MixMatch(weight=8.0, ramp_steps=0).ramped(0) == 8.0


def test_hidden_classes_share_what_is_left():
  """At top-1 of three classes: p, and (1 - p) / 2 for the two others."""
  scores = np.array([[0.7, 0.2, 0.1]])
  oracle = oracles.oracle(
      lambda x: scores, 3, 1, "top_k:1", quantity="probabilities")
  targets = batches.response_entries(
      oracle.query(np.zeros((1, 1))))["targets"]
  np.testing.assert_allclose(
      scipy.special.softmax(targets, axis=1), [[0.7, 0.15, 0.15]], rtol=1e-6)


@pytest.mark.parametrize("field, value", [
    ("alpha", 0), ("alpha", -0.5), ("alpha", float("nan")), ("alpha", "0.75"),
    ("guesses", 0), ("guesses", 1.5), ("guesses", True), ("temperature", 0.0),
    ("weight", -1.0), ("weight", float("inf")), ("ramp_steps", -1),
    ("interleave", 1)])
def test_settings_are_checked(field, value):
  with pytest.raises(InputError, match=f"MixMatch.{field} is"):
    MixMatch(**{field: value})


def test_batches_are_checked():
  with pytest.raises(InputError, match="no unlabelled images"):
    MixMatch().check(8, 0)
  with pytest.raises(InputError, match="interleave needs as many"):
    MixMatch(interleave=True).check(8, 7)
  MixMatch().check(8, 7)
  MixMatch(interleave=True).check(8, 8)
  assert MixMatch(guesses=3).images(8, 4) == 20
