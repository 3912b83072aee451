"""Dimension coupling: scikit-learn's models, noise, and wrong victims."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fixtures import linear_victims as victims
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.linear import noisy_bisection
from wsl_extraction.attacks.linear.dimension_coupling import DimensionCoupling
from wsl_extraction.errors import InputError
from wsl_extraction.networks.linear_weights import LinearWeights


def extract(oracle, knowledge=None, seed=0, **options):
  return DimensionCoupling(**options)(oracle, knowledge or Knowledge(), seed)


def distance(extraction, truth):
  assert isinstance(extraction.weights, LinearWeights)
  return np.linalg.norm(
      victims.unit(extraction.weights) - victims.unit(truth))


@pytest.mark.parametrize("error", [1e-4, 1e-6])
@pytest.mark.parametrize("name", ["wine", "breast_cancer", "digits"])
def test_models_of_scikit_learn_are_recovered(name, error):
  rows, labels = victims.binary(name)
  model = victims.logistic(rows[::2], labels[::2])
  d = rows.shape[1]
  for bounded in (False, True):
    oracle = victims.of_model(model, bounded=bounded)
    extraction = extract(oracle, victims.knowledge(rows[1::2]), error=error)
    assert extraction.status is Status.DONE, extraction.missing
    assert distance(extraction, victims.weights(model)) <= error
    if not bounded:
      assert oracle.ledger.rows <= 1.1 * d * (
          math.log2(math.pi * math.sqrt(d) / (2 * error)) + 1)


def noisy(truth, rng):
  """Logits of a linear model, one in ten of which are swapped."""
  def predict(rows):
    values = truth(rows)
    flipped = rng.random(len(rows)) < 0.1
    return np.where(flipped[:, None], values[:, ::-1], values)
  return predict


def test_noise_takes_more_rows_and_is_held_against_the_labels():
  truth = LinearWeights.binary(np.array([1.0, -2.0, 0.5, 0.3]), 0.4)
  predict = noisy(truth, np.random.default_rng(0))
  told = extract(victims.oracle(predict, 4), noise=0.1, error=1e-3)
  assert told.status is Status.DONE, told.missing
  assert distance(told, truth) <= 1e-3
  for noise in (0.0, 0.01):
    untold = extract(victims.oracle(predict, 4), noise=noise, error=1e-3)
    assert untold.status is Status.INCOMPLETE
    assert "not linear" in untold.missing


def test_the_error_with_noise_is_the_one_that_was_asked_for():
  """A case whose posterior had long tails at a small variance."""
  rng = np.random.default_rng(16)
  truth = LinearWeights.binary(rng.normal(size=64), rng.normal())
  extraction = extract(victims.oracle(noisy(truth, rng), 64), noise=0.1,
                       seed=16)
  assert extraction.status is Status.DONE, extraction.missing
  assert distance(extraction, truth) <= 1e-4
  error = next(one for one in extraction.figures if one.name == "error")
  assert "but for a chance of 0.001" in error.text


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_bisection_of_noisy_comparisons(noise):
  """Angles lie outside of the interval as often as was asked for."""
  rng, doubt, count = np.random.default_rng(0), 0.1, 300
  errors = []
  for angle in rng.uniform(-noisy_bisection.HALF, noisy_bisection.HALF, count):
    errors.append(noisy_bisection.bayesian(
        lambda other, angle=angle: bool(
            (angle > other) != (rng.random() < noise)), 1e-3, doubt, noise, 1
    ) - angle)
  outside = int((np.abs(errors) > 0.5e-3).sum())
  # Jumps of the posterior at the last comparisons leave less than the doubt.
  assert 0 < outside <= stats.binom.ppf(0.999, count, doubt)


def test_bisection_of_right_comparisons():
  assert noisy_bisection.bisect(
      lambda other: other < 0.7, 1e-9) == pytest.approx(0.7, abs=1e-9)


@pytest.mark.parametrize("name", victims.WRONG)
@pytest.mark.parametrize("bounded", [False, True])
def test_victims_that_are_not_linear_are_found_out(name, bounded):
  for seed in range(3):
    extraction = extract(victims.oracle(
        victims.WRONG[name], bounded=bounded), seed=seed, error=1e-6)
    assert extraction.status is Status.INCOMPLETE
    assert "not linear" in extraction.missing


def test_a_victim_of_one_class_leaves_nothing_to_recover():
  bounded = extract(victims.oracle(victims.constant, bounded=True), tries=20)
  assert bounded.status is Status.INCOMPLETE
  assert "all 20 rows had class 0" in bounded.missing


def test_what_cannot_be_is_refused_before_the_first_query():
  oracle = victims.oracle(lambda rows: rows[:, :3], c=3)
  with pytest.raises(InputError, match="for victims of 2 classes"):
    extract(oracle)
  oracle = victims.oracle(victims.affine(np.ones(5), 0.1), bounded=True)
  with pytest.raises(InputError, match="to False, or DimensionCoupling"):
    extract(oracle, noise=0.1)
  assert oracle.ledger.rows == 0


def test_a_budget_that_is_one_row_short():
  predict = victims.affine([1.0, -2.0, 0.3, 0.7, 1.0], 0.1)
  whole = victims.oracle(predict)
  assert extract(whole).status is Status.DONE
  for short in (1, 20, 60):
    oracle = victims.oracle(predict, budget=whole.ledger.rows - short)
    extraction = extract(oracle)
    assert extraction.status is Status.BUDGET_EXHAUSTED
    assert "the budget ended after" in extraction.missing
    assert oracle.ledger.rows <= whole.ledger.rows - short


MODELS = {"seed": st.integers(0, 2**31 - 1), "d": st.integers(1, 8),
          "error": st.sampled_from([1e-3, 1e-8]), "bounded": st.booleans(),
          "zeros": st.sampled_from([0.0, 0.5])}


def recovers(seed, d, error, bounded, zeros):
  rng = np.random.default_rng(seed)
  normal = rng.normal(size=d) * (rng.random(d) >= zeros)
  offset = rng.normal() * np.abs(normal).sum() / np.sqrt(d)
  extraction = extract(victims.oracle(
      victims.affine(normal, offset), d, bounded=bounded), seed=seed,
      error=error, tries=200)
  if extraction.status is Status.DONE and normal.any():
    # About a point of the boundary the offset is no part of the vector.
    truth = LinearWeights.binary(normal, offset)
    allowed = 1 if not bounded else 1 + math.sqrt(d)
    assert distance(extraction, truth) <= allowed * error
  else:
    assert extraction.missing or not normal.any()


@settings(max_examples=25, deadline=None)
@given(**MODELS)
def test_random_models_are_recovered_or_said_to_be_incomplete(**model):
  recovers(**model)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**MODELS)
def test_two_thousand_random_models(**model):
  recovers(**model)
