"""Sums of steps: boosted stumps and forests of stumps, and products of steps.

F(x) = constant + sum_t effects_t [x_f(t) > t] + sum_p pair_effects_p z_s z_t,
of which the second sum is absent where all trees are stumps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.networks.decision_tree import LEAF, DecisionTree

LINKS = ("logits", "scores")
_LOWEST = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class StepSum:
  """A sum of m steps and p products of two of them.

  Attributes:
    features: The number of features of a row, d.
    feature: int32 [m], that of each step.
    threshold: float32 [m]; a step is 1 above it.
    constant: float64 [c].
    effects: float64 [m, c].
    pairs: int [p, 2], the steps of each product.
    pair_effects: float64 [p, c].
    link: Whether the sum is "logits" or the "scores" themselves.
  """

  features: int
  feature: np.ndarray
  threshold: np.ndarray
  constant: np.ndarray
  effects: np.ndarray
  pairs: np.ndarray
  pair_effects: np.ndarray
  link: str = "logits"

  @property
  def outputs(self) -> int:
    """The number of outputs, c."""
    return len(self.constant)

  def steps(self, rows: np.ndarray) -> np.ndarray:
    """bool [n, m] of rows [n, d]."""
    rows = np.asarray(rows).astype(np.float32)
    return rows[:, self.feature] > self.threshold

  def __call__(self, rows: np.ndarray) -> np.ndarray:
    """The sum float64 [n, c] of rows [n, d]."""
    steps = self.steps(rows).astype(np.float64)
    products = steps[:, self.pairs[:, 0]] * steps[:, self.pairs[:, 1]]
    return self.constant + steps @ self.effects + products @ self.pair_effects

  def merged(self) -> StepSum:
    """The same function of steps that are all different, without products."""
    if len(self.pairs):
      raise InputError("a sum with products of steps has no merged form; "
                       "compare it on rows")
    keys = np.stack([self.feature, self.threshold.astype(np.float64)], axis=1)
    different, places = np.unique(keys, axis=0, return_inverse=True)
    effects = np.zeros((len(different), self.outputs))
    np.add.at(effects, places.ravel(), self.effects)
    return dataclasses.replace(
        self, feature=different[:, 0].astype(np.int32),
        threshold=different[:, 1].astype(np.float32), effects=effects)

  def to_keras(self, input_shape: Sequence[int]) -> keras.Model:
    """A functional model that maps [n, *input_shape] to logits [n, c]."""
    dtype = keras.backend.standardize_dtype(
        ops.convert_to_tensor(np.zeros(1)).dtype)
    inputs = keras.Input(tuple(input_shape), dtype=dtype)
    rows = ops.cast(inputs, "float32")
    arrays = {}

    def dense(name: str, x: Any, *weights: np.ndarray) -> Any:
      arrays[name] = weights
      return keras.layers.Dense(self.outputs, use_bias=len(weights) > 1,
                                dtype=dtype, name=name)(x)

    if len(self.feature):
      first = ops.cast(ops.zeros_like(rows[:, 0]), "int32")
      arrays["thresholds"] = (self.threshold[None],)
      thresholds = keras.layers.Embedding(
          1, len(self.feature), dtype="float32", name="thresholds")(first)
      values = ops.take(rows, self.feature.tolist(), axis=1)
      steps = ops.cast(ops.greater(values, thresholds), dtype)
    else:
      steps = ops.cast(ops.zeros_like(rows[:, :1]), dtype)
    x = dense("effects", steps, self.effects if len(self.feature) else (
        np.zeros((1, self.outputs))), self.constant)
    if len(self.pairs):
      products = ops.multiply(*(ops.take(
          steps, self.pairs[:, side].tolist(), axis=1) for side in (0, 1)))
      x = keras.layers.Add(dtype=dtype)([
          x, dense("pair_effects", products, self.pair_effects)])
    if self.link == "scores":
      x = ops.log(ops.maximum(x, _LOWEST))
    model = keras.Model(inputs, x)
    for layer in model.layers:
      if layer.name in arrays:
        layer.set_weights(list(arrays[layer.name]))
    model.trainable = False
    # TensorFlow's graphs complain of double precision, a line for each layer.
    model.compile(run_eagerly=True, jit_compile=False)
    return model


def of_stumps(stumps: Sequence[tuple[DecisionTree, int | None]],
              weight: float, constant: np.ndarray, link: str) -> StepSum | None:
  """The sum of stumps.

  Args:
    stumps: Each with the output to which it is added, or None for a stump that
      has a value for all of them.
    weight: Of each.
    constant: [c], to which they are added.
    link: See `StepSum`.

  Returns:
    None if one of them has more than one comparison.
  """
  if any(tree.depth > 1 for tree, _ in stumps):
    return None
  constant = np.array(constant, np.float64)
  feature, threshold, effects = [], [], []
  for tree, place in stumps:
    root, *sides = tree.values if tree.feature[0] == LEAF else (
        tree.values[[0, tree.left[0], tree.right[0]]])
    low = sides[0] if sides else root
    where = slice(None) if place is None else place
    constant[where] += weight * (low if place is None else low[0])
    if sides:
      step = np.zeros_like(constant)
      step[where] = weight * ((sides[1] - low) if place is None
                              else (sides[1] - low)[0])
      feature.append(tree.feature[0])
      threshold.append(tree.threshold[0])
      effects.append(step)
  c = len(constant)
  return StepSum(
      stumps[0][0].features, np.array(feature, np.int32),
      np.array(threshold, np.float32), constant,
      np.array(effects).reshape(-1, c), np.zeros((0, 2), np.int64),
      np.zeros((0, c)), link)
