"""Victims that are classifiers of scikit-learn."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Sklearn(VictimSource):
  """A fitted classifier: with `predict_proba`, else `predict`.

  A classifier without probabilities answers with one-hot rows. Rows of images
  are flattened. Class i of the oracle is `estimator.classes_[i]`.

  Attributes:
    estimator: The classifier.
  """

  estimator: Any

  def __post_init__(self):
    if not is_classifier(self.estimator):
      checks.refuse("Sklearn.estimator", self.estimator, "a fitted classifier "
                    "of scikit-learn, with classes_ and predict")

  def load(self, parts, runtime):
    """Wraps the classifier.

    Raises:
      InputError: It takes another number of features, has other classes, or
        cannot be told from others.
    """
    model = self.estimator
    features = getattr(model, "n_features_in_", parts.space.features)
    if features != parts.space.features:
      raise InputError(f"the classifier takes {features} features, the data "
                       f"has {parts.space.features}; use the data that it was "
                       "fitted on")
    outputs = len(model.classes_)
    if parts.num_classes not in (None, outputs):
      raise InputError(f"the classifier has {outputs} classes, the data "
                       f"{parts.num_classes}; use the data that it was fitted "
                       "on")
    return Victim(parts.space, outputs,
                  quantities_of("probabilities", _predictor(model)),
                  digest("sklearn", _content(model)))


def _content(model: Any) -> bytes:
  """All that a classifier is; cloudpickle takes lambdas and local classes."""
  try:
    return cloudpickle.dumps(model)
  except (TypeError, AttributeError, pickle.PicklingError) as error:
    text = " ".join(str(error).split())[:200]
    raise InputError(f"the classifier cannot be pickled ({text}); give its "
                     "predict_proba as a function") from error


def is_classifier(model: Any) -> bool:
  """Returns True for a fitted classifier."""
  return hasattr(model, "classes_") and hasattr(model, "predict") and (
      not isinstance(model, type))


def _predictor(model: Any) -> Callable[[np.ndarray], np.ndarray]:
  def predict(rows: np.ndarray) -> np.ndarray:
    rows = rows.reshape(len(rows), -1)
    if hasattr(model, "predict_proba"):
      return np.asarray(model.predict_proba(rows), np.float64)
    named = np.asarray(model.predict(rows))
    return (named[:, None] == np.asarray(model.classes_)).astype(np.float64)

  return predict
