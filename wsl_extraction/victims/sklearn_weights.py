"""Weights of scikit-learn's linear models, trees, perceptrons: for proofs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks import step_sum
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.step_sum import StepSum
from wsl_extraction.victims import tree


def weights_of(model: Any
               ) -> DecisionTree | LinearWeights | ReluNetwork | StepSum | None:
  """The weights of a fitted classifier, as functions of the rows that it gets.

  Scalers in front of it, in a pipeline, are folded into the weights, which
  rounds them.

  Returns:
    None for a classifier that is neither linear, nor a tree, nor a perceptron
    of one hidden layer of ReLUs, or whose pipeline does anything else.
  """
  steps = [step for _, step in getattr(model, "steps", [("", model)])
           if step not in (None, "passthrough")]
  if not steps:
    return None
  affine = [_affine(step) for step in steps[:-1]]
  if any(one is None for one in affine):
    return None
  try:
    if tree.is_tree(steps[-1]):
      # Scalers in front of comparisons would have to be undone exactly.
      return None if affine else DecisionTree.of_sklearn(steps[-1])
    if not affine and (stumps := _stumps(steps[-1])) is not None:
      return stumps
    weights = _linear(steps[-1]) or _perceptron(steps[-1])
  except InputError:  # weights that are not finite
    return None
  for one in reversed(affine):
    assert one is not None
    weights = None if weights is None else _behind(weights, *one)
  return weights


def _affine(scaler: Any) -> tuple[np.ndarray, np.ndarray] | None:
  """x -> x scale + shift of a fitted scaler, both [d]."""
  from sklearn import preprocessing

  d = getattr(scaler, "n_features_in_", 0)
  if type(scaler) is preprocessing.StandardScaler:
    scale = np.ones(d) if scaler.scale_ is None else 1 / scaler.scale_
    mean = np.zeros(d) if not scaler.with_mean else scaler.mean_
    return scale, -mean * scale
  if type(scaler) is preprocessing.MinMaxScaler and not scaler.clip:
    return scaler.scale_, scaler.min_
  if type(scaler) is preprocessing.MaxAbsScaler:
    return 1 / scaler.scale_, np.zeros(d)
  return None


def _linear(model: Any) -> LinearWeights | None:
  """The weights of a classifier whose decision function is affine."""
  from sklearn import discriminant_analysis, linear_model, multiclass, svm

  if type(model) is multiclass.OneVsRestClassifier:
    return _one_vs_rest(model)
  known = (linear_model.LogisticRegression, linear_model.LogisticRegressionCV,
           linear_model.SGDClassifier, linear_model.Perceptron,
           linear_model.RidgeClassifier, svm.LinearSVC,
           discriminant_analysis.LinearDiscriminantAnalysis)
  if type(model) not in known:
    return None
  kernel = np.atleast_2d(np.asarray(model.coef_, np.float64))
  bias = np.broadcast_to(
      np.asarray(model.intercept_, np.float64), (len(kernel),))
  if len(kernel) == 1:
    return LinearWeights.binary(kernel[0], float(bias[0]))
  is_softmax = isinstance(model, linear_model.LogisticRegression) or (
      type(model) is discriminant_analysis.LinearDiscriminantAnalysis)
  return LinearWeights(kernel.T, bias,
                       "softmax" if is_softmax else "one_vs_rest")


def _one_vs_rest(model: Any) -> LinearWeights | None:
  parts = [_linear(one) for one in model.estimators_]
  if any(part is None or part.outputs != 2 for part in parts):
    return None
  kernels = [part.kernel[:, 1] for part in parts if part]
  biases = [part.bias[1] for part in parts if part]
  if len(parts) == 1:
    return LinearWeights.binary(kernels[0], float(biases[0]))
  return LinearWeights(np.column_stack(kernels), np.array(biases),
                       "one_vs_rest")


def _perceptron(model: Any) -> ReluNetwork | None:
  from sklearn import neural_network

  if type(model) is not neural_network.MLPClassifier or (
      len(model.coefs_) != 2 or model.activation != "relu"
      or model.out_activation_ not in ("softmax", "logistic")):
    return None
  (hidden, outer), (bias, constant) = model.coefs_, model.intercepts_
  if outer.shape[1] == 1:
    outer = np.column_stack([np.zeros(len(outer)), outer])
    constant = np.append(0.0, constant)
  elif model.out_activation_ == "logistic":  # of several labels at once
    return None
  return ReluNetwork((hidden, outer), (bias, constant))


def _stumps(model: Any) -> StepSum | None:
  """The steps of a forest or of boosted trees that are all stumps."""
  from sklearn import ensemble

  if type(model) in (ensemble.RandomForestClassifier,
                     ensemble.ExtraTreesClassifier):
    trees = [(DecisionTree.of_sklearn(one), None) for one in model.estimators_]
    return step_sum.of_stumps(trees, 1 / len(trees), np.zeros(
        len(model.classes_)), "scores")
  if type(model) is not ensemble.GradientBoostingClassifier:
    return None
  shift = 1 if model.estimators_.shape[1] == 1 else 0
  trees = [(DecisionTree.of_sklearn(one), place + shift)
           for row in model.estimators_ for place, one in enumerate(row)]
  stumps = step_sum.of_stumps(
      trees, model.learning_rate, np.zeros(len(model.classes_)), "logits")
  if stumps is None:
    return None
  row = np.zeros((1, model.n_features_in_))
  start = np.zeros(len(model.classes_))
  start[shift:] = model.decision_function(row)[0] - stumps(row)[0, shift:]
  return dataclasses.replace(stumps, constant=stumps.constant + start)


def _behind(weights: Any, scale: np.ndarray, shift: np.ndarray) -> Any:
  """The same function of x, where `weights` got x scale + shift."""
  if isinstance(weights, LinearWeights):
    return LinearWeights(weights.kernel * scale[:, None],
                         weights.bias + shift @ weights.kernel, weights.link)
  (hidden, outer), (bias, constant) = weights.weights, weights.biases
  return ReluNetwork((hidden * scale[:, None], outer),
                     (bias + shift @ hidden, constant))
