"""Two-layer ReLU networks with given properties, and attacks on them."""

from __future__ import annotations

import numpy as np

from wsl_extraction.attacks.attack import Surroundings
from wsl_extraction.attacks.relu.functional import Functional
from wsl_extraction.data.examples import Examples
from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.reveals import Access

D, H, C = 20, 12, 4


def weights(d=D, h=H, c=C, seed=0):
  """hidden [d, h], hidden_bias [h], outer [h, c], outer_bias [c]."""
  rng = np.random.default_rng(seed)
  return [rng.standard_normal((d, h)), rng.standard_normal(h),
          rng.standard_normal((h, c)), rng.standard_normal(c)]


def function(hidden, hidden_bias, outer, outer_bias):
  def predict(images):
    x = np.asarray(images, np.float64).reshape(len(images), -1)
    return np.maximum(x @ hidden + hidden_bias, 0) @ outer + outer_bias
  return predict


def make_oracle(predict, d=D, c=C, budget=None, ledger=None, **kwargs):
  return Oracle(predict, **{
      "outputs": "logits", "input_shape": (d, 1, 1), "num_classes": c,
      "access": Access.LOGITS, "ledger": ledger or Ledger(budget), **kwargs})


def images(n, d=D, seed=5):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1, 1, (n, d, 1, 1))


def extract(oracle, seed=0, progress=lambda stage, rows: None, **kwargs):
  """Runs the attack with 50 examples in -1..1."""
  d = oracle.input_shape[0]
  return Functional(**kwargs)(
      oracle, Examples(images(50, d).astype(np.float32)), seed,
      Surroundings(value_range=(-1.0, 1.0), progress=progress))


def error(extraction, predict, d=D, wide=3.0):
  """The largest error, as a share of the largest output."""
  points = wide * images(2000, d, seed=9)
  given = predict(points)
  told = np.asarray(extraction.surrogate.predict_on_batch(points))
  return np.abs(given - told).max() / max(np.abs(given).max(), 1e-300)
