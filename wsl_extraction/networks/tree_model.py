"""Decision trees as Keras models, of layers that Keras has itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction.networks.decision_tree import LEAF, DecisionTree

_LOWEST = 1e-30  # of a score, whose logarithm has to be a number


def keras_model(tree: DecisionTree, input_shape: Sequence[int]) -> keras.Model:
  """A tree as a model without code of its own.

  It makes all comparisons of a row at once, in single precision as the tree
  does, and takes the leaf that agrees with them on all of its path. Leaves keep
  the precision of the backend, double or single.

  Args:
    tree: It.
    input_shape: Of one row, of d numbers.

  Returns:
    A functional model that maps [n, *input_shape] to [n, c].

  References:
    Nakandala et al. A Tensor Compiler for Unified Machine Learning Prediction
      Serving. OSDI 2020, section 4.1 (GEMM strategy).
  """
  dtype = keras.backend.standardize_dtype(
      ops.convert_to_tensor(np.zeros(1)).dtype)
  inner, leaves = (np.flatnonzero((tree.feature == LEAF) == is_leaf)
                   for is_leaf in (False, True))
  inputs = keras.Input(tuple(input_shape), dtype=dtype)
  flat: Any = keras.layers.Flatten(dtype=dtype)(inputs) if (
      len(input_shape) > 1) else inputs
  rows = ops.cast(flat, "float32")
  first: Any = ops.cast(ops.zeros_like(rows[:, 0]), "int32")
  arrays = {"values": [tree.values[leaves]]}
  leaf = first
  if len(inner):
    thresholds = keras.layers.Embedding(
        1, len(inner), dtype="float32", name="thresholds")(first)
    values = ops.take(rows, tree.feature[inner].tolist(), axis=1)
    is_left = ops.cast(ops.less_equal(values, thresholds), "float32")
    if tree.missing_left.any():
      missing = keras.layers.Embedding(
          1, len(inner), dtype="float32", name="missing")(first)
      is_left = ops.where(ops.isnan(values), missing, is_left)
    agreeing = keras.layers.Dense(len(leaves), dtype="float32", name="paths")(
        is_left)
    leaf = ops.argmax(agreeing, axis=1)
    arrays |= {"thresholds": [tree.threshold[inner][None]],
               "missing": [tree.missing_left[inner][None].astype(np.float32)],
               "paths": _paths(tree, inner, leaves)}
  outputs = keras.layers.Embedding(
      len(leaves), tree.outputs, dtype=dtype, name="values")(leaf)
  model = keras.Model(inputs, outputs)
  for layer in model.layers:
    if layer.name in arrays:
      layer.set_weights(arrays[layer.name])
  model.trainable = False
  # TensorFlow's graphs complain of double precision, a line for each layer.
  model.compile(run_eagerly=True, jit_compile=False)
  return model


def _paths(tree: DecisionTree, inner: np.ndarray,
           leaves: np.ndarray) -> list[np.ndarray]:
  """A kernel [inner, leaves] and a bias by which a row's own leaf scores 0.

  A comparison adds 1 to leaves on its left and -1 to those on its right, where
  it sends the row left; the bias takes as many as a leaf has to its left. Any
  other leaf has a negative sum.
  """
  column = {int(node): place for place, node in enumerate(leaves)}
  kernel = np.zeros((len(inner), len(leaves)), np.float32)
  bias = np.zeros(len(leaves), np.float32)
  order = {int(node): place for place, node in enumerate(inner)}
  paths: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
  while paths:
    node, path = paths.pop()
    if node in column:
      for place, sign in path:
        kernel[place, column[node]] = sign
        bias[column[node]] -= sign > 0
      continue
    paths += [(int(tree.left[node]), [*path, (order[node], 1)]),
              (int(tree.right[node]), [*path, (order[node], -1)])]
  return [kernel, bias]


def log_scores(scores: np.ndarray) -> np.ndarray:
  """Logits float64 [n, c] of scores, in the backend's precision.

  The largest score of a row has the largest logit, even where the logarithms
  of two scores are the same number.
  """
  dtype = keras.backend.standardize_dtype(
      ops.convert_to_tensor(np.zeros(1)).dtype)
  logits = np.log(np.maximum(scores, _LOWEST)).astype(dtype)
  rows, best = np.arange(len(scores)), scores.argmax(axis=1)
  off = logits.argmax(axis=1) != best
  logits[rows[off], best[off]] = np.nextafter(
      logits[off].max(axis=1), np.asarray(np.inf, dtype))
  return logits.astype(np.float64)
