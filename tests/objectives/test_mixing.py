"""What MixMatch draws and how it interleaves, beside scipy and by lists."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from fixtures.interleaving import swapped
from wsl_extraction.objectives import mixmatch


def compiled(function):
  """The function under XLA, on the backends that have it."""
  if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    return tf.function(function, jit_compile=True)
  return function


def drawn(alpha, count=400_000, seed=11):
  """Compiled by XLA on tensorflow and, inside `stateless`, on jax."""
  seeds = keras.random.SeedGenerator(seed)
  if keras.backend.backend() == "jax":
    import jax

    def stateless(state):
      with keras.StatelessScope(state_mapping=[(seeds.state, state)]):
        return mixmatch.mixing_weights(count, alpha, seeds)

    return np.asarray(jax.jit(stateless)(seeds.state.value), np.float64)
  draw = compiled(lambda: mixmatch.mixing_weights(count, alpha, seeds))
  return np.asarray(ops.convert_to_numpy(draw()), np.float64)


@pytest.mark.parametrize("alpha", [0.25, 0.75, 2.0])
def test_quantiles_are_those_of_scipys_beta(alpha):
  levels = np.linspace(0, 1, 201)[1:-1]
  # Of max(l, 1 - l), by the symmetry of the distribution.
  expected = scipy.stats.beta(alpha, alpha).ppf(0.5 + levels / 2)
  np.testing.assert_allclose(
      np.quantile(drawn(alpha), levels), expected, atol=0.005)


@given(st.floats(-3, 4).map(lambda x: 10**x), st.integers(0, 2**31 - 1))
@settings(max_examples=5)
def test_any_alpha_passes_kolmogorov_and_smirnov(alpha, seed):
  lead = drawn(alpha, 20_000, seed)
  assert np.isfinite(lead).all()
  assert lead.min() >= 0.5
  assert lead.max() <= 1.0
  distribution = scipy.stats.beta(alpha, alpha)
  # Far beyond chance: some 1e-9 a case, where the float32 of the draws allows.
  distance = scipy.stats.kstest(
      lead[lead < 1 - 1e-6],
      lambda x: (2 * distribution.cdf(x) - 1)
      / max(2 * distribution.cdf(1 - 1e-6) - 1, 1e-300)).statistic
  assert distance * np.sqrt(max((lead < 1 - 1e-6).sum(), 1)) < 3.5


@given(st.integers(1, 70), st.integers(1, 6))
@settings(max_examples=40)
def test_interleaving_is_the_references_and_undoes_itself(size, groups):
  places = ops.convert_to_numpy(mixmatch.interleaved(size, groups))
  np.testing.assert_array_equal(places, swapped(size, groups))
  np.testing.assert_array_equal(
      places[places], np.arange(size * groups))


def test_partners_are_a_permutation():
  seeds = keras.random.SeedGenerator(0)
  one, other = (ops.convert_to_numpy(mixmatch.partners(50, seeds))
                for _ in range(2))
  assert sorted(one.tolist()) == list(range(50))
  assert (one != other).any()
