"""A surrogate's outputs on a pool, as strategies read them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.attacks.learning import deepfool
from wsl_extraction.networks.graph import ends, penultimate

_LOOKED_AT = 1024  # rows of the pool that a surrogate sees at once


def look(network: keras.Model, pool: Any,
         reads: str = "features") -> tuple[np.ndarray, np.ndarray]:
  """Probabilities float32 [m, c] of rows, and what `Strategy.reads` names.

  Args:
    network: Maps rows to logits.
    pool: The rows [m, ...], or `LazyRows`.
    reads: "features" gives outputs [m, f] of the penultimate layer,
      "perturbations" lengths [m, 1] of the shortest that change the class.
  """
  see = _with_features if reads == "features" else _with_perturbations
  seen = see(network)
  parts = [seen(np.asarray(pool[start:start + _LOOKED_AT]))
           for start in range(0, len(pool), _LOOKED_AT)]
  logits, features = map(np.concatenate, zip(*parts, strict=True))
  probabilities = ops.convert_to_numpy(
      ops.softmax(np.asarray(logits, np.float32)))
  return probabilities, np.asarray(features, np.float32)


def _with_features(network: keras.Model) -> Any:
  inputs, logits = ends(network)
  both = keras.Model(inputs, [logits, penultimate(network)])
  return lambda rows: both.predict(rows, batch_size=256, verbose=0)


def _with_perturbations(network: keras.Model) -> Any:
  def see(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = deepfool.perturbations(network, rows)
    # Strategies refuse what is not finite; without gradients a row is far off.
    far = float(np.finfo(np.float32).max)
    return deepfool.logits_of(network, rows), np.minimum(lengths, far)[:, None]

  return see
