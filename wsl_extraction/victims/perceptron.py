"""Victims with one hidden layer, computed in NumPy: exact to the last bit."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np

from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.runtime import files
from wsl_extraction.victims.victim import Surroundings, Victim, digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perceptron:
  """A multilayer perceptron d-h-c, trained by scikit-learn or random.

  It sees pixels scaled to 0..1 and gives logits.

  Attributes:
    hidden: h.
    trained: Whether it learns from the private examples; else its weights are
      Gaussian, of variance 1 / d and 1 / h, its biases of variance 1.
    alpha: The L2 penalty of the training.
    max_iter: Its epochs, at most.
    dtype: In which it computes: float64 or float32.
    seed: Of the training, or of the weights.
  """

  hidden: int = 32
  trained: bool = True
  alpha: float = 1e-4
  max_iter: int = 200
  dtype: str = "float64"
  seed: int = 0

  def __post_init__(self):
    for name in ("hidden", "max_iter"):
      value = getattr(self, name)
      if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"Perceptron.{name} is {value!r}; give a whole "
                         "number, 1 or more")
    if self.dtype not in ("float32", "float64"):
      raise InputError(f"Perceptron.dtype is {self.dtype!r}; choose float32 or "
                       "float64")

  def __call__(self, dataset: Dataset, parts: Parts,
               surroundings: Surroundings) -> Victim:
    """Gives the victim, from the cache or trained now.

    Raises:
      InputError: There are no private examples, or the cache cannot be
        written.
    """
    weights = (self._trained(dataset, parts, surroundings) if self.trained
               else self._random(dataset))
    weights = [array.astype(self.dtype) for array in weights]
    low, high = dataset.value_range

    def predict(images: np.ndarray) -> np.ndarray:
      hidden, hidden_bias, outer, outer_bias = weights
      x = images.reshape(len(images), -1).astype(self.dtype)
      x = (x - low) / np.dtype(self.dtype).type(high - low)
      return np.maximum(x @ hidden + hidden_bias, 0) @ outer + outer_bias

    first, bias, *rest = (array.astype(np.float64) for array in weights)
    first = first / (high - low)
    return Victim(predict, "logits", dataset.input_shape, dataset.num_classes,
                  digest("perceptron", low, high, *weights),
                  weights=ReluNetwork(
                      (first, rest[0]),
                      (bias - low * first.sum(axis=0), rest[1])))

  def _random(self, dataset: Dataset) -> list[np.ndarray]:
    rng = np.random.default_rng(self.seed)
    d, h = int(np.prod(dataset.input_shape)), self.hidden
    c = dataset.num_classes
    return [rng.standard_normal((d, h)) / np.sqrt(d), rng.standard_normal(h),
            rng.standard_normal((h, c)) / np.sqrt(h), rng.standard_normal(c)]

  def _trained(self, dataset: Dataset, parts: Parts,
               surroundings: Surroundings) -> list[np.ndarray]:
    if not len(parts.private):
      raise InputError("a victim cannot be trained on a private part of 0 "
                       "examples; raise Split.private")
    key = digest(json.dumps(dataclasses.asdict(self) | {"dtype": ""}),
                 dataset.num_classes, *parts.private.keys, parts.private.labels)
    path = surroundings.cache / "victims" / f"{key}.npz"
    if not path.exists():
      weights = self._fitted(dataset, parts)
      with files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, *weights)
    with np.load(path) as stored:
      return [stored[f"arr_{i}"] for i in range(4)]

  def _fitted(self, dataset: Dataset, parts: Parts) -> list[np.ndarray]:
    from sklearn import exceptions, neural_network

    low, high = dataset.value_range
    images = parts.private.images.reshape(len(parts.private), -1)
    images = (images.astype(np.float64) - low) / (high - low)
    model = neural_network.MLPClassifier(
        (self.hidden,), alpha=self.alpha, max_iter=self.max_iter,
        random_state=self.seed)
    with warnings.catch_warnings():
      # A victim need not have learnt all there is.
      warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
      model.fit(images, parts.private.labels)
    (hidden, outer), (hidden_bias, outer_bias) = model.coefs_, model.intercepts_
    if len(model.classes_) < dataset.num_classes:
      raise InputError(
          f"the private part shows {len(model.classes_)} of the data set's "
          f"{dataset.num_classes} classes; raise Split.private")
    if dataset.num_classes == 2:  # scikit-learn gives the second class only
      outer = np.column_stack([np.zeros(self.hidden), outer])
      outer_bias = np.concatenate([[0.0], outer_bias])
    return [hidden, hidden_bias, outer, outer_bias]
