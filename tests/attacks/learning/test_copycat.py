"""Copycat: stolen labels, balance, and images of the victim's domain."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import learning_attacks
from fixtures.learning_attacks import EAGER, POOL, oracle, predict
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.copycat import Copycat, balanced
from wsl_extraction.data.off_domain import IN_DOMAIN
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.stolen_labels import StolenLabels
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training.recipe import Recipe

RECIPE = learning_attacks.learning(Distillation(), {
    "network": learning_attacks.linear_network, "augment": None}).recipe
OWN = np.arange(POOL) % 10 == 3  # 6 of the victim's domain


def knowledge():
  return Knowledge(learning_attacks.pool(), pool_classes=np.where(OWN, 2, 0),
                   pool_class_names=("cat", "dog", IN_DOMAIN))


def run(attack, reveal="label", **settings):
  asked = oracle(reveal, **settings)
  return asked, attack(asked, knowledge(), 0, Runtime(compile_options=EAGER))


@pytest.fixture(name="learnt")
def fixture_learnt(monkeypatch):
  """The transfer sets of trainings, which are not run."""
  seen = []
  monkeypatch.setattr(
      Recipe, "fit", lambda self, student, labeled, *args, **kwargs:
      seen.append(labeled))
  return seen


def test_scores_teach_no_more_than_labels():
  by_label, by_scores = (
      run(Copycat(recipe=RECIPE), reveal)[1].surrogate.get_weights()
      for reveal in ("label", "scores"))
  for a, b in zip(by_label, by_scores, strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_loss_is_keras_cross_entropy_with_the_first_choice():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(9, 4)).astype(np.float32)
  targets = rng.normal(size=(9, 4)).astype(np.float32)
  targets[0, 1:] = -np.inf
  got = StolenLabels().losses(logits, {"targets": targets})
  expected = keras.losses.sparse_categorical_crossentropy(
      targets.argmax(axis=1), logits, from_logits=True)
  np.testing.assert_allclose(got, expected, rtol=1e-6)


@given(seed=st.integers(0, 1000), counts=st.lists(
    st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_every_label_becomes_as_frequent_as_the_most_frequent(seed, counts):
  classes = np.random.default_rng(seed).permutation(
      np.repeat(np.arange(len(counts)), counts))
  places = balanced(np.arange(len(classes)), classes,
                    np.random.default_rng(seed))
  held = np.bincount(classes[places], minlength=len(counts))
  assert set(held[np.array(counts) > 0]) == {max(counts)}
  assert set(places.tolist()) == set(range(len(classes)))
  times = np.bincount(places)
  for one in np.unique(classes):
    assert np.ptp(times[classes == one]) <= 1


def test_balance_repeats_what_was_answered(learnt):
  asked, extraction = run(Copycat(recipe=RECIPE, balance=True))
  rows = learnt[0]["labeled"]
  said = predict(rows).argmax(axis=1)
  np.testing.assert_array_equal(learnt[0]["targets"].argmax(axis=1), said)
  counts = np.bincount(said)
  assert len(set(counts.tolist())) == 1 and asked.ledger.rows == 24
  assert len({row.tobytes() for row in rows}) == 24
  assert counts[0] == max(extraction.figure("labels"))


def test_images_of_the_domain_are_all_asked_and_learnt_repeatedly(learnt):
  asked, _ = run(Copycat(recipe=RECIPE, in_domain_repeats=5))
  rows = [row.tobytes() for row in learnt[0]["labeled"]]
  own = {row.tobytes() for row in learning_attacks.pool().rows[OWN]}
  assert len(rows) == 18 + 6 * 5 and asked.ledger.rows == 24
  for row in set(rows):
    assert rows.count(row) == (5 if row in own else 1)
  assert own < set(rows)


def test_too_few_queries_go_to_the_domain_first(learnt):
  run(Copycat(recipe=RECIPE, in_domain_repeats=1), budget=4)
  own = {row.tobytes() for row in learning_attacks.pool().rows[OWN]}
  assert {row.tobytes() for row in learnt[0]["labeled"]} < own


def test_what_cannot_be_is_refused():
  bad: list[tuple[dict[str, Any], str]] = [
      ({"in_domain_repeats": 0}, r"Copycat\.in_domain_repeats is 0"),
      ({"balance": 1}, r"Copycat\.balance is 1"),
      ({"rounds": 0}, r"Copycat\.rounds is 0")]
  for settings, message in bad:
    with pytest.raises(InputError, match=message):
      Copycat(recipe=RECIPE, **settings)
  attack = Copycat(recipe=RECIPE, in_domain_repeats=2)
  with pytest.raises(InputError, match="no image of the victim's domain"):
    attack(oracle(), Knowledge(
        learning_attacks.pool(), pool_classes=np.zeros(POOL, int),
        pool_class_names=("cat",)), 0)
  with pytest.raises(InputError, match=r"give Experiment\.pool_dataset"):
    attack(oracle(), Knowledge(learning_attacks.pool()), 0)
