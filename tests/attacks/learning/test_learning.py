"""Learning-based extraction: its batches, its reveals, its settings."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest

from fixtures import learning_attacks, oracles
from fixtures.learning_attacks import (
    BUDGET,
    CLASSES,
    POOL,
    learning,
    oracle,
    pool,
    predict,
    row_set,
    run,
)
from wsl_extraction.attacks.defaults import default_attack
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.random import Random
from wsl_extraction.training import batches

DISTILLATION = learning(Distillation())


@pytest.mark.parametrize("budget, message", [
    (0, "budget is 0"), (POOL + 1, f"from 1 to {POOL}")])
def test_budgets_that_do_not_fit_the_pool(budget, message):
  seen = []
  with pytest.raises(InputError, match=message):
    run(DISTILLATION, budget=budget, seen=seen)
  assert seen == []


@pytest.mark.parametrize("examples, message", [
    (None, "empty"), (pool(0), "empty"),
    (Examples(np.zeros((30, 9, 8, 1), np.uint8)), "shape")])
def test_pools_that_cannot_be_asked_about(examples, message):
  with pytest.raises(InputError, match=message):
    DISTILLATION(oracle(), Knowledge(examples), 0)


def test_a_baseline_needs_labels():
  baseline = learning(Supervised())
  with pytest.raises(InputError, match="learns from the pool's labels"):
    baseline(oracle(), Knowledge(pool()), 0)


@pytest.mark.parametrize("reveal", [
    "label", "label_score", "top_k:2", "scores", "logits"])
def test_every_reveal_trains_and_teaches(reveal):
  """With half of the pool asked about, fidelity is far above chance."""
  attack = learning(Distillation(), {
      "steps": 150, "batch_size": 30, "augment": None,
      "network": learning_attacks.linear_network,
      "optimizer": functools.partial(keras.optimizers.Adam, 0.05)})
  examples = pool(400, seed=1)
  truth = predict(examples.rows).argmax(axis=1)
  surrogate = attack(
      oracle(reveal, budget=200), Knowledge(examples), 0,
      Runtime(compile_options=devices.compile_options())).surrogate
  copied = surrogate.predict(examples.rows, verbose=0).argmax(axis=1)
  assert (copied == truth).mean() > 0.75


def test_vectors_are_learnt_too():
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(300, 5)) * [1, 10, 100, 1, 1] + [0, 0, 50, 5, 0]
  victim = oracles.oracle(
      lambda x: (x - x.mean(axis=0)) @ np.eye(5)[:, :3] / [1, 10, 100], 3,
      Vectors(5), "label", budget=200)
  examples = Examples(rows)
  attack = default_attack(victim.space)
  surrogate = attack(victim, Knowledge(examples), 0, Runtime()).surrogate
  truth = ((rows - rows.mean(axis=0))[:, :3] / [1, 10, 100]).argmax(axis=1)
  copied = surrogate.predict(rows, verbose=0).argmax(axis=1)
  assert (copied == truth).mean() > 0.85


def spied_batches(monkeypatch, attack, **settings):
  """What an attack hands to `batches.by_step`, training by training."""
  handed = []
  real = batches.by_step

  def spy(entries, steps, batch_size, seed, unlabeled, unlabeled_batch_size,
          **options):
    handed.append({**entries, "steps": steps, "unlabeled": unlabeled})
    return real(entries, steps, batch_size, seed, unlabeled,
                unlabeled_batch_size, **options)

  monkeypatch.setattr(batches, "by_step", spy)
  run(attack, **settings)
  return handed


@pytest.mark.parametrize("objective", [
    Rotation(base=Distillation()), MixMatch()])
def test_unlabelled_images_are_those_that_were_not_asked_about(
    monkeypatch, objective):
  seen = []
  (handed,) = spied_batches(monkeypatch, learning(objective), seen=seen)
  assert row_set(handed["labeled"]) == row_set(np.concatenate(seen))
  assert len(handed["unlabeled"]) == POOL - BUDGET
  assert row_set(handed["unlabeled"]) == (
      row_set(pool().rows) - row_set(handed["labeled"]))


def test_what_is_not_read_is_not_handed_over(monkeypatch):
  (handed,) = spied_batches(monkeypatch, DISTILLATION)
  assert handed["unlabeled"] is None or not len(handed["unlabeled"])


def test_random_choices_are_distinct_and_nested():
  uniform = np.full((POOL, CLASSES), 1 / CLASSES)
  few, many = (Random()(uniform, np.zeros((POOL, 0)), n,
                        np.random.default_rng(5)) for n in (10, 30))
  assert len(set(many.tolist())) == 30
  np.testing.assert_array_equal(few, many[:10])


@pytest.mark.parametrize("field, value", [
    ("query_batch_size", 2.5), ("rounds", 0), ("rounds", True),
    ("objective", "distillation"), ("recipe", None), ("recipe", "sgd"),
    ("strategy", Random)])
def test_settings_are_checked(field, value):
  with pytest.raises(InputError, match=rf"Learning\.{field}"):
    dataclasses.replace(DISTILLATION, **{field: value})


def test_numpy_integers_are_whole_numbers():
  changed = dataclasses.replace(
      DISTILLATION, rounds=np.int64(1), query_batch_size=np.uint8(9))
  assert type(changed.rounds) is type(changed.query_batch_size) is int
