"""Objectives against hand computations and independent implementations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import penultimate
from wsl_extraction.objectives.distillation import Distillation, LogitMatching
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation, four_turns
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.training import batches

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], "float32")
TEACHER = np.array([[2.0, 0.0, -1.0], [0.5, 0.4, 0.3]], "float32")


def answered(teacher, access, **kwargs):
  """Batch entries as an oracle with these logits would fill them."""
  oracle = Oracle(lambda x: teacher[x[:, 0].astype(int)], outputs="logits",
                  input_shape=(1,), num_classes=teacher.shape[1],
                  access=access, **kwargs)
  response = oracle.query(np.arange(len(teacher))[:, None])
  entries = batches.response_entries(response, teacher.shape[1])
  return {name: ops.convert_to_tensor(array) for name, array in entries.items()}


def numpy_of(tensor):
  return np.asarray(ops.convert_to_numpy(tensor))


def losses(objective, logits, batch):
  return numpy_of(objective.losses(ops.convert_to_tensor(logits), batch))


def test_distillation_by_hand():
  """H(softmax(t / 2), softmax(z / 2)) with two classes and round numbers."""
  teacher = np.array([[2 * np.log(3.0), 0.0]], "float32")  # 3/4, 1/4 at T = 2
  student = np.array([[0.0, 2 * np.log(4.0)]], "float32")  # 1/5, 4/5 at T = 2
  got = losses(Distillation(2.0), student, answered(teacher, "logits"))
  np.testing.assert_allclose(
      got, [-(0.75 * np.log(0.2) + 0.25 * np.log(0.8))], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5, 20.0])
def test_distillation_agrees_with_keras(temperature):
  """Keras gives T^2 KL(t || z): our loss less the teacher's entropy."""
  theirs = keras.distillation.LogitsDistillation(
      temperature=temperature, loss=keras.losses.KLDivergence()).compute_loss(
          ops.convert_to_tensor(TEACHER), ops.convert_to_tensor(LOGITS))
  heated = scipy.special.softmax(TEACHER / temperature, axis=1)
  entropy = scipy.special.entr(heated).sum(axis=1)
  ours = losses(Distillation(temperature), LOGITS, answered(TEACHER, "logits"))
  np.testing.assert_allclose(
      (ours - entropy).mean() * temperature**2, numpy_of(theirs),
      rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.7, 1.5, 4.0])
def test_scores_teach_what_logits_teach(temperature):
  from_logits = losses(
      Distillation(temperature), LOGITS, answered(TEACHER, "logits"))
  for access, k in (("scores", None), ("top_k", 3)):
    np.testing.assert_allclose(
        losses(Distillation(temperature), LOGITS,
               answered(TEACHER, access, k=k)), from_logits, rtol=1e-5)


def test_label_access_is_cross_entropy_with_the_oracles_label():
  labels = TEACHER.argmax(axis=1)
  np.testing.assert_allclose(
      losses(Distillation(1.0), LOGITS, answered(TEACHER, "label")),
      losses(Supervised(), LOGITS, {"labels": ops.convert_to_tensor(labels)}),
      rtol=1e-6)


