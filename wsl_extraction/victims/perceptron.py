"""Victims with one hidden layer, computed in NumPy: exact to the last bit."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import warnings

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.runtime import files
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
    range_facts,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perceptron(VictimSource):
  """A multilayer perceptron d-h-c, trained by scikit-learn or random.

  It sees pixels scaled to 0..1 and gives logits.

  Attributes:
    hidden: h.
    trained: Whether it learns from the private examples; else its weights are
      Gaussian, of variance 1 / d and 1 / h, its biases of variance 1.
    alpha: The L2 penalty of the training.
    max_iter: Its epochs, at most.
    dtype: In which it computes: float64 or float32.
    input_levels: Rounds inputs to so many steps of their range before it sees
      them, and clips them to it: 255 is what an API of 8-bit images does. None
      takes any numbers.
    seed: Of the training, or of the weights.
  """

  hidden: int = 32
  trained: bool = True
  alpha: float = 1e-4
  max_iter: int = 200
  dtype: str = "float64"
  input_levels: int | None = None
  seed: int = 0

  def __post_init__(self):
    for name in ("hidden", "max_iter"):
      object.__setattr__(self, name, checks.whole(
          f"Perceptron.{name}", getattr(self, name), 1))
    object.__setattr__(self, "input_levels", checks.whole(
        "Perceptron.input_levels", self.input_levels, 1, optional=True))
    checks.flag("Perceptron.trained", self.trained)
    checks.number("Perceptron.alpha", self.alpha, 0)
    checks.seed("Perceptron.seed", self.seed)
    checks.one_of("Perceptron.dtype", self.dtype, ("float32", "float64"))

  def load(self, parts, runtime):
    """Gives the victim, from the cache or trained now.

    Raises:
      InputError: There are no private examples, or the cache cannot be
        written.
    """
    if parts.num_classes is None:
      raise InputError("a perceptron needs data of known classes; give labels")
    weights = self._trained(parts, parts.num_classes, runtime) if (
        self.trained) else self._random(parts.space.features, parts.num_classes)
    weights = [array.astype(self.dtype) for array in weights]
    low, high = parts.space.value_range
    levels = self.input_levels

    def predict(rows: np.ndarray) -> np.ndarray:
      hidden, hidden_bias, outer, outer_bias = weights
      x = rows.reshape(len(rows), -1).astype(self.dtype)
      x = (x - low) / np.dtype(self.dtype).type(high - low)
      if levels:
        x = np.round(np.clip(x, 0, 1) * levels) / x.dtype.type(levels)
      return np.maximum(x @ hidden + hidden_bias, 0) @ outer + outer_bias

    first, bias, outer, outer_bias = (
        array.astype(np.float64) for array in weights)
    first = first / (high - low)
    return Victim(
        parts.space, parts.num_classes, quantities_of("logits", predict),
        digest("perceptron", *range_facts(parts.space), *weights,
               *([levels] if levels else [])),
        is_random=not self.trained,
        weights=ReluNetwork((first, outer),
                            (bias - low * first.sum(axis=0), outer_bias)))

  def _random(self, d: int, c: int) -> list[np.ndarray]:
    rng, h = np.random.default_rng(self.seed), self.hidden
    return [rng.standard_normal((d, h)) / np.sqrt(d), rng.standard_normal(h),
            rng.standard_normal((h, c)) / np.sqrt(h), rng.standard_normal(c)]

  def _trained(self, parts: Parts, num_classes: int,
               runtime: Runtime) -> list[np.ndarray]:
    if not len(parts.private):
      raise InputError("a victim cannot be trained on a private part of 0 "
                       "examples; raise Split.private")
    learnt = dataclasses.asdict(self) | {"dtype": ""}
    learnt.pop("input_levels")  # it is trained on what it is given
    key = digest(json.dumps(learnt),
                 num_classes, *parts.private.keys, parts.private.labels)
    path = runtime.cache / "victims" / f"{key}.npz"
    weights = _kept(path)
    if weights is None:
      weights = self._fitted(parts, num_classes)
      with files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, *weights)
    return weights

  def _fitted(self, parts: Parts, num_classes: int) -> list[np.ndarray]:
    from sklearn import exceptions, neural_network

    low, high = parts.space.value_range
    rows = np.asarray(parts.private.rows, np.float64)
    rows = (rows.reshape(len(rows), -1) - low) / (high - low)
    model = neural_network.MLPClassifier(
        (self.hidden,), alpha=self.alpha, max_iter=self.max_iter,
        random_state=self.seed)
    with warnings.catch_warnings():
      # A victim need not have learnt all there is.
      warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
      model.fit(rows, parts.private.labels)
    (hidden, outer), (hidden_bias, outer_bias) = model.coefs_, model.intercepts_
    if len(model.classes_) < num_classes:
      raise InputError(
          f"the private part shows {len(model.classes_)} of the data set's "
          f"{num_classes} classes; raise Split.private")
    if num_classes == 2:  # scikit-learn gives the second class only
      outer = np.column_stack([np.zeros(self.hidden), outer])
      outer_bias = np.concatenate([[0.0], outer_bias])
    return [hidden, hidden_bias, outer, outer_bias]


def _kept(path: pathlib.Path) -> list[np.ndarray] | None:
  """The weights that were kept at `path`, if they are there and whole."""
  try:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
      return [stored[f"arr_{i}"] for i in range(4)]
  except Exception:  # zipfile and numpy raise of many kinds
    return None  # to be made anew
