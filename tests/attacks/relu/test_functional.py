"""Functionally equivalent extraction: exact, or it says that it is not."""

from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pytest

from fixtures.two_layer_networks import (
    C,
    D,
    H,
    error,
    extract,
    function,
    make_oracle,
    weights,
)
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import NotRevealed
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits

# jax computes in single precision unless told otherwise.
EXACT = 1e-10 if keras.backend.backend() != "jax" else 1e-5


def with_column(which, *changes):
  """Weights of which some entries are replaced."""
  made = weights()
  for position, index, value in changes:
    made[position][index] = value
  return function(*made)


def same_unit(factor, shift=0.0):
  """The second unit's hyperplane is the first one's, up to factor and shift."""
  made = weights()
  made[0][:, 1] = factor * made[0][:, 0]
  made[1][1] = factor * made[1][0] + shift
  return function(*made)


def one_output_direction():
  made = weights()
  made[2][:] = np.outer(made[2][:, 0], made[2][0])
  return function(*made)


def affine(images):
  x = images.reshape(len(images), -1)
  return x @ weights()[0][:, :C] + 1


DEGENERATE = {
    "dead: no weights": (with_column(0, (0, np.s_[:, 0], 0)), H - 1),
    "dead: far off": (with_column(0, (1, 0, -1e3)), H),
    "always on": (with_column(0, (1, 0, 1e3)), H),
    "no outer weights": (with_column(0, (2, 0, 0)), H - 1),
    "duplicate": (same_unit(1), H - 1),
    "duplicate of another length": (same_unit(2), H - 1),
    "opposite": (same_unit(-1), H - 1),
    "parallel": (same_unit(1, 0.7), H),
    "nearly the same": (same_unit(1, 1e-3), H),
    "outer weights parallel": (with_column(
        0, (2, 1, 2 * weights()[2][0])), H),
    "all outer weights parallel": (one_output_direction(), H),
    "tiny weights": (with_column(0, (0, 3, 1e-16)), H),
    "unused feature": (with_column(0, (0, 3, 0)), H),
    "no biases": (with_column(0, (1, np.s_[:], 0)), H),
    "affine": (affine, 0),
    "constant": (lambda images: np.ones((len(images), C)) * 3, 0),
    "zero": (lambda images: np.zeros((len(images), C)), 0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_victims(name):
  victim, units = DEGENERATE[name]
  extraction = extract(make_oracle(victim))
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("hidden_units") == units
  assert error(extraction, victim) < EXACT


@pytest.mark.parametrize("d, h, c", [
    (3, 25, 2), (8, 40, 3), (30, 6, 1), (2, 10, 1), (1, 5, 1), (30, 1, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_shapes(d, h, c, seed):
  victim = function(*weights(d, h, c, seed))
  extraction = extract(make_oracle(victim, d, c), seed)
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("hidden_units") == h
  assert error(extraction, victim, d) < EXACT


def test_the_surrogate_is_the_victim_in_canonical_order():
  """Unit normals, by size of effect; computed here from the true weights."""
  made = weights()
  extraction = extract(make_oracle(function(*made)))
  length = np.linalg.norm(made[0], axis=0)
  outer = made[2] * length[:, None]
  order = np.argsort(-np.linalg.norm(outer, axis=1))
  expected = [(made[0] / length)[:, order], (made[1] / length)[order],
              outer[order], made[3]]
  for given, true in zip(
      extraction.surrogate.get_weights(), expected, strict=True):
    np.testing.assert_allclose(given, true, atol=1e3 * EXACT)
  assert extraction.figure("signs_integral")
  assert extraction.figure("signs_from_integers") < 1e-3
  assert extraction.figure("remainder") < 1e-5
  assert extraction.figure("held_out_error") <= extraction.figure("tolerance")


def test_queries_are_near_the_number_of_unknowns():
  made = weights(100, 16, 10)
  oracle = make_oracle(function(*made), 100, 10)
  extraction = extract(oracle)
  assert extraction.status is Status.DONE
  bound = 100 * 16 / 10 + 16 + 1
  assert extraction.figure("bound") == bound
  assert extraction.figure("queries_per_bound") == (
      oracle.ledger.rows / bound) < 2.6


def depth_three(images):
  hidden, bias, _, _ = weights()
  _, _, inner, second = weights(h=H, c=8, seed=1)
  x = images.reshape(len(images), -1)
  x = np.maximum(x @ hidden + bias, 0) @ inner / 3 + second
  return np.maximum(x, 0) @ weights(h=8, seed=2)[2]


def smooth(images):
  hidden, bias, outer, _ = weights()
  return np.tanh(images.reshape(len(images), -1) @ hidden + bias) @ outer


def hidden_noise(images):
  plain = function(*weights())(images)
  return plain + 1e-3 * np.sin(
      1e7 * images.reshape(len(images), -1).sum(1))[:, None]


def needle(images):
  """A network, but for a unit that is on in half of 1e-4 of a direction."""
  bent = np.maximum(np.maximum(images.reshape(len(images), -1)[:, 0], 0)
                    + function(*weights())(images)[:, 0], 0)
  return function(*weights())(images) + 1e-4 * bent[:, None]


@pytest.mark.parametrize(
    "victim", [depth_three, smooth, hidden_noise, needle])
@pytest.mark.parametrize("seed", range(2))
def test_other_victims_are_never_done(victim, seed):
  extraction = extract(make_oracle(victim, budget=2_000), seed, attempts=2)
  assert extraction.status is Status.INCOMPLETE
  assert extraction.missing


def test_noise_is_named():
  rng = np.random.default_rng(3)
  plain = function(*weights())
  extraction = extract(make_oracle(
      lambda x: plain(x) + 1e-3 * rng.standard_normal((len(x), C))))
  assert extraction.status is Status.INCOMPLETE
  assert "not deterministic" in extraction.missing


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_are_never_done(value):
  plain = function(*weights())
  oracle = make_oracle(lambda x: np.where(
      np.arange(C) == 1, value, plain(x)), budget=2_000)
  extraction = extract(oracle)
  assert extraction.status is Status.INCOMPLETE
  assert "no finite numbers" in extraction.missing


@pytest.mark.parametrize("reveal", ["label", "label_score", "top_k:2"])
def test_too_little_is_refused_before_the_first_query(reveal):
  seen = []
  with pytest.raises(NotRevealed, match="which needs 'scores'"):
    extract(make_oracle(seen.append, reveal=reveal))
  assert not seen


def test_an_oracle_of_bounded_inputs_is_asked_in_a_box_or_not_at_all():
  seen = []
  with pytest.raises(InputError, match=r"leave Functional\.box out"):
    extract(make_oracle(seen.append, bounded=True), box=False)
  assert not seen
  oracle = make_oracle(function(*weights()), bounded=True)
  extraction = extract(oracle)
  assert extraction.figure("inputs") == "real inputs in their range"
  assert oracle.ledger.rows


def test_scores():
  victim = function(*weights())
  extraction = extract(make_oracle(victim, reveal="scores"))
  assert extraction.status is Status.DONE, extraction.missing

  def centred(images):
    return victim(images) - victim(images)[:, :1]
  assert error(extraction, centred, wide=1.0) < max(EXACT, 1e-8)


def test_scores_of_two_classes_are_one_output():
  victim = function(*weights(c=2))
  extraction = extract(make_oracle(victim, c=2, reveal="scores"))
  assert extraction.status is Status.DONE or extraction.missing
  if extraction.status is Status.DONE:
    assert error(extraction, lambda x: victim(x) - victim(x)[:, :1],
                 wide=1.0) < 1e-6


def test_the_score_of_a_single_class_is_refused():
  with pytest.raises(InputError, match="always 1"):
    extract(make_oracle(lambda x: np.ones((len(x), 1)), c=1,
                        quantity="probabilities", reveal="scores"))


@pytest.mark.parametrize("kwargs, limit", [
    ({"dtype": "float32"}, 1e-4), ({"decimals": 6}, 1e-5),
    ({"decimals": 4}, 1e-4), ({"decimals": 2}, 1e-2)])
def test_imprecise_answers(kwargs, limit):
  victim = function(*weights())
  extraction = extract(make_oracle(victim, **kwargs))
  assert extraction.status is Status.DONE, extraction.missing
  assert error(extraction, victim) < limit
  assert extraction.figure("tolerance") > 1e-9


def test_in_a_box_no_query_leaves_it():
  """A unit that is always on there is part of the linear part."""
  seen = []
  victim = with_column(0, (1, 0, 50.0))

  def watched(x):
    seen.append(np.abs(x).max())
    return victim(x)
  extraction = extract(make_oracle(watched), box=True, attempts=1)
  assert max(seen) <= 1
  assert extraction.figure("domain").startswith("inputs from -1 to 1, ")
  is_done = extraction.status is Status.DONE
  assert ("but for at most 1 % of rows" in extraction.figure("domain")) == (
      is_done)
  if is_done:
    assert error(extraction, victim, wide=1.0) < max(1e-8, EXACT)


def test_same_seed_same_result_other_seed_another():
  first, second, other = (
      extract(make_oracle(function(*weights())), seed) for seed in (3, 3, 4))
  assert first.figures == second.figures != other.figures
  for a, b in zip(first.surrogate.get_weights(),
                  second.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_budgets_are_kept_and_one_row_less_is_not_enough():
  victim = function(*weights())
  unlimited = make_oracle(victim)
  extract(unlimited)
  needed = unlimited.ledger.rows
  assert extract(make_oracle(victim, budget=needed)).status is Status.DONE
  errors = []
  for budget in (1, 20, 60, 150, 200, needed - 30, needed - 1):
    oracle = make_oracle(victim, budget=budget)
    extraction = extract(oracle)
    assert extraction.status is Status.INCOMPLETE
    assert "budget" in extraction.missing
    assert oracle.ledger.rows <= budget
    errors.append(error(extraction, victim))
  # All but the fresh rows were had.
  assert errors[-1] < EXACT < errors[0]


def test_a_rerun_pays_no_row_twice(tmp_path):
  rows = []
  plain = function(*weights())

  def victim(x):
    rows.append(len(x))
    return plain(x)
  once = make_oracle(plain)
  straight = extract(once)
  for budget in (170, None):
    with ResponseStore(tmp_path / "r.sqlite", Logits(), C, {},
                       "float64") as store:
      oracle = make_oracle(victim, budget=budget, store=store)
      extraction = extract(oracle)
  assert extraction.status is Status.DONE
  # Fewer by the row that is asked twice to see whether answers repeat.
  assert sum(rows) == oracle.ledger.rows
  assert once.ledger.rows - 3 <= sum(rows) <= once.ledger.rows
  for a, b in zip(extraction.surrogate.get_weights(),
                  straight.surrogate.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_progress_names_the_stages():
  shown = []
  oracle = make_oracle(function(*weights()))
  extract(oracle, stage=lambda name, rows: shown.append((name, rows)))
  stages = list(dict.fromkeys(name for name, _ in shown))
  assert [re.sub(" .*", "", name) for name in stages] == [
      "measuring", "searching", "measuring", "checking", "checking"]
  counts = [count for _, count in shown]
  assert counts == sorted(counts) and counts[-1] == oracle.ledger.rows


@pytest.mark.parametrize("field, value", [
    ("held_out", 0), ("attempts", 1.5), ("query_batch_size", -1),
    ("box", "no"), ("tolerance", 0), ("tolerance", 2), ("tolerance", "1e-9")])
def test_settings_are_checked(field, value):
  with pytest.raises(InputError, match=f"Functional.{field}"):
    dataclasses.replace(Functional(), **{field: value})


def test_small_batches_change_nothing():
  victim = function(*weights())
  sizes = []

  def watched(x):
    sizes.append(len(x))
    return victim(x)
  extraction = extract(make_oracle(watched), query_batch_size=7)
  assert max(sizes) <= 7 and extraction.status is Status.DONE
  assert error(extraction, victim) < EXACT
  assert extraction.figure("hidden_units") == H
  assert extraction.figure("bound") == D * H / C + H + 1


def test_units_far_off_do_not_spoil_what_is_near():
  """Rows out there fit ill where a unit is overlooked: 6e-11 if they count."""
  hidden, hidden_bias, outer, outer_bias = weights(h=60)
  hidden, outer = hidden / np.sqrt(D), outer / np.sqrt(60)
  rng = np.random.default_rng(0)
  hidden[:, :4] *= 2e-6
  hidden_bias[:4] = -0.1
  outer[:4] *= 1e-5 * rng.uniform(0.2, 1, (4, 1))
  victim = function(hidden, hidden_bias, outer, outer_bias)
  extraction = extract(make_oracle(victim))
  assert extraction.status is Status.DONE
  assert error(extraction, victim) < (
      5e-12 if keras.backend.backend() != "jax" else EXACT)
