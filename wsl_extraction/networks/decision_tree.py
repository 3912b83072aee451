"""Decision trees as arrays, as scikit-learn has them.

A row goes left at a node where its feature, rounded to single precision, is at
most the threshold. Categories are compared by their places.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError

LEAF = -1  # the feature, and the children, of a leaf


@dataclasses.dataclass(frozen=True, eq=False)
class DecisionTree:
  """A binary tree of n nodes; node 0 is the root.

  Attributes:
    features: The number of features of a row, d.
    feature: int32 [n], what a node compares; -1 at leaves.
    threshold: float32 [n], the largest number that goes left.
    left: int32 [n], the child of rows at most the threshold.
    right: int32 [n], the child of all others.
    missing_left: bool [n], whether NaN goes left.
    values: float64 [n, c], the outputs at each node.
  """

  features: int
  feature: np.ndarray
  threshold: np.ndarray
  left: np.ndarray
  right: np.ndarray
  missing_left: np.ndarray
  values: np.ndarray

  def __post_init__(self):
    nodes = len(np.asarray(self.feature))
    for name, dtype in (("feature", np.int32), ("threshold", np.float32),
                        ("left", np.int32), ("right", np.int32),
                        ("missing_left", bool), ("values", np.float64)):
      array = np.asarray(getattr(self, name)).astype(dtype)
      if array.ndim != (2 if name == "values" else 1) or len(array) != nodes:
        raise InputError(f"a tree of {nodes} nodes has {name} of shape "
                         f"{list(array.shape)}; give one for each node")
      object.__setattr__(self, name, array)
    inner = self.feature != LEAF
    children = np.concatenate([self.left[inner], self.right[inner]])
    if not nodes or sorted(children.tolist()) != list(range(1, nodes)):
      raise InputError(f"the children of a tree of {nodes} nodes are not each "
                       "node but the root, once; mend left and right")
    if (self.feature[inner] < 0).any() or (
        self.feature[inner] >= self.features).any():
      raise InputError("a tree compares features that rows of "
                       f"{self.features} do not have; mend feature")

  @property
  def outputs(self) -> int:
    """The number of outputs, c."""
    return self.values.shape[1]

  @property
  def leaf_count(self) -> int:
    """The number of its leaves."""
    return int((self.feature == LEAF).sum())

  @property
  def depth(self) -> int:
    """The most comparisons of any row."""
    level, depth = np.zeros(1, np.int32), 0
    while len(level := level[self.feature[level] != LEAF]):
      level = np.concatenate([self.left[level], self.right[level]])
      depth += 1
    return depth

  def leaves(self, rows: np.ndarray) -> np.ndarray:
    """The leaves int64 [n] of rows [n, d]."""
    return self._descend(rows, stops=False)

  def stops(self, rows: np.ndarray) -> np.ndarray:
    """The nodes int64 [n] that rows reach, of which NaN is absent.

    A row stops at the first node that compares an absent feature.
    """
    return self._descend(rows, stops=True)

  def __call__(self, rows: np.ndarray) -> np.ndarray:
    """The outputs float64 [n, c] of rows [n, d]."""
    return self.values[self.leaves(rows)]

  def _descend(self, rows: np.ndarray, stops: bool) -> np.ndarray:
    rows = np.asarray(rows).astype(np.float32)
    nodes = np.zeros(len(rows), np.int64)
    moving = np.arange(len(rows))
    while len(moving):
      at = nodes[moving]
      values = rows[moving, self.feature[at]]
      absent = np.isnan(values)
      go = self.feature[at] != LEAF
      if stops:
        go &= ~absent
      is_left = np.where(absent, self.missing_left[at],
                         values <= self.threshold[at])
      nodes[moving] = np.where(
          go, np.where(is_left, self.left[at], self.right[at]), at)
      moving = moving[go]
    return nodes

  @classmethod
  def constant(cls, features: int, outputs: np.ndarray) -> DecisionTree:
    """The tree of one leaf, with outputs [c]."""
    leaf = np.array([LEAF])
    return cls(features, leaf, np.zeros(1), leaf, leaf, np.zeros(1),
               np.asarray(outputs)[None])

  @classmethod
  def of_sklearn(cls, model: Any) -> DecisionTree:
    """The arrays of a fitted tree of scikit-learn, of one target.

    Values are what it predicts: probabilities, or a number.

    Raises:
      InputError: It has several targets.
    """
    tree = model.tree_
    if tree.n_outputs != 1:
      raise InputError(f"a tree has {tree.n_outputs} targets; fit it to one")
    is_leaf = tree.children_left < 0
    return cls(
        int(tree.n_features), np.where(is_leaf, LEAF, tree.feature),
        round_down(np.where(is_leaf, 0, tree.threshold)),
        np.where(is_leaf, LEAF, tree.children_left),
        np.where(is_leaf, LEAF, tree.children_right),
        np.asarray(tree.missing_go_to_left).astype(bool) & ~is_leaf,
        tree.value[:, 0, :])

  def to_sklearn(self) -> Any:
    """The same tree as scikit-learn's classifier or regressor.

    A classifier, of the classes 0 to c - 1, where all outputs are
    probabilities; else a regressor, of c targets.
    """
    from sklearn import tree as sklearn_tree
    from sklearn.tree import _tree

    values = self.values
    is_classifier = self.outputs > 1 and bool(
        (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-6))
    targets, classes = (1, self.outputs) if is_classifier else (self.outputs, 1)
    raw: Any = _tree
    nodes: Any = np.zeros(len(self.feature), raw.NODE_DTYPE)
    is_leaf = self.feature == LEAF
    nodes["left_child"], nodes["right_child"] = self.left, self.right
    nodes["feature"] = np.where(is_leaf, -2, self.feature)
    nodes["threshold"] = np.where(is_leaf, -2, self.threshold)
    nodes["missing_go_to_left"] = self.missing_left
    nodes["n_node_samples"], nodes["weighted_n_node_samples"] = 1, 1
    built = raw.Tree(self.features, np.full(targets, classes, np.intp), targets)
    built.__setstate__({
        "max_depth": self.depth, "node_count": len(nodes), "nodes": nodes,
        "values": np.ascontiguousarray(
            values.reshape(len(nodes), targets, classes))})
    model: Any = (sklearn_tree.DecisionTreeClassifier if is_classifier
                  else sklearn_tree.DecisionTreeRegressor)()
    model.tree_, model.n_features_in_ = built, self.features
    model.n_outputs_, model.max_features_ = targets, self.features
    if is_classifier:
      model.classes_ = np.arange(self.outputs)
      model.n_classes_ = np.intp(self.outputs)
    return model


def round_down(values: np.ndarray) -> np.ndarray:
  """The largest float32 numbers that are not above float64 ones."""
  values = np.asarray(values, np.float64)
  with np.errstate(over="ignore"):
    single = values.astype(np.float32)
  return np.where(single.astype(np.float64) > values,
                  np.nextafter(single, np.float32(-np.inf)), single)
