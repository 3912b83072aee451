"""Oracles that clip their inputs, round them to pixels, or take bytes alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import wsl_extraction as wsl
from fixtures import oracles
from fixtures.two_layer_networks import function, gaussian
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.relu.climbing import Ray
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.data.examples import Examples
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.runtime.runtime import Runtime

EXACT = 1e-11 if keras.backend.backend() != "jax" else 1e-4
D, H, C = 36, 10, 6


def extract(predict, pool, outputs, space, seed=0, settings=None, **attack):
  oracle = oracles.oracle(predict, outputs, space, "logits", **(settings or {}))
  rows = pool.reshape(len(pool), *space.shape)
  extraction = Functional(**attack)(
      oracle, Knowledge(Examples(rows)), seed, Runtime())
  return extraction, oracle


def error(extraction, predict, rows, space):
  rows = rows.reshape(len(rows), *space.shape)
  copied = np.asarray(extraction.surrogate.predict_on_batch(rows))
  truth = predict(rows)
  return np.abs(truth - copied).max() / np.abs(truth).max()


def all_over(d, seed=9):
  """Uniform rows and corners of the box."""
  rng = np.random.default_rng(seed)
  corners = rng.random((2000, d)) < rng.random((2000, 1))
  return np.concatenate([rng.random((2000, d)), 1.0 * corners])


def pixels(rows):
  return np.round(rows * 255) / 255


PLAIN = function(*gaussian(D, H, C, 3))


def clips(rows):
  return PLAIN(np.clip(rows, 0, 1))


def rounds(rows):
  return PLAIN(pixels(np.clip(rows, 0, 1)))


def cuts(rows):
  return PLAIN(np.floor(np.clip(rows, 0, 1) * 255) / 255)


@pytest.mark.parametrize("api, bounded, said", [
    (PLAIN, True, "real inputs in their range"),
    (clips, False, "the oracle clips"),
    (rounds, True, "the oracle rounds inputs to 8 bits"),
    (rounds, False, "the oracle rounds inputs to 8 bits"),
    (cuts, True, "the oracle cuts inputs to 8 bits")])
def test_image_apis_are_found_out_said_and_extracted_inside(
    api, bounded, said):
  space = Images(D, 1, 1, 0.0, 1.0, bounded=bounded)
  pool = np.random.default_rng(0).uniform(0, 1, (100, D))
  extraction, _ = extract(api, pool, C, space)
  assert said in extraction.figure("inputs")
  assert extraction.status is Status.DONE, extraction.missing
  rows = all_over(D)
  if "8 bits" in said:
    rows = pixels(rows)
  assert error(extraction, PLAIN, rows, space) < EXACT
  assert extraction.figure("domain").startswith(
      "inputs from 0 to 1, but for at most 1 % of rows like the fresh ones")


@pytest.mark.parametrize("strict", [False, True])
def test_an_api_of_bytes(strict):
  """It casts, or refuses whatever is not uint8."""
  def takes_bytes(rows):
    if strict and rows.dtype != np.uint8:
      raise TypeError("expected uint8")
    return PLAIN(rows.astype(np.uint8) / 255)

  def api(rows):
    try:
      return takes_bytes(rows)
    except TypeError:
      return np.zeros(0)  # what a service that fails gives
  space = Images(D, 1, 1)
  pool = np.random.default_rng(0).integers(0, 256, (100, D)).astype(np.uint8)
  extraction, _ = extract(api, pool, C, space)
  assert ("uint8" if strict else "8 bits") in extraction.figure("inputs")
  assert extraction.status is Status.DONE, extraction.missing
  rows = np.round(255 * all_over(D)).astype(np.uint8)
  assert error(extraction, takes_bytes, rows, space) < EXACT


def test_no_query_leaves_the_box_or_the_grid():
  seen = []

  def watched(rows):
    seen.append(rows.reshape(len(rows), -1))
    return rounds(rows)
  space = Images(D, 1, 1, 0.0, 1.0)
  pool = np.random.default_rng(0).uniform(0, 1, (100, D))
  extract(watched, pool, C, space)
  rows = np.concatenate(seen)
  assert rows.min() >= 0 and rows.max() <= 1
  # But for the rows that find the grid out.
  on_grid = (np.abs(rows * 255 - np.round(rows * 255)) < 1e-9).all(axis=1)
  assert (~on_grid).sum() <= 8


@pytest.fixture(scope="module")
def trained():
  digits = load_digits()
  rows = digits.data / 16
  chosen = np.random.default_rng(4).permutation(len(rows))[:1000]
  model = MLPClassifier((16,), max_iter=30, random_state=4, alpha=1e-4)
  with pytest.warns(UserWarning, match="Maximum iterations"):
    model.fit(rows[chosen], digits.target[chosen])
  (hidden, outer), (bias, constant) = model.coefs_, model.intercepts_
  return function(hidden, bias, outer, constant), rows


@pytest.mark.parametrize("is_rounded, most", [(False, 15), (True, 20)])
@pytest.mark.parametrize("seed", range(2))
def test_trained_digits_cost_few_rows_in_a_box(trained, is_rounded, most, seed):
  """The search for units by fresh rows alone cost 95 to 213 times the bound."""
  victim, rows = trained
  space = Images(8, 8, 1, 0.0, 1.0)

  def api(asked):
    return victim(pixels(asked)) if is_rounded else victim(asked)
  extraction, oracle = extract(api, rows[:300], 10, space, seed)
  assert extraction.status is Status.DONE, extraction.missing
  fresh = np.concatenate([
      np.random.default_rng(9).random((2000, 64)), rows])
  fresh = pixels(fresh) if is_rounded else fresh
  assert error(extraction, victim, fresh, space) < EXACT
  # A unit may be on in so few corners that none was asked about. Of all fresh
  # rows 7 in 16 are corners like these, which may be all that are off.
  corners = all_over(64)[2000:]
  off = np.abs(victim(corners) - np.asarray(
      extraction.surrogate.predict_on_batch(
          corners.reshape(-1, *space.shape)))).max(axis=1)
  assert (off > EXACT * np.abs(victim(corners)).max()).mean() <= (
      2 * extraction.figure("differs_on_at_most"))
  assert oracle.ledger.rows <= most * (64 * 16 / 10 + 16 + 1)


@pytest.mark.parametrize("steep", [1.0, 1e3])
def test_smooth_victims_in_a_box(steep):
  victim = function(*gaussian(D, H, C, 3), activation=(
      lambda z: np.logaddexp(0, steep * z) / steep))
  pool = np.random.default_rng(0).uniform(0, 1, (100, D))
  for api in (victim, lambda rows: victim(pixels(rows))):
    extraction, oracle = extract(
        api, pool, C, Images(D, 1, 1, 0.0, 1.0), attempts=2)
    assert extraction.status is Status.INCOMPLETE
    assert oracle.ledger.rows < 5000


def test_budgets_in_a_box_are_kept():
  space = Images(D, 1, 1, 0.0, 1.0)
  pool = np.random.default_rng(0).uniform(0, 1, (100, D))
  for budget in (1, 4, 30, 300):
    extraction, oracle = extract(
        PLAIN, pool, C, space, settings={"budget": budget})
    assert extraction.status is Status.INCOMPLETE
    assert "budget" in extraction.missing
    assert oracle.ledger.rows <= budget


def test_a_ray_tells_units_apart():
  """Kinks of independent jumps, at real and at whole places."""
  rng = np.random.default_rng(0)
  at, jumps = np.array([11.3, 30.6, 52.2]), rng.standard_normal((3, 5))

  def unexplained(t):
    return np.maximum(t[:, None] - at, 0) @ jumps
  for whole in (False, True):
    climb = Ray(unexplained, 90.0, whole, 1e-12).climb(5)
    np.testing.assert_allclose(climb.at, at, atol=1e-9)
    np.testing.assert_allclose(climb.jumps, jumps, atol=1e-9)
    assert climb.end == 90.0


def test_a_proof_against_what_fresh_rows_said_leaves_nothing_done():
  """A unit that is on in one corner of 2^30, which no row meets."""
  d = 30
  rows = np.random.default_rng(0).random((200, d))
  model = MLPClassifier((7,), max_iter=1)
  with pytest.warns(UserWarning, match="Maximum iterations"):
    model.fit(rows, np.arange(200) % 3)
  hidden, bias, outer, constant = gaussian(d, 7, 3, 1)
  for is_hidden in (False, True):
    if is_hidden:
      hidden[:, 0], bias[0] = np.arange(d) % 2 * 2 - 1, 1 - d / 2
      outer[0] = 3, 0, -3
    model.coefs_, model.intercepts_ = [hidden, outer], [bias, constant]
    copy = wsl.extract(model, rows, test=rows[:20], value_range=(0, 1),
                       attack=Functional(box=True))
    assert copy.extraction.figure("differs_on_at_most") == 0.01
    assert "but for at most 1 % of rows" in " ".join(str(copy).split())
    if is_hidden:  # 1 there, times 3
      assert copy.result["proof"]["least"] == pytest.approx(3, 1e-4)
      assert copy.status == copy.result["status"] == "INCOMPLETE"
      assert "it is proved that" in copy.result["missing"]
    else:
      assert copy.result["proof"]["most"] < 100 * EXACT
      assert copy.status == copy.result["status"] == "DONE"
