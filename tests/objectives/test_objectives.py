"""Losses on logits, by hand and beside independent implementations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation, LogitMatching
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.reveals import Label, Logits
from wsl_extraction.training import batches

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], "float32")
TEACHER = np.array([[2.0, 0.0, -1.0], [0.5, 0.4, 0.3]], "float32")


def answered(teacher, reveal):
  """Batch entries as an oracle with these logits would fill them."""
  oracle = oracles.oracle(lambda x: teacher[x[:, 0].astype(int)],
                          teacher.shape[1], 1, reveal)
  response = oracle.query(np.arange(len(teacher))[:, None])
  entries = batches.response_entries(response)
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
  np.testing.assert_allclose(
      losses(Distillation(temperature, scaled=True), LOGITS,
             answered(TEACHER, "logits")), ours * temperature**2, rtol=1e-6)


def test_the_squared_temperature_keeps_the_size_of_steps():
  """At large T the gradient is (z - t) / c, of rows without their means.

  Hinton et al. 2015, equation 4: their 1 / (N T^2) times T^2.
  """
  gap = (LOGITS - LOGITS.mean(axis=1, keepdims=True)) - (
      TEACHER - TEACHER.mean(axis=1, keepdims=True))
  objective, batch = Distillation(50.0, True), answered(TEACHER, "logits")
  step = 1.0
  for row, column in np.ndindex(LOGITS.shape):
    moved = np.zeros_like(LOGITS)
    moved[row, column] = step
    up, down = (losses(objective, LOGITS + sign * moved, batch)[row]
                for sign in (1, -1))
    np.testing.assert_allclose(
        (up - down) / (2 * step), gap[row, column] / 3, rtol=0.1, atol=0.01)


@pytest.mark.parametrize("temperature", [0.7, 1.5, 4.0])
def test_scores_teach_what_logits_teach(temperature):
  from_logits = losses(
      Distillation(temperature), LOGITS, answered(TEACHER, "logits"))
  for reveal in ("scores", "top_k:3"):
    np.testing.assert_allclose(
        losses(Distillation(temperature), LOGITS, answered(TEACHER, reveal)),
        from_logits, rtol=1e-5)


def test_a_bare_label_gives_cross_entropy_with_the_oracles_label():
  labels = TEACHER.argmax(axis=1)
  np.testing.assert_allclose(
      losses(Distillation(1.0), LOGITS, answered(TEACHER, "label")),
      losses(Supervised(), LOGITS, {"labels": ops.convert_to_tensor(labels)}),
      rtol=1e-6)


partly_hidden = given(st.integers(2, 12), st.integers(1, 11),
                      st.floats(0.3, 8), st.integers(0, 2**32 - 1))


def heated_top_k(c, k, temperature, seed):
  """The named scores and their rest, exact, and all at the temperature."""
  teacher = np.random.default_rng(seed).normal(scale=2, size=(3, c))
  teacher = teacher.astype("float32")
  got = numpy_of(Distillation(temperature).heated(
      answered(teacher, f"top_k:{k}")))
  scores = -np.sort(-scipy.special.softmax(
      teacher.astype("float64"), axis=1), axis=1)[:, :k]
  rest = np.maximum(1 - scores.sum(axis=1, keepdims=True), 0)
  order = np.argsort(-teacher, axis=1, kind="stable")
  return scores, rest, np.take_along_axis(got, order, axis=1)


@partly_hidden
@settings(max_examples=40)
def test_hidden_mass_is_one_outcome_shared_evenly(c, k, temperature, seed):
  """Below T = 1 it is shared first, and each part heated by itself."""
  k = min(k, c - 1)
  scores, rest, got = heated_top_k(c, k, temperature, seed)
  parts = 1 if temperature >= 1 else c - k
  known = np.append(scores, np.repeat(rest / parts, parts, axis=1), axis=1)
  powers = known ** (1 / temperature)
  powers /= powers.sum(axis=1, keepdims=True)
  hidden = powers[:, k:].sum(axis=1, keepdims=True) / (c - k)
  expected = np.append(powers[:, :k], np.repeat(hidden, c - k, axis=1), axis=1)
  np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)


@partly_hidden
@settings(max_examples=40)
def test_no_hidden_class_is_heated_above_a_named_one(c, k, temperature, seed):
  k = min(k, c - 1)
  *_, got = heated_top_k(c, k, temperature, seed)
  assert (got[:, k:].max(axis=1) <= got[:, :k].min(axis=1) * (1 + 1e-5)).all()


def test_heat_does_not_let_hidden_classes_take_over():
  """2% hidden among 995 classes stays a few percent at T = 1.5."""
  scores = np.full((1, 1000), 0.02 / 995, "float32")
  scores[0, :5] = [0.9, 0.04, 0.02, 0.01, 0.01]
  heated = numpy_of(Distillation(1.5).heated(
      answered(np.log(scores), "top_k:5")))
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


@pytest.mark.parametrize("objective, entries, needs", [
    (Supervised(), {"labels"}, ()),
    (Distillation(), {"targets", "revealed"}, (Label(),)),
    (LogitMatching(), {"targets"}, (Logits(),)),
    (Rotation(base=Supervised()), {"labels", "unlabeled"}, ()),
    (Rotation(base=LogitMatching()), {"targets", "unlabeled"}, (Logits(),)),
    (MixMatch(), {"targets", "unlabeled"}, (Label(),)),
])
def test_what_objectives_need(objective, entries, needs):
  assert objective.entries == entries
  assert objective.needs == needs


def test_a_network_without_a_graph_is_named():
  network = keras.Sequential([keras.layers.Dense(2)], name="shapeless")
  with pytest.raises(InputError, match="shapeless"):
    Supervised().extend(network, seed=0)
