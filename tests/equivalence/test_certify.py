"""What is proved of a copy holds on every input that is tried."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_extraction.equivalence import certify, domains
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.relu_network import ReluNetwork

D, H, C = 12, 9, 4
# Surrogates are kept in single precision on jax.
ROUNDING = 1e-4 if dense.keras.backend.backend() == "jax" else 1e-10


def weights(seed=0):
  rng = np.random.default_rng(seed)
  return [rng.standard_normal((D, H)), rng.standard_normal(H),
          rng.standard_normal((H, C)), rng.standard_normal(C)]


def logits(x, hidden, bias, outer, constant,
           linear: np.ndarray | float = 0.0):
  return np.maximum(x @ hidden + bias, 0) @ outer + constant + (
      x @ linear if np.ndim(linear) else 0.0)


def network_of(hidden, bias, outer, constant, linear=None):
  return ReluNetwork((hidden, outer), (bias, constant), linear=linear)


def proved(victim, copy, value_range=(0, 1), **kwargs):
  low, high = map(float, value_range)
  _, copy = dense.two_layer(network_of(*copy), (D,))
  return certify.certify(network_of(*victim), copy, domains.Box(
      np.full(D, low), np.full(D, high)), **kwargs)


def exchanged(made):
  """The same function: hidden units in another order and of other scales."""
  rng = np.random.default_rng(9)
  order, scale = rng.permutation(H), 2.0 ** rng.integers(-3, 3, H)
  return [made[0][:, order] * scale, made[1][order] * scale,
          made[2][order] / scale[:, None], made[3]]


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (0, 255)])
def test_a_copy_up_to_rounding(value_range):
  made = weights()
  copy = exchanged([array * (1 + 1e-13) for array in made])
  proof = proved(made, copy, value_range)
  assert proof.lower <= proof.upper <= ROUNDING * max(value_range)
  if dense.keras.backend.backend() != "jax":
    assert proof.upper > 0


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("centred", [False, True])
def test_a_moved_weight_lies_between_the_bounds(
    value_range, centred, monkeypatch):
  monkeypatch.setattr(certify, "SECONDS", 2.0)
  made = weights()
  copy = exchanged(made)
  copy[0][3, 2] += 0.01
  proof = proved(made, copy, value_range, centred=centred)
  low, high = value_range
  x = np.random.default_rng(1).uniform(low, high, (100_000, D))
  corners = np.where(x > np.mean(value_range), high, low)
  best = 0.0
  for inputs in (x, corners):
    apart = logits(inputs, *made) - logits(inputs, *copy)
    if centred:
      apart -= apart.mean(axis=1, keepdims=True)
    best = max(best, np.abs(apart).max())
  assert best <= proof.lower * 1.01
  assert proof.lower <= proof.upper <= 3 * proof.lower


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1)])
def test_units_that_never_switch_are_in_the_linear_part(value_range):
  made = weights()
  made[1][0], made[1][1] = 100.0, -100.0
  copy = [made[0][:, 2:], made[1][2:], made[2][2:],
          made[3] + 100.0 * made[2][0], made[0][:, :1] * made[2][:1]]
  assert proved(made, copy, value_range).upper <= 100 * ROUNDING
  copy[4] = copy[4] + 1e-3
  proof = proved(made, copy, value_range)
  # The worst image is all ones: 1e-3 for each pixel.
  assert proof.lower == pytest.approx(D * 1e-3, rel=1e-2)
  assert proof.upper == pytest.approx(D * 1e-3, rel=1e-2)


def test_a_shift_of_all_logits_does_not_count_among_probabilities():
  made = weights()
  copy = [made[0], made[1], made[2] + 1.0, made[3] - 3.0]
  assert proved(made, copy, centred=True).upper <= 100 * ROUNDING
  assert proved(made, copy).lower > 1


def test_an_affine_copy():
  made = [np.zeros((D, 1)), np.ones(1), np.ones((1, C)), np.zeros(C)]
  copy = [np.zeros((D, 0)), np.zeros(0), np.zeros((0, C)), np.full(C, 1.5)]
  proof = proved(made, copy)
  assert proof.lower == pytest.approx(0.5)
  assert proof.upper == pytest.approx(0.5)


def test_deeper_networks_are_refused():
  deep = ReluNetwork([np.ones((D, 2)), np.ones((2, 2)), np.ones((2, C))],
                     [np.zeros(2), np.zeros(2), np.zeros(C)])
  with pytest.raises(InputError, match="2 hidden layers"):
    certify.certify(deep, network_of(*weights()), domains.Box.unit(D))


def test_a_copy_is_certified_by_its_own_weights():
  """Layers have names, which say nothing of what they hold."""
  rng = np.random.default_rng(0)
  made = [rng.normal(size=(16, 4)), rng.normal(size=4),
          rng.normal(size=(4, 3)), rng.normal(size=3)]
  model = dense.mlp((4, 4, 1), 3, (0.0, 1.0), seed=0, hidden=(4,))
  model.set_weights([100 * array for array in model.get_weights()])
  copy = dense.network_of(model)
  rows = rng.uniform(size=(200, 4, 4, 1)).astype("float32")
  gap = np.abs(logits(rows.reshape(200, 16), *made)
               - np.asarray(model.predict_on_batch(rows))).max()
  proof = certify.certify(network_of(*made), copy, domains.Box.unit(16))
  assert proof.upper >= gap * (1 - 1e-5)
  assert proof.lower >= gap / 2
