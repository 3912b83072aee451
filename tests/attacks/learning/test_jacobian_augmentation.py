"""Papernot's augmentation: the rows that it makes, and how many."""

from __future__ import annotations

import collections
import functools

import keras
import numpy as np
import pytest
import scipy.stats

from fixtures import learning_attacks
from fixtures.learning_attacks import EAGER, knowledge, oracle
from wsl_extraction.attacks.learning import jacobian_augmentation
from wsl_extraction.attacks.learning.jacobian_augmentation import (
    JacobianAugmentation,
    reservoir,
)
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.runtime.runtime import Runtime

RECIPE = learning_attacks.learning(Distillation(), {
    "network": learning_attacks.linear_network, "augment": None}).recipe


def attack(**settings):
  return JacobianAugmentation(recipe=RECIPE, **{
      "seeds": 4, "rho": 3, **settings})


def run(one, folder=None, budget=1000, seen=None, store=None):
  return one(oracle(budget=budget, seen=seen, store=store), knowledge(one), 0,
             Runtime(folder=folder, compile_options=EAGER))


@pytest.mark.parametrize("settings, sizes", [
    ({}, [4, 4, 8, 16]), ({"rho": 0}, [4]),
    ({"rho": 5, "reservoir": 6}, [4, 4, 8, 16, 6, 6]),
    ({"reservoir": 3, "reservoir_after": 0}, [4, 3, 3, 3]),
    ({"seeds": 100, "rho": 6}, [100, 100, 200, 400, 800, 1600, 3200])])
def test_how_many_rows_each_round_asks_about(settings, sizes):
  assert attack(**settings).sizes == sizes
  assert settings.get("seeds") is None or sum(sizes) == 6400


@pytest.mark.parametrize("flip_after, signs", [
    (3, [1, 1, 1, -1, -1, -1, 1]), (1, [1, -1, 1, -1, 1, -1, 1]),
    (None, [1] * 7)])
def test_the_sign_of_the_step_flips(flip_after, signs):
  one = attack(flip_after=flip_after, step=0.2)
  assert [one.step_size(r) for r in range(7)] == [0.2 * s for s in signs]


def test_rows_are_those_of_the_equation(monkeypatch):
  """x + lambda sign(w_y - what softmax makes of the others), clipped."""
  networks, seen = [], []
  real = jacobian_augmentation.log_odds_gradients
  monkeypatch.setattr(
      jacobian_augmentation, "log_odds_gradients",
      lambda network, rows, classes: (networks.append(network), real(
          network, rows, classes))[1])
  run(attack(rho=2), seen=seen)
  seeds = seen[0]
  assert {row.tobytes() for row in seeds} < learning_attacks.row_set(
      learning_attacks.pool().rows)
  rows = seeds.astype(np.float64)
  for number, network in enumerate(networks):
    kernel, bias = network.layers[-1].get_weights()
    kernel = kernel.astype(np.float64)
    logits = rows.reshape(len(rows), -1) / 255 @ kernel + bias
    powers = np.exp(logits)
    classes = learning_attacks.predict(rows).argmax(axis=1)
    others = powers * (np.arange(3) != classes[:, None])
    others /= others.sum(axis=1, keepdims=True)
    slopes = kernel.T[classes] - others @ kernel.T
    moved = np.clip(rows + 25.5 * np.sign(slopes).reshape(rows.shape), 0, 255)
    np.testing.assert_allclose(seen[number + 1], moved, atol=1e-4)
    rows = np.concatenate([rows, seen[number + 1]])


def test_it_pays_for_every_row_once():
  seen = []
  extraction = run(attack(), seen=seen)
  rows = np.concatenate([one.astype(np.float32) for one in seen])
  assert len(rows) == 32 == extraction.figure("rows")
  assert len(learning_attacks.row_set(rows)) == 32
  text = extraction.figures[0].text
  assert text == "32, 4 seeds and 28 made of them"


def test_equal_rows_are_not_asked_about_again():
  """Rows that a step takes out of range come back to where they were."""
  seen = []
  extraction = run(attack(step=2.0, flip_after=1, rho=4), seen=seen)
  rows = np.concatenate([one.astype(np.float32) for one in seen])
  assert len(learning_attacks.row_set(rows)) == len(rows) < 64
  assert f"{64 - len(rows)} came out equal" in extraction.figures[0].text


def test_a_reservoir_is_a_uniform_choice():
  counts = collections.Counter(
      tuple(sorted(reservoir(5, 2, np.random.default_rng(seed)).tolist()))
      for seed in range(1000))
  assert len(counts) == 10
  assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-4
  np.testing.assert_array_equal(
      reservoir(3, 7, np.random.default_rng(0)), np.arange(3))


class Interruption(Exception):
  """What stops an attack here."""


def test_after_an_interruption_the_same_rows(tmp_path, monkeypatch):
  expected = run(attack()).surrogate.get_weights()
  real = JacobianAugmentation._asked

  def stopping(self, asked, rows):
    if len(rows) == 8 and not (tmp_path / "stopped").exists():
      (tmp_path / "stopped").write_text("")
      raise Interruption
    return real(self, asked, rows)

  monkeypatch.setattr(JacobianAugmentation, "_asked", stopping)
  with ResponseStore(tmp_path / "r.sqlite", Logits(), 3) as store:
    with pytest.raises(Interruption):
      run(attack(), tmp_path, store=store)
    kept = np.load(tmp_path / "round_3_rows.npz")["rows"]
    assert len(kept) == 8
    seen = []
    extraction = run(attack(), tmp_path, seen=seen, store=store)
  np.testing.assert_array_equal(seen[0], kept)
  for a, b in zip(expected, extraction.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  (tmp_path / "round_2_rows.npz").write_bytes(b"none")
  with pytest.raises(InputError, match=r"round_2_rows\.npz is damaged"):
    run(attack(), tmp_path)


def test_it_goes_with_scores_and_steps_of_rounds():
  names = []
  attack(objective=Distillation(), round_steps=1, rho=1)(
      oracle(budget=8), knowledge(attack()), 0, Runtime(
          compile_options=EAGER, training_callbacks=lambda name, steps, rows: (
              names.append((name, steps)) or ())))
  assert names == [("round 1/2", 1), ("surrogate", 2)]


@pytest.mark.parametrize("settings, message", [
    ({"seeds": 0}, r"JacobianAugmentation\.seeds is 0"),
    ({"step": 0}, r"JacobianAugmentation\.step is 0"),
    ({"reservoir": 0}, r"reservoir is 0; give a whole number, 1 or more, or"),
    ({"objective": Supervised()}, "does not learn from responses alone"),
    ({"objective": MixMatch()}, "does not learn from responses alone"),
    ({"objective": None}, r"objective is None; give an objective"),
    ({"recipe": functools.partial(keras.Model)}, r"recipe is functools")])
def test_settings_that_cannot_be(settings, message):
  with pytest.raises(InputError, match=message):
    JacobianAugmentation(**{"recipe": RECIPE, **settings})


def test_what_cannot_begin_is_refused_before_a_query():
  seen = []
  for one, budget, message in (
      (attack(), 31, "take 32 queries, more than the budget of 31"),
      (attack(seeds=61, rho=0), 100, "more than the pool of 60")):
    with pytest.raises(InputError, match=message):
      run(one, budget=budget, seen=seen)
  assert seen == []
