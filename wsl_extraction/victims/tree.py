"""Decision trees of scikit-learn: leaves, absent features, regression."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.victims.victim import Victim, VictimSource, digest

Answer = Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class RegressionTree(VictimSource):
  """A fitted `DecisionTreeRegressor` or `ExtraTreeRegressor` of one target.

  It answers with one number, as a logit, and names its leaves.

  Attributes:
    estimator: The tree.
  """

  estimator: Any

  def __post_init__(self):
    if not is_regressor(self.estimator):
      checks.refuse("RegressionTree.estimator", self.estimator, "a fitted "
                    "DecisionTreeRegressor of scikit-learn")

  def load(self, parts, runtime):
    """Wraps the tree.

    Raises:
      InputError: It takes another number of features, or has several targets.
    """
    model = self.estimator
    if model.n_features_in_ != parts.space.features:
      raise InputError(f"the tree takes {model.n_features_in_} features, the "
                       f"data has {parts.space.features}; use the data that it "
                       "was fitted on")
    tree = DecisionTree.of_sklearn(model)

    def predict(rows: np.ndarray) -> np.ndarray:
      with any_size():
        return np.asarray(model.predict(rows))[:, None]

    values, others = answers(model, predict, parts.space)
    return Victim(
        parts.space, 1, {Quantity.LOGITS: values, **others},
        digest("regression tree", tree.feature, tree.threshold, tree.left,
               tree.right, tree.missing_left, tree.values), weights=tree)


def is_regressor(model: Any) -> bool:
  """Returns True for a fitted regression tree."""
  from sklearn import tree

  return type(model) in (tree.DecisionTreeRegressor, tree.ExtraTreeRegressor
                         ) and hasattr(model, "tree_")


def is_tree(model: Any) -> bool:
  """Returns True for a fitted decision tree, not one that was derived."""
  from sklearn import tree

  return is_regressor(model) or (
      type(model) in (tree.DecisionTreeClassifier, tree.ExtraTreeClassifier)
      and hasattr(model, "tree_"))


def answers(model: Any, predict: Answer, space: Space
            ) -> tuple[Answer, Mapping[Quantity, Answer]]:
  """The outputs of a tree, and the names of its leaves.

  Args:
    model: A fitted tree, or a pipeline that ends in one.
    predict: Its outputs [n, c] of rows [n, d].
    space: The rows; if values may be missing there, NaN is one.

  Returns:
    `predict`, which else takes rows with absent features as well; and what else
    the tree gives. Nothing else if the model is no tree.
  """
  if not is_tree(model):
    steps = getattr(model, "steps", [])
    if not steps or not is_tree(steps[-1][1]):
      return predict, {}
    before, last = model[:-1], steps[-1][1]
    return predict, {Quantity.LEAVES: lambda rows: last.apply(
        before.transform(rows) if len(steps) > 1 else rows)}
  tree = DecisionTree.of_sklearn(model)

  def outputs(rows: np.ndarray) -> np.ndarray:
    if getattr(space, "missing", False) or not np.isnan(rows).any():
      return predict(rows)
    return tree.values[tree.stops(rows)]

  def leaves(rows: np.ndarray) -> np.ndarray:
    with any_size():
      return model.apply(rows)

  return outputs, {Quantity.LEAVES: leaves, Quantity.NODES: tree.stops}


def any_size() -> Any:
  """Lets scikit-learn take numbers whose sum is none, as of 1e38 and -1e38.

  It adds all numbers up to see that they are finite, and NumPy warns.
  """
  return np.errstate(invalid="ignore", over="ignore")
