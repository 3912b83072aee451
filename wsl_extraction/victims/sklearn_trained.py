"""Victims that scikit-learn trains here, on their private part of the data."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import frames
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.victims.sklearn_model import Sklearn
from wsl_extraction.victims.victim import Victim, VictimSource, digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class SklearnTrained(VictimSource):
  """Trains a classifier of scikit-learn on the labels of private examples.

  It sees rows as they are: numbers unscaled, categories by their places,
  missing values as NaN. Every run trains it again, to the same classifier.

  Attributes:
    estimator: Called without arguments; gives a classifier that is not fitted,
      such as `sklearn.ensemble.GradientBoostingClassifier`, or a pipeline.
    frame: Whether it gets a DataFrame with the names of the columns and the
      texts of categories, as a pipeline with a `ColumnTransformer` wants.
    seed: Of the estimator's `random_state`, if it has one that is not set.
  """

  estimator: Callable[[], Any]
  frame: bool = False
  seed: int = 0

  def __post_init__(self):
    checks.reference("SklearnTrained.estimator", self.estimator,
                     "@ensemble.GradientBoostingClassifier")
    checks.flag("SklearnTrained.frame", self.frame)
    checks.seed("SklearnTrained.seed", self.seed)

  def load(self, parts, runtime):
    """Trains the classifier.

    Raises:
      InputError: There are no private examples, a class is missing among them,
        or they do not suit the classifier.
    """
    if not len(parts.private) or parts.num_classes is None:
      raise InputError("a victim cannot be trained on a private part of 0 "
                       "examples; raise Split.private")
    labels = parts.private.known_labels
    shown = len(np.unique(labels))
    if shown < parts.num_classes:
      raise InputError(
          f"the private part shows {shown} of the data set's "
          f"{parts.num_classes} classes; raise Split.private")
    model, settings = self._untrained()
    self._fit(model, parts)
    victim: Victim = Sklearn(model).load(parts, runtime)
    from sklearn import __version__

    return dataclasses.replace(victim, fingerprint=digest(
        "sklearn trained", __version__, settings, self.frame,
        *parts.private.keys, labels))

  def _untrained(self) -> tuple[Any, str]:
    """The classifier, and a text of all its settings."""
    try:
      model = self.estimator()
      for name, value in model.get_params().items():
        if name.split("__")[-1] == "random_state" and value is None:
          model.set_params(**{name: self.seed})
      return model, repr(sorted(
          (name, repr(value)) for name, value in model.get_params().items()))
    except (TypeError, ValueError, AttributeError) as error:
      raise InputError("SklearnTrained.estimator cannot be made: "
                       f"{error}; mend its parameters") from error

  def _fit(self, model: Any, parts: Parts) -> None:
    from sklearn import exceptions

    rows = np.asarray(parts.private.rows)
    rows = rows.reshape(len(rows), -1)
    try:
      with warnings.catch_warnings():
        # A victim need not have learnt all there is.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(frames.frame(parts.space, rows) if self.frame else rows,
                  parts.private.known_labels)
    except (TypeError, ValueError) as error:
      said = " ".join(str(error).split())[:200]
      advice = "mend its parameters"
      if np.isnan(rows.astype(np.float64)).any():
        advice = ("rows have missing values: take a classifier that handles "
                  "them, such as HistGradientBoostingClassifier")
      raise InputError(f"{type(model).__name__} cannot be trained on the "
                       f"private part ({said}); {advice}") from error
