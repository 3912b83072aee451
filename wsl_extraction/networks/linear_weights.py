"""Linear classifiers: weights, as a Keras model, and as scikit-learn's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError

LINKS = ("softmax", "one_vs_rest")


@dataclasses.dataclass(frozen=True, eq=False)
class LinearWeights:
  """The linear part z = x kernel + bias of a classifier, and its link.

  Attributes:
    kernel: float64 [d, c].
    bias: float64 [c].
    link: The scores: "softmax" of z, or "one_vs_rest", sigmoid(z) over its sum.
      The class is that of the largest z in either case.
  """

  kernel: np.ndarray
  bias: np.ndarray
  link: str = "softmax"

  def __post_init__(self):
    checks.one_of("link", self.link, LINKS)
    for name in ("kernel", "bias"):
      array = np.asarray(getattr(self, name), np.float64)
      if not np.isfinite(array).all():
        raise InputError(f"the {name} of a linear model holds NaN or infinity;"
                         " train it anew")
      object.__setattr__(self, name, array)
    if self.kernel.ndim != 2 or self.bias.shape != self.kernel.shape[1:] or (
        not self.kernel.size):
      raise InputError(
          f"a linear model has a kernel {list(self.kernel.shape)} and a bias "
          f"{list(self.bias.shape)}; give [d, c] and [c]")

  @classmethod
  def binary(cls, normal: np.ndarray, offset: float) -> LinearWeights:
    """Class 1 where normal [d] . x + offset > 0, else class 0."""
    normal = np.asarray(normal, np.float64)
    return cls(np.column_stack([np.zeros_like(normal), normal]),
               np.array([0.0, offset]))

  @classmethod
  def of_keras(cls, model: keras.Model) -> LinearWeights:
    """The weights that a model of `to_keras` holds, a loaded one too.

    Raises:
      InputError: It is another model.
    """
    layers = [layer for layer in model.layers if layer.weights]
    if len(layers) != 1 or not isinstance(layers[0], keras.layers.Dense):
      raise InputError(f"model {model.name!r} is not one dense layer; give the "
                       "surrogate of an attack on linear models")
    activation = getattr(layers[0].activation, "__name__", "")
    kernel, bias = map(ops.convert_to_numpy, layers[0].weights)
    return cls(kernel, bias, "one_vs_rest" if activation == "log_sigmoid"
               else "softmax")

  @property
  def dimension(self) -> int:
    """The number of inputs, d."""
    return self.kernel.shape[0]

  @property
  def outputs(self) -> int:
    """The number of classes, c."""
    return self.kernel.shape[1]

  def __call__(self, rows: np.ndarray) -> np.ndarray:
    """z, float64 [n, c], for rows [n, d]."""
    return np.asarray(rows, np.float64) @ self.kernel + self.bias

  def logits(self, rows: np.ndarray) -> np.ndarray:
    """Logits float64 [n, c], whose softmax are the scores."""
    values = self(rows)
    if self.link == "softmax":
      return values
    return -np.logaddexp(0, -values)

  def probabilities(self, rows: np.ndarray) -> np.ndarray:
    """The scores, float64 [n, c]."""
    logits = self.logits(rows)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

  def centred(self) -> LinearWeights:
    """The same softmax, its weights of mean 0 over the classes.

    So they are after training with an L2 penalty.
    """
    return dataclasses.replace(
        self, kernel=self.kernel - self.kernel.mean(axis=1, keepdims=True),
        bias=self.bias - self.bias.mean())

  def to_keras(self, input_shape: Sequence[int]
               ) -> tuple[keras.Model, LinearWeights]:
    """A dense layer that gives logits.

    In double precision where the backend has it, else in single.

    Args:
      input_shape: Of one input, flattened inside to d numbers.

    Returns:
      A model that maps [n, *input_shape] to [n, c], and the weights that it
      holds, which in single precision are rounded.
    """
    dtype = keras.backend.standardize_dtype(
        ops.convert_to_tensor(np.zeros(1)).dtype)
    weights = dataclasses.replace(
        self, kernel=self.kernel.astype(dtype), bias=self.bias.astype(dtype))
    inputs = keras.Input(tuple(input_shape), dtype=dtype)
    flat = inputs if len(input_shape) == 1 else (
        keras.layers.Flatten(dtype=dtype)(inputs))
    layer = keras.layers.Dense(
        self.outputs, dtype=dtype, name="linear",
        activation=None if self.link == "softmax" else "log_sigmoid")
    model = keras.Model(inputs, layer(flat))
    layer.set_weights([weights.kernel, weights.bias])
    # TensorFlow's graphs complain of double precision, a line for each layer.
    # SGD has no weights of its own, which a file would lack.
    model.compile("sgd", run_eagerly=True, jit_compile=False)
    return model, weights

  def to_sklearn(self, classes: Sequence[Any] | np.ndarray | None = None
                 ) -> Any:
    """A fitted classifier of scikit-learn with the same scores.

    Args:
      classes: The names of the classes, in increasing order; None for numbers.

    Returns:
      `LogisticRegression`, or `OneVsRestClassifier` of several.
    """
    names = np.arange(self.outputs) if classes is None else np.asarray(
        classes)
    if len(names) != self.outputs or len(names) < 2 or (
        names.tolist() != sorted(set(names.tolist()))):
      raise InputError(f"classes are {checks.listed(names)}; give "
                       f"{self.outputs} names, at least 2, in increasing order")
    if self.link == "one_vs_rest":
      if self.outputs > 2:
        return _one_vs_rest(self, names)
      raise InputError("scikit-learn has no classifier of two classes, one "
                       "against the rest; extract it as a softmax")
    if self.outputs == 2:
      return _logistic(self.kernel[:, 1] - self.kernel[:, 0],
                       self.bias[1] - self.bias[0], names)
    return _logistic(self.kernel.T, self.bias, names)


def _logistic(coefficients: np.ndarray, intercepts: Any,
              classes: np.ndarray) -> Any:
  from sklearn.linear_model import LogisticRegression

  model = LogisticRegression()
  model.coef_ = np.atleast_2d(coefficients)
  model.intercept_ = np.atleast_1d(intercepts)
  model.classes_ = classes
  model.n_features_in_ = model.coef_.shape[1]
  model.n_iter_ = np.zeros(1, np.int32)
  return model


def _one_vs_rest(weights: LinearWeights, classes: np.ndarray) -> Any:
  from sklearn import multiclass, preprocessing

  model = multiclass.OneVsRestClassifier(_logistic(
      weights.kernel[:, 0], weights.bias[0], np.array([0, 1])))
  model.estimators_ = [
      _logistic(kernel, bias, np.array([0, 1]))
      for kernel, bias in zip(weights.kernel.T, weights.bias, strict=True)]
  model.label_binarizer_ = preprocessing.LabelBinarizer(
      sparse_output=True).fit(classes)
  if not hasattr(type(model), "classes_"):  # a property in older versions
    model.classes_ = classes
  model.n_features_in_ = weights.dimension
  return model
