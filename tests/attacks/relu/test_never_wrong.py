"""DONE holds on the data too, and says no more than rows can show."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.special import erf, expit

from fixtures import oracles
from fixtures.two_layer_networks import function, gaussian
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.relu import feature_scales
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.data.examples import Examples
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.runtime.runtime import Runtime

EXACT = 1e-9 if keras.backend.backend() != "jax" else 1e-3


def extract(predict, pool, outputs, seed=0, images=None, **settings):
  """Asks about any real rows; the pool is all that tells of their units."""
  d = pool.shape[1]
  space = Vectors(d) if images is None else Images(
      d, 1, 1, *images, bounded=False)
  oracle = oracles.oracle(predict, outputs, space, "logits", **settings)
  rows = pool.reshape(len(pool), *space.shape)
  return Functional()(oracle, Knowledge(Examples(rows)), seed, Runtime())


def error(extraction, predict, rows, images=None):
  """The largest error, as a share of the largest output on these rows."""
  shaped = rows if images is None else rows.reshape(*rows.shape, 1, 1)
  copied = np.asarray(extraction.surrogate.predict_on_batch(shaped))
  truth = predict(rows)
  return np.abs(truth - copied).max() / np.abs(truth).max()


def unequal_columns():
  """Pools and networks that were trained on standardised columns."""
  rng = np.random.default_rng(3)
  for a in (1e3, 1e5):
    scale = np.where(np.arange(64) < 32, 1 / a, a)
    yield rng.standard_normal((300, 64)) * scale, scale, 32, 10
  for a in (1e6, 1e9):
    scale = np.where(np.arange(20) < 1, a, 1.0)
    yield rng.uniform(0, 1, (300, 20)) * scale, scale, 16, 4
  for _ in range(4):
    scale = 10 ** rng.uniform(-3, 3, 3)
    yield rng.standard_normal((300, 3)) * scale, scale, 8, 2


@pytest.mark.parametrize("as_images", [False, True])
@pytest.mark.parametrize("pool, scale, h, k", list(unequal_columns()))
def test_columns_of_any_unit_are_reproduced_on_the_pool_itself(
    pool, scale, h, k, as_images):
  """With one unit for all columns the pool was off by up to 2e-4."""
  hidden, *others = gaussian(len(scale), h, k, 90)
  victim = function(hidden / scale[:, None], *others)
  images = (float(pool.min()), float(pool.max())) if as_images else None
  extraction = extract(victim, pool, k, images=images)
  assert extraction.status is Status.DONE, extraction.missing
  assert error(extraction, victim, pool, images) < EXACT


def test_units_of_features():
  rng = np.random.default_rng(0)
  pool = rng.uniform(0, 1, (5000, 4)) * [1e6, 1, 1e-3, 0] + [0, 5, 0, 7]
  scales = feature_scales.half_ranges(Vectors(4), pool)
  np.testing.assert_allclose(scales[:3], [5e5, 0.5, 5e-4], rtol=0.05)
  np.testing.assert_allclose(scales[3], np.cbrt(np.prod(scales[:3])))
  # Pixels have one unit, dead ones too.
  pixels = rng.uniform(0, 1, (50, 4)) * [255, 200, 16, 0]
  np.testing.assert_allclose(
      feature_scales.half_ranges(Images(4, 1, 1), pixels), 127.5)


@pytest.mark.parametrize("steep", [1e4, 1e5, 1e7])
def test_a_steep_softplus_is_no_relu(steep):
  victim = function(*gaussian(64, 16, 10, 800), activation=(
      lambda z: np.logaddexp(0, steep * z) / steep))
  pool = np.random.default_rng(0).uniform(0, 1, (200, 64))
  extraction = extract(victim, pool, 10, images=(0.0, 1.0))
  assert extraction.status is Status.INCOMPLETE
  assert "smooth" in extraction.missing


SMOOTH = {
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "silu": lambda z: z * expit(z), "tanh": np.tanh, "sigmoid": expit,
    "softplus": lambda z: np.logaddexp(0, z),
    "softplus of 1000 z": lambda z: np.logaddexp(0, 1000 * z) / 1000,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "square": np.square,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_victims_end_after_few_rows(name):
  victim = function(*gaussian(64, 16, 10, 801), activation=SMOOTH[name])
  pool = np.random.default_rng(1).uniform(0, 1, (200, 64))
  extraction = extract(victim, pool, 10, images=(0.0, 1.0), budget=5000)
  assert extraction.status is Status.INCOMPLETE
  assert "smooth" in extraction.missing


def test_the_domain_is_stated_as_what_rows_can_know():
  """A trigger in a corner that no row meets."""
  plain = function(*gaussian(64, 16, 10, 50))
  corner = np.random.default_rng(0).uniform(0, 1, 64)

  def bump(rows):
    off = np.abs(rows.reshape(len(rows), -1) - corner).sum(axis=1)
    return plain(rows) + np.maximum(1 - 20 * off, 0)[:, None]
  pool = np.random.default_rng(1).uniform(0, 1, (200, 64))
  extraction = extract(bump, pool, 10)
  assert "if the victim is a ReLU network of one hidden layer" in (
      extraction.figure("domain"))
  assert error(extraction, bump, corner[None]) > 0.1


@pytest.mark.parametrize("decimals", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_tolerance_of_rounded_answers_holds_on_many_rows(decimals, seed):
  victim = function(*gaussian(12, 6, 3, seed))
  rng = np.random.default_rng(seed)
  extraction = extract(victim, rng.uniform(0, 1, (200, 12)), 3, seed,
                       decimals=decimals)
  if extraction.status is Status.DONE:
    assert error(extraction, victim, rng.uniform(0, 1, (20_000, 12))) < (
        extraction.figure("tolerance"))
  else:
    assert extraction.missing
