"""Lowd and Meek's attack: scikit-learn's models, odd weights, wrong victims."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import linear_victims as victims
from fixtures import oracles
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.linear.lowd_meek import LowdMeek
from wsl_extraction.equivalence import linear
from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.oracle.spaces import Vectors

EXACT = 1e-9 if keras.backend.backend() != "jax" else 1e-5


def extract(oracle, knowledge=None, seed=0, **options):
  return LowdMeek(**options)(oracle, knowledge or Knowledge(), seed)


def error(extraction, normal, offset):
  truth = victims.unit(LinearWeights.binary(np.asarray(normal), offset))
  assert isinstance(extraction.weights, LinearWeights)
  return np.linalg.norm(truth - victims.unit(extraction.weights))


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_models_of_scikit_learn_are_recovered(name, bounded, tmp_path):
  rows, labels = victims.binary(name)
  model = victims.logistic(rows[::2], labels[::2])
  oracle = victims.of_model(model, bounded=bounded)
  extraction = extract(oracle, victims.knowledge(rows[1::2]))
  assert extraction.status is Status.DONE, extraction.missing
  d = rows.shape[1]
  assert oracle.ledger.rows <= 40 * d + 60
  truth = victims.weights(model)
  assert isinstance(extraction.weights, LinearWeights)
  assert np.linalg.norm(
      victims.unit(truth) - victims.unit(extraction.weights)) <= EXACT
  fresh = np.random.default_rng(0).uniform(-1, 1, (100_000, d))
  np.testing.assert_array_equal(
      extraction.weights(fresh).argmax(axis=1), model.predict(fresh))
  # The file is the same model, and certified as such.
  extraction.surrogate.save(tmp_path / "copy.keras")
  loaded = LinearWeights.of_keras(keras.saving.load_model(
      tmp_path / "copy.keras", safe_mode=True))
  proof = linear.certify(truth, loaded, -np.ones(d), np.ones(d), scores=False)
  assert proof.angle <= EXACT
  assert proof.share is not None and proof.share <= 100 * EXACT


@pytest.mark.parametrize("bounded", [False, True])
def test_zero_and_tiny_weights(bounded):
  normal = np.array([1.0, 0.0, -1e-7, 3.0, 0.0])
  oracle = victims.oracle(victims.affine(normal, 0.2), bounded=bounded)
  extraction = extract(oracle)
  assert extraction.status is Status.DONE, extraction.missing
  weights = extraction.weights
  assert isinstance(weights, LinearWeights)
  recovered = weights.kernel[:, 1]
  np.testing.assert_array_equal(recovered[[1, 4]], 0)
  assert extraction.figure("zero_weights") == 2
  np.testing.assert_allclose(recovered / recovered[3], normal / 3,
                             rtol=1e-5 if EXACT > 1e-8 else 2e-6 * bounded
                             + 2e-9)


def test_what_is_below_the_least_weight_counts_as_zero():
  """In range the step is 2 at most, far away it is `reach`."""
  normal = np.array([1.0, 1e-15, 1.0])
  predict = victims.affine(normal, 0.1)
  near = extract(victims.oracle(predict, 3, bounded=True))
  assert near.figure("zero_weights") == 1
  assert near.figure("least_weight") > 1e-15
  assert near.figure("reach") <= 2
  far = extract(victims.oracle(predict, 3))
  assert far.figure("zero_weights") == 0
  assert far.figure("least_weight") < 1e-15


@pytest.mark.parametrize("side", [1e-2, 1e-4])
def test_witnesses_in_a_corner_of_a_bounded_space(side):
  """Class 1 is the simplex of this side at one corner."""
  normal, offset = np.array([1.0, 2.0, 1.5]), -4.5 + side
  corner = Knowledge(witnesses=np.array([[-1.0, -1, -1], [1.0, 1, 1]]))
  extraction = extract(victims.oracle(
      victims.affine(normal, offset), 3, bounded=True), corner)
  assert extraction.status is Status.DONE, extraction.missing
  assert error(extraction, normal, offset) <= 10 * EXACT


def test_a_single_feature():
  for bounded in (False, True):
    extraction = extract(victims.oracle(
        victims.affine([-2.0], 0.5), 1, bounded=bounded))
    assert extraction.status is Status.DONE
    assert error(extraction, [-2.0], 0.5) <= EXACT


def test_features_of_other_units_are_measured_by_their_range():
  scale = np.array([1e-3, 1.0, 1e4, 1.0, 50.0])
  normal = np.array([1.0, -2.0, 0.5, 0.1, 3.0]) / scale
  rows = scale * np.random.default_rng(0).uniform(0, 1, (50, 5))
  oracle = oracles.oracle(victims.affine(normal, -1.0), 2, Vectors(5), "label")
  extraction = extract(oracle, victims.knowledge(rows))
  assert extraction.status is Status.DONE, extraction.missing
  weights = extraction.weights
  assert isinstance(weights, LinearWeights)
  np.testing.assert_allclose(
      weights.kernel[:, 1] / weights.bias[1], -normal, rtol=1e-5
      if EXACT > 1e-8 else 1e-8)


@pytest.mark.parametrize("name", victims.WRONG)
@pytest.mark.parametrize("bounded", [False, True])
def test_victims_that_are_not_linear_are_found_out(name, bounded):
  for seed in range(3):
    extraction = extract(victims.oracle(
        victims.WRONG[name], bounded=bounded), seed=seed)
    assert extraction.status is Status.INCOMPLETE
    assert "not linear" in extraction.missing


def test_a_victim_of_one_class_leaves_nothing_to_recover():
  extraction = extract(victims.oracle(victims.constant), tries=20)
  assert extraction.status is Status.INCOMPLETE
  assert "all 20 rows had class 0" in extraction.missing
  assert (extraction.surrogate.predict(
      np.zeros((2, victims.D)), verbose=0).argmax(axis=1) == 0).all()


def test_victims_of_more_classes_are_refused_before_the_first_query():
  oracle = victims.oracle(lambda rows: rows[:, :3], c=3)
  with pytest.raises(InputError, match="for victims of 2 classes"):
    extract(oracle)
  assert oracle.ledger.rows == 0


def test_witnesses_of_another_shape_are_refused():
  with pytest.raises(InputError, match="witnesses have shape"):
    extract(victims.oracle(victims.xor),
            Knowledge(witnesses=np.zeros((2, 3))))


def test_a_budget_that_is_one_row_short():
  predict = victims.affine([1.0, -2.0, 0.3, 0.7, 1.0], 0.1)
  whole = victims.oracle(predict)
  assert extract(whole).status is Status.DONE
  for short in (1, 10, 100, whole.ledger.rows - 2):
    oracle = victims.oracle(predict, budget=whole.ledger.rows - short)
    extraction = extract(oracle)
    assert extraction.status is Status.BUDGET_EXHAUSTED
    assert "the budget ended after" in extraction.missing
    assert oracle.ledger.rows <= whole.ledger.rows - short


def recovers(seed, d, spread, zeros, bounded):
  rng = np.random.default_rng(seed)
  normal = rng.normal(size=d) * 10.0**rng.uniform(-spread, 0, d)
  normal *= (rng.random(d) >= zeros) * 10.0**rng.uniform(-4, 4)
  offset = rng.normal() * np.abs(normal).sum() / np.sqrt(d)
  predict = victims.affine(normal, offset)
  extraction = extract(victims.oracle(predict, d, bounded=bounded), tries=200)
  if extraction.status is Status.DONE:
    assert error(extraction, normal, offset) <= 3 * EXACT
  else:
    assert extraction.missing
  return extraction


MODELS = {
    "seed": st.integers(0, 2**31 - 1), "d": st.integers(1, 10),
    "spread": st.sampled_from([0, 3, 9]),
    "zeros": st.sampled_from([0.0, 0.3, 1.0]), "bounded": st.booleans()}


@settings(max_examples=25, deadline=None)
@given(**MODELS)
def test_random_models_are_recovered_or_said_to_be_incomplete(**model):
  recovers(**model)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**MODELS)
def test_two_thousand_random_models(**model):
  recovers(**model)
