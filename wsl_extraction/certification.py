"""A proof of how far a copy is from its victim, where both are small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from wsl_extraction.data.datasets import Dataset
from wsl_extraction.theory import bounds, domains, equivalence
from wsl_extraction.theory.relu import ReluNetwork
from wsl_extraction.victims.victim import Victim

# The time limit, and what bound needs no improvement, relative to the weights.
SECONDS = 5.0
_ENOUGH = 1e-9


def proved(surrogate: keras.Model, victim: Victim, dataset: Dataset, *,
           centred: bool = False,
           report: Callable[[str, str], None] = lambda stage, words: None
           ) -> dict[str, Any] | None:
  """Bounds how far the copy's logits are from the victim's, on every image.

  An image is whatever lies in the data set's range of pixels.

  Args:
    surrogate: Of one hidden layer, as `networks.mlp.from_weights` makes them.
    victim: If its weights are known.
    dataset: Gives the range of pixels: the box.
    centred: Compares logits less their mean over the classes, which is all
      that probabilities tell of them.
    report: Called about once a second with the stage and the bounds so far.

  Returns:
    "least", the exact difference at the worst image that was found; "most",
    which is proved; and "seconds". None where the victim's weights are not
    known. It holds for exact arithmetic on the weights as they are; rounding
    within either network is not part of it.
  """
  if victim.layers is None:
    return None
  low, high = map(float, dataset.value_range)
  size = int(np.prod(dataset.input_shape))
  box = domains.Box(np.full(size, low), np.full(size, high))
  (theirs, slack), (ours, more) = (
      _folded(layers, box, centred)
      for layers in ([*victim.layers, 0.0], _layers(surrogate)))
  # Where the copy has a linear part, so has the victim, if one of zeros: hidden
  # units of one network find theirs in the other.
  linear = bool(theirs[4].any() or ours[4].any()
                or not theirs[1].size or not ours[1].size)
  f, g = (_chain(layers, low, linear) for layers in (theirs, ours))
  largest = max(float(np.abs(one).max(initial=0)) for one in f.weights)
  found = equivalence.largest_difference(
      f, g, box, SECONDS, enough=_ENOUGH * max(largest, 1.0),
      report=lambda least, most: report(
          "proving how far the copy is",
          f"between {least:.2g} and {most:.2g}, for {SECONDS:g} s at most"))
  return {"least": max(float(found.lower) - slack - more, 0.0),
          "most": float(found.upper) + slack + more, "seconds": found.seconds}


def _layers(model: keras.Model) -> list[np.ndarray]:
  """Hidden weights and biases, outer ones, and the linear part."""
  named = {layer.name: layer.get_weights() for layer in model.layers}
  size = int(np.prod(model.input_shape[1:]))
  outputs = model.output_shape[1]
  hidden = named.get("hidden", [np.zeros((size, 0)), np.zeros(0)])
  outer = named.get("outer", [np.zeros((0, outputs)), np.zeros(outputs)])
  linear, *bias = named.get("linear", [np.zeros((size, outputs))])
  return [*hidden, outer[0], outer[1] + (bias[0] if bias else 0), linear]


def _folded(layers: Sequence[np.ndarray | float], box: domains.Box,
            centred: bool) -> tuple[list[np.ndarray], float]:
  """Moves units that are always on to the linear part, drops those never on.

  Returns:
    The layers, and how far rounding can have moved any output on the box.
  """
  hidden, bias, outer, constant, linear = (
      np.asarray(array, np.float64) for array in layers)
  least, most = bounds.affine_range(box.low, box.high, hidden, bias)
  on, stays = least >= 0, (least < 0) & (most > 0)
  size = np.maximum(np.abs(box.low), np.abs(box.high))
  sums = (np.abs(hidden[:, on]) @ np.abs(outer[on]) + np.abs(linear),
          np.abs(bias[on]) @ np.abs(outer[on]) + np.abs(constant),
          np.abs(outer[stays]))
  linear = hidden[:, on] @ outer[on] + linear
  constant, outer = bias[on] @ outer[on] + constant, outer[stays]
  if centred:
    outer, constant, linear = (
        array - array.mean(axis=-1, keepdims=True)
        for array in (outer, constant, linear))
  slack = 0.0
  if centred or on.any():
    # A class's own terms, and the mean's, each rounded as often as there are
    # classes and folded units at most.
    total = size @ sums[0] + sums[1] + np.maximum(most[stays], 0) @ sums[2]
    slack = float(bounds.gamma(int(on.sum()) + 2 * len(total)) * 2
                  * total.max() * (1 + 2.0**-40))
  if box.low.any():
    # `_chain` adds up the linear part at the lowest corner.
    slack += float(bounds.gamma(len(size) + 2) * (
        size @ np.abs(linear) + np.abs(constant)).max())
  return [hidden[:, stays], bias[stays], outer, constant, linear], slack


def _chain(layers: Sequence[np.ndarray], low: float,
           linear: bool) -> ReluNetwork:
  """As one hidden layer: x, which is at least `low`, is relu(x - low) + low."""
  hidden, bias, outer, constant, part = layers
  if linear:
    size = len(hidden)
    hidden = np.hstack([hidden, np.eye(size)])
    bias = np.hstack([bias, np.full(size, -low)])
    outer = np.vstack([outer, part])
    constant = constant + low * part.sum(axis=0)
  return ReluNetwork([hidden, outer], [bias, constant])
