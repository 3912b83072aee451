"""MixMatch against hand computations in NumPy, and its sampling."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from wsl_extraction.data import transfer
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives import mixmatch, optimizers, training
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Student

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


def swapped(size, groups):
  """The reference's interleaving, by lists."""
  batches = [list(range(i * size, (i + 1) * size)) for i in range(groups)]
  lengths = [size // groups] * groups
  for i in range(size - sum(lengths)):
    lengths[-1 - i] += 1
  ends = np.cumsum([0, *lengths])
  for i in range(1, groups):
    piece = slice(ends[i], ends[i + 1])
    batches[0][piece], batches[i][piece] = batches[i][piece], batches[0][piece]
  return np.concatenate(batches)


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
  from wsl_extraction.oracle import Oracle

  scores = np.array([[0.7, 0.2, 0.1]])
  oracle = Oracle(lambda x: scores, outputs="probabilities", input_shape=(1,),
                  num_classes=3, access="top_k", k=1)
  targets = transfer.response_entries(
      oracle.query(np.zeros((1, 1))), 3)["targets"]
  np.testing.assert_allclose(
      scipy.special.softmax(targets, axis=1), [[0.7, 0.15, 0.15]], rtol=1e-6)


def compiled(function):
  """The function under XLA, on the backends that have it."""
  if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    return tf.function(function, jit_compile=True)
  return function


def drawn(alpha, count=400_000, seed=11):
  """Compiled by XLA on tensorflow and, inside `stateless`, on jax."""
  seeds = keras.random.SeedGenerator(seed)
  if keras.backend.backend() == "jax":
    import jax

    def stateless(state):
      with keras.StatelessScope(state_mapping=[(seeds.state, state)]):
        return mixmatch.mixing_weights(count, alpha, seeds)

    return np.asarray(jax.jit(stateless)(seeds.state.value), np.float64)
  draw = compiled(lambda: mixmatch.mixing_weights(count, alpha, seeds))
  return np.asarray(ops.convert_to_numpy(draw()), np.float64)


@pytest.mark.parametrize("alpha", [0.25, 0.75, 2.0])
def test_quantiles_are_those_of_scipys_beta(alpha):
  levels = np.linspace(0, 1, 201)[1:-1]
  # Of max(l, 1 - l), by the symmetry of the distribution.
  expected = scipy.stats.beta(alpha, alpha).ppf(0.5 + levels / 2)
  np.testing.assert_allclose(
      np.quantile(drawn(alpha), levels), expected, atol=0.005)


@given(st.floats(-3, 4).map(lambda x: 10**x), st.integers(0, 2**31 - 1))
@settings(max_examples=5, deadline=None)
def test_any_alpha_passes_kolmogorov_and_smirnov(alpha, seed):
  lead = drawn(alpha, 20_000, seed)
  assert np.isfinite(lead).all()
  assert lead.min() >= 0.5
  assert lead.max() <= 1.0
  distribution = scipy.stats.beta(alpha, alpha)
  # Far beyond chance: some 1e-9 a case, where the float32 of the draws allows.
  distance = scipy.stats.kstest(
      lead[lead < 1 - 1e-6],
      lambda x: (2 * distribution.cdf(x) - 1)
      / max(2 * distribution.cdf(1 - 1e-6) - 1, 1e-300)).statistic
  assert distance * np.sqrt(max((lead < 1 - 1e-6).sum(), 1)) < 3.5


@given(st.integers(1, 70), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_interleaving_is_the_references_and_undoes_itself(size, groups):
  places = ops.convert_to_numpy(mixmatch.interleaved(size, groups))
  np.testing.assert_array_equal(places, swapped(size, groups))
  np.testing.assert_array_equal(
      places[places], np.arange(size * groups))


def test_partners_are_a_permutation():
  seeds = keras.random.SeedGenerator(0)
  one, other = (ops.convert_to_numpy(mixmatch.partners(50, seeds))
                for _ in range(2))
  assert sorted(one.tolist()) == list(range(50))
  assert (one != other).any()


def small_student(optimizer, seed=0, jit_compile=False, **kwargs):
  network = resnet_v2((8, 8, 1), CLASSES, depth=8, width=4, seed=seed)
  student = Student(network, MixMatch(ramp_steps=4, **kwargs), seed=seed)
  student.compile(optimizer, jit_compile=jit_compile)
  return student


def random_batch(step):
  rng = np.random.default_rng(step)
  return {
      "labeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "unlabeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "targets": rng.normal(size=(8, CLASSES)).astype("float32")}


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="has no XLA")
def test_xla_gives_the_same_steps():
  logs = {}
  for jit in (False, True):
    # Without mixing: under XLA tensorflow draws other numbers by equal seeds.
    student = small_student(
        keras.optimizers.SGD(0.01), jit_compile=jit, alpha=1e-6)
    logs[jit] = [float(student.train_on_batch(
        random_batch(step), return_dict=True)["loss"]) for step in range(3)]
  np.testing.assert_allclose(logs[False], logs[True], rtol=1e-4)


def test_weight_decay_takes_from_kernels_alone():
  """Adam at 0.01 with a decay of 0.5: kernels lose 0.5 % more than without."""
  after = {}
  for decay in (None, 0.5):
    optimizer = keras.optimizers.Adam(0.01, weight_decay=decay)
    student = small_student(
        optimizers.decaying_kernels(optimizer) if decay else optimizer)
    before = weights_by_name(student)
    student.train_on_batch(random_batch(0))
    after[decay] = weights_by_name(student)
  assert sum(name.endswith("/kernel") for name in before) == 10
  for name, w in before.items():
    lost = 0.005 * w if name.endswith("/kernel") else np.zeros_like(w)
    np.testing.assert_allclose(
        after[None][name] - after[0.5][name], lost, atol=1e-6, err_msg=name)


def weights_by_name(student):
  return {v.path: np.array(ops.convert_to_numpy(v))
          for v in student.network.trainable_variables}


class Weights(keras.callbacks.Callback):
  """Remembers the weights after each step."""

  def on_train_begin(self, logs=None):
    self.seen = []

  def on_epoch_end(self, epoch, logs=None):
    self.seen.append([np.array(ops.convert_to_numpy(v)) for v
                      in self.model.network.trainable_variables])


def test_the_surrogate_gets_the_averages_also_after_an_interruption(tmp_path):
  """0.9 of the average and 0.1 of the weights a step, from the first one on."""
  optimizer = functools.partial(
      keras.optimizers.Adam, 0.01, use_ema=True, ema_momentum=0.9)
  rows = [random_batch(step) for step in range(4)]
  batches = transfer.batches(
      {name: np.concatenate([row[name] for row in rows])
       for name in ("labeled", "targets")}, 6, 8, 0,
      np.concatenate([row["unlabeled"] for row in rows]), 8)
  fit = functools.partial(
      training.fit, batches=batches, steps=6, checkpoint_every=1,
      checkpoint=tmp_path / "checkpoint.npz")
  weights, student = Weights(), small_student(optimizer())
  fit(student, callbacks=[weights])
  average = weights.seen[0]
  for seen in weights.seen[1:]:
    average = [0.9 * a + 0.1 * w for a, w in zip(average, seen, strict=True)]
  for got, expected in zip(
      student.network.trainable_variables, average, strict=True):
    np.testing.assert_allclose(
        ops.convert_to_numpy(got), expected, rtol=1e-4, atol=1e-6)
  # As after a kill between the last checkpoint and the end.
  again = small_student(optimizer())
  fit(again)
  for one, other in zip(student.network.get_weights(),
                        again.network.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_decay_of_nothing_is_refused():
  with pytest.raises(InputError, match="Adam without weight decay"):
    optimizers.decaying_kernels(keras.optimizers.Adam(0.01))


@pytest.mark.parametrize("field, value", [
    ("alpha", 0), ("alpha", -0.5), ("alpha", float("nan")), ("alpha", "0.75"),
    ("guesses", 0), ("guesses", 1.5), ("guesses", True), ("temperature", 0.0),
    ("weight", -1.0), ("weight", float("inf")), ("ramp_steps", -1)])
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
