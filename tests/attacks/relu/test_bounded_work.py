"""Wide networks and those of many outputs, in little memory."""

from __future__ import annotations

import tracemalloc

import keras
import numpy as np
import pytest

from fixtures import oracles
from fixtures.two_layer_networks import function, gaussian
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.attacks.relu.normal_equations import NormalEquations
from wsl_extraction.data.examples import Examples
from wsl_extraction.networks.two_layer import TwoLayerNetwork
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.runtime.runtime import Runtime

EXACT = 1e-11 if keras.backend.backend() != "jax" else 1e-4
_MIB = 2.0**20


@pytest.mark.parametrize("d, h, c", [(64, 256, 10), (64, 32, 1000)])
def test_wide_victims_need_little_memory(d, h, c):
  """The Gram matrix of all unknowns would fill 1 GiB, and 17 GiB."""
  victim = function(*gaussian(d, h, c, 700))
  pool = np.random.default_rng(0).uniform(0, 1, (100, d))
  oracle = oracles.oracle(victim, c, Vectors(d), "logits")
  tracemalloc.start()
  extraction = Functional(attempts=1)(
      oracle, Knowledge(Examples(pool)), 0, Runtime())
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("hidden_units") == h
  copied = np.asarray(extraction.surrogate.predict_on_batch(pool))
  truth = victim(pool)
  assert np.abs(copied - truth).max() < EXACT * np.abs(truth).max()
  assert peak < 200 * _MIB * max(1, h / 256)


@pytest.mark.slow
def test_512_units():
  test_wide_victims_need_little_memory(64, 512, 10)


def test_outputs_that_depend_on_others_are_found_again():
  """One unit acts on an output of its own, and is off near the data."""
  hidden, bias, outer, constant = gaussian(20, 5, 150, 1)
  bias[0] = -30.0
  victim = function(hidden, bias, outer, constant)
  pool = np.random.default_rng(0).uniform(0, 1, (100, 20))
  oracle = oracles.oracle(victim, 150, Vectors(20), "logits")
  extraction = Functional()(oracle, Knowledge(Examples(pool)), 0, Runtime())
  if extraction.status is Status.DONE:
    rows = 100 * np.random.default_rng(1).standard_normal((500, 20))
    copied = np.asarray(extraction.surrogate.predict_on_batch(rows))
    truth = victim(rows)
    assert np.abs(copied - truth).max() < 1e3 * EXACT * np.abs(truth).max()
  else:
    assert "outside" in extraction.missing


@pytest.mark.parametrize("with_linear", [False, True])
def test_a_step_solves_the_normal_equations(with_linear):
  """Against the dense system, of the Jacobian by central differences."""
  rng = np.random.default_rng(0)
  d, h, k, n = 4, 3, 5, 60
  network = TwoLayerNetwork.of(
      rng.standard_normal((h, d)), np.full(h, 0.1),
      rng.standard_normal((h, k)),
      rng.standard_normal((d, k)) * with_linear, rng.standard_normal(k))
  points, weights = rng.standard_normal((n, d)), rng.uniform(0.5, 2, n)
  residuals = rng.standard_normal((n, k))

  def flat(net):
    parts = [net.normals, net.offsets, net.outer, net.constant]
    return np.concatenate([part.ravel() for part in (
        parts + [net.linear] * with_linear)])

  def unflat(vector):
    sizes = np.cumsum([h * d, h, h * k, k])
    a, b, c, e, f = np.split(vector, sizes)
    return TwoLayerNetwork.of(
        a.reshape(h, d), b, c.reshape(h, k),
        f.reshape(d, k) if with_linear else np.zeros((d, k)), e)
  start, step = flat(network), 1e-6
  jacobian = np.stack([
      ((unflat(start + step * unit)(points)
        - unflat(start - step * unit)(points)) / (2 * step)
       * weights[:, None]).ravel() for unit in np.eye(len(start))], axis=1)
  scale = np.linalg.norm(jacobian, axis=0)
  ridge = 1e-3
  matrix = (jacobian / scale).T @ (jacobian / scale)
  expected = np.linalg.solve(
      matrix + ridge * np.eye(len(start)),
      (jacobian / scale).T @ residuals.ravel()) / scale
  moved = NormalEquations(network, points, weights, with_linear).step(
      residuals, ridge)
  np.testing.assert_allclose(flat(moved) - start, expected, rtol=1e-4,
                             atol=1e-6)