@given(st.integers(2, 12), st.integers(1, 11), st.floats(0.3, 8),
       st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_hidden_mass_is_one_outcome_shared_evenly(c, k, temperature, seed):
  k = min(k, c - 1)
  teacher = np.random.default_rng(seed).normal(scale=2, size=(3, c))
  teacher = teacher.astype("float32")
  got = numpy_of(Distillation(temperature).heated(
      answered(teacher, "top_k", k=k)))
  scores = -np.sort(-scipy.special.softmax(
      teacher.astype("float64"), axis=1), axis=1)
  known = np.append(
      scores[:, :k], 1 - scores[:, :k].sum(axis=1, keepdims=True), axis=1)
  powers = np.maximum(known, 0) ** (1 / temperature)
  powers /= powers.sum(axis=1, keepdims=True)
  expected = np.append(
      powers[:, :k], np.repeat(powers[:, k:] / (c - k), c - k, axis=1), axis=1)
  order = np.argsort(-teacher, axis=1, kind="stable")
  np.testing.assert_allclose(
      np.take_along_axis(got, order, axis=1), expected, rtol=2e-3, atol=2e-4)


def test_heat_does_not_let_hidden_classes_take_over():
  """2% hidden among 995 classes stays a few percent at T = 1.5."""
  scores = np.full((1, 1000), 0.02 / 995, "float32")
  scores[0, :5] = [0.9, 0.04, 0.02, 0.01, 0.01]
  heated = numpy_of(Distillation(1.5).heated(
      answered(np.log(scores), "top_k", k=5)))
  assert heated[0, 5:].sum() < 0.06


def test_a_score_of_zero_stays_zero_at_any_temperature():
  batch = {"targets": ops.convert_to_tensor(
      np.array([[0.0, -np.inf, -np.inf]], "float32")),
           "revealed": ops.ones((1, 3), "uint8")}
  for temperature in (0.1, 1.5, 1e4):
    np.testing.assert_array_equal(
        numpy_of(Distillation(temperature).heated(batch)), [[1, 0, 0]])


@pytest.mark.parametrize("temperature", [0, -1.5, float("nan"), float("inf")])
def test_temperature_must_be_positive(temperature):
  with pytest.raises(InputError, match="temperature"):
    Distillation(temperature)


def test_logit_matching_by_hand():
  batch = answered(TEACHER, "logits")
  gap = LOGITS - TEACHER
  gap -= gap.mean(axis=1, keepdims=True)
  np.testing.assert_allclose(
      losses(LogitMatching(), LOGITS, batch), (gap**2).mean(axis=1), rtol=1e-6)
  np.testing.assert_allclose(
      losses(LogitMatching(), TEACHER + 5, batch), 0, atol=1e-10)


def test_supervised_by_hand():
  expected = -scipy.special.log_softmax(LOGITS, axis=1)[[0, 1], [2, 1]]
  np.testing.assert_allclose(
      losses(Supervised(), LOGITS, {"labels": ops.convert_to_tensor([2, 1])}),
      expected, rtol=1e-6)


def small_network(side=6, seed=0):
  """A network without batch normalisation: each image is on its own."""
  image = keras.Input((side, side, 2))
  x = keras.layers.Conv2D(
      5, 3, activation="relu",
      kernel_initializer=keras.initializers.HeNormal(seed))(image)
  x = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(image, keras.layers.Dense(
      3, kernel_initializer=keras.initializers.HeNormal(seed + 1))(x))


def images(count, side=6, seed=0):
  return np.random.default_rng(seed).normal(
      size=(count, side, side, 2)).astype("float32")


def test_four_turns_against_numpy():
  given_ = images(3)
  got = numpy_of(four_turns(ops.convert_to_tensor(given_)))
  for quarter in range(4):
    np.testing.assert_array_equal(
        got[3 * quarter:3 * quarter + 3],
        np.stack([np.rot90(image, quarter) for image in given_]))


@pytest.mark.parametrize("batch_equals_height", [False, True])
@pytest.mark.parametrize("classify_rotated", [False, True])
def test_rotation_loss_is_the_double_sum(batch_equals_height, classify_rotated):
  """L_R = 1/(4N) sum_i sum_j H(f(R_j(x_i)), j), summed by loops in numpy."""
  count = 6 if batch_equals_height else 2
  objective = Rotation(base=Supervised(), weight=0.5,
                       classify_rotated=classify_rotated)
  network = objective.extend(small_network(), seed=3)
  labeled, unlabeled = images(count, seed=1), images(4, seed=2)
  labels = np.arange(count) % 3
  terms = objective(network, {
      "labeled": ops.convert_to_tensor(labeled),
      "unlabeled": ops.convert_to_tensor(unlabeled),
      "labels": ops.convert_to_tensor(labels)}, training=True)
  rotation, supervised = [], []
  for i, image in enumerate(np.concatenate([labeled, unlabeled])):
    for j in range(4):
      seen = network(np.rot90(image, j)[None].copy())
      rotation.append(-scipy.special.log_softmax(
          numpy_of(seen["rotation"])[0])[j])
      if i < count and (j == 0 or classify_rotated):
        supervised.append(-scipy.special.log_softmax(
            numpy_of(seen["logits"])[0])[labels[i]])
  np.testing.assert_allclose(
      numpy_of(terms["rotation"]), 0.5 * np.mean(rotation), rtol=1e-5)
  np.testing.assert_allclose(
      numpy_of(terms["supervised"]), np.mean(supervised), rtol=1e-5)


def test_rotation_without_unlabelled_images_uses_the_labelled_ones():
  objective = Rotation(base=Supervised())
  network = objective.extend(small_network(), seed=0)
  terms = objective(network, {
      "labeled": ops.convert_to_tensor(images(2)),
      "labels": ops.convert_to_tensor([0, 1])}, training=True)
  assert set(terms) == set(objective.terms) == {"supervised", "rotation"}
  assert 0.5 < float(numpy_of(terms["rotation"])) < 3


def test_the_rotation_head_reads_the_penultimate_layer():
  network = small_network()
  extended = Rotation(base=Supervised()).extend(network, seed=0)
  assert extended.get_layer("rotation").input is penultimate(network)
  assert extended.get_layer("rotation").kernel.shape == (5, 4)
  np.testing.assert_array_equal(
      numpy_of(extended(images(2))["logits"]), numpy_of(network(images(2))))


def test_rotation_needs_square_images_and_a_linear_head():
  image = keras.Input((4, 6, 1))
  flat = keras.layers.Dense(2)(keras.layers.Flatten()(image))
  with pytest.raises(InputError, match="4 by 6"):
    Rotation(base=Supervised()).extend(keras.Model(image, flat), seed=0)
  image = keras.Input((4, 4, 1))
  soft = keras.layers.Dense(2, activation="softmax")(
      keras.layers.Flatten()(image))
  with pytest.raises(InputError, match="dense layer without activation"):
    Rotation(base=Supervised()).extend(keras.Model(image, soft), seed=0)


@pytest.mark.parametrize("arguments, message", [
    ({"base": "distillation"}, "Rotation.base"),
    ({"base": Rotation(base=Supervised())}, "Rotation.base"),
    ({"base": Supervised(), "weight": -1}, "Rotation.weight"),
    ({"base": Supervised(), "weight": float("nan")}, "Rotation.weight"),
])
def test_rotation_settings(arguments, message):
  with pytest.raises(InputError, match=message):
    Rotation(**arguments)


@pytest.mark.parametrize("objective, needs, access", [
    (Supervised(), {"labels"}, "label"),
    (Distillation(), {"targets", "revealed"}, "label"),
    (LogitMatching(), {"targets"}, "logits"),
    (Rotation(base=LogitMatching()), {"targets", "unlabeled"}, "logits"),
])
def test_what_objectives_need(objective, needs, access):
  assert objective.needs == needs
  assert objective.access == access


def test_a_sequential_network_can_be_extended():
  network = keras.Sequential([
      keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
  extended = Rotation(base=Supervised()).extend(network, seed=0)
  seen = extended(images(3, side=4)[..., :1])
  assert seen["logits"].shape == (3, 2)
  assert seen["rotation"].shape == (3, 4)


def test_a_network_without_a_graph_is_named():
  network = keras.Sequential([keras.layers.Dense(2)], name="shapeless")
  with pytest.raises(InputError, match="shapeless"):
    Supervised().extend(network, seed=0)
