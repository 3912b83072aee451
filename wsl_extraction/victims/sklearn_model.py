"""Victims that are classifiers of scikit-learn, at hand or in files."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle
import numpy as np

from wsl_extraction import checks
from wsl_extraction.data import frames
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.victims import inputs, tree
from wsl_extraction.victims.sklearn_weights import weights_of
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
)

_COMPARED = 256  # rows on which scores and predictions are compared


@dataclasses.dataclass(frozen=True, eq=False)
class Sklearn(VictimSource):
  """A fitted classifier of scikit-learn, or with its methods.

  It answers with probabilities if it has `predict_proba`, else with the scores
  of `decision_function` as logits (of two classes, 0 and the score), else with
  one-hot rows of what it predicts. So it does too where the largest score is
  not that of the class that it predicts, as in one-against-one schemes. Rows of
  images are flattened. One that was fitted on a DataFrame gets its columns by
  name, with the texts of categories. Class i of the oracle is
  `estimator.classes_[i]`.

  Attributes:
    estimator: The classifier.
    value_range: The range of values that it was fitted on; None for that of the
      data.
  """

  estimator: Any
  _: dataclasses.KW_ONLY
  value_range: tuple[float, float] | None = None

  def __post_init__(self):
    inputs.check_range("Sklearn.value_range", self.value_range)
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
    named = _named_columns(model, parts.space)
    features = parts.space.features if named is not None else getattr(
        model, "n_features_in_", parts.space.features)
    if features != parts.space.features:
      raise InputError(f"the classifier takes {features} features, the data "
                       f"has {parts.space.features}; use the data that it was "
                       "fitted on")
    outputs = len(model.classes_)
    if parts.num_classes not in (None, outputs):
      raise InputError(f"the classifier has {outputs} classes, the data "
                       f"{parts.num_classes}; use the data that it was fitted "
                       "on")
    _check_order(model, parts.class_names)
    kind, predict, others = _predictor(
        model, parts.space, self.value_range, named or (lambda rows: rows))
    changed = [] if self.value_range is None else [self.value_range]
    return Victim(
        parts.space, outputs,
        {**quantities_of(kind, predict, classes=outputs), **others},
        digest("sklearn", _content(model), *changed),
        value_range=self.value_range or parts.space.value_range,
        weights=None if changed or named else weights_of(model))


@dataclasses.dataclass(frozen=True)
class SklearnFile(VictimSource):
  """A classifier of scikit-learn in a `.skops` file, which runs no code.

  Write it with `skops.io.dump(classifier, "name.skops")`. See `Sklearn`.

  Attributes:
    path: The file.
    trusted: The names of types in it that skops does not trust by itself, and
      that may be loaded all the same. Trees have "sklearn.tree._tree.Tree".
    value_range: See `Sklearn`.
  """

  path: str
  _: dataclasses.KW_ONLY
  trusted: Sequence[str] = ()
  value_range: tuple[float, float] | None = None

  def __post_init__(self):
    checks.text("SklearnFile.path", self.path, "the path of a .skops file")
    good = isinstance(self.trusted, (list, tuple)) and all(
        isinstance(name, str) for name in self.trusted)
    if not good:
      checks.refuse("SklearnFile.trusted", self.trusted,
                    "a list of the names of types")
    inputs.check_range("SklearnFile.value_range", self.value_range)

  def load(self, parts, runtime):
    """Loads the classifier.

    Raises:
      InputError: The file cannot be read, holds types that are not trusted, or
        a classifier that does not fit the data.
    """
    model = load(self.path, self.trusted)
    victim = Sklearn(model, value_range=self.value_range).load(parts, runtime)
    # Pickles of one file that is loaded twice differ in what they share.
    content = pathlib.Path(self.path).expanduser().read_bytes()
    return dataclasses.replace(victim, fingerprint=digest(
        "skops", content, self.value_range))


def load(path: str | os.PathLike, trusted: Sequence[str] = ()) -> Any:
  """Loads a classifier from a `.skops` file, of trusted types only.

  Raises:
    InputError: It is missing, damaged, of other types, or no classifier.
  """
  from skops import io

  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise InputError(f"there is no model file {path}; give the path of a "
                     ".skops file")
  if not zipfile.is_zipfile(path):
    raise InputError(f"{path} is no .skops file; write it with "
                     "skops.io.dump(classifier, 'name.skops'), as a pickle "
                     "would run code")
  try:
    strange = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
    model = None if strange else io.load(path, trusted=list(trusted))
  except Exception as error:  # whatever its parts raise
    text = " ".join(str(error).split())[:200]
    raise InputError(f"{path} cannot be loaded as a .skops file ({text}); it "
                     "is damaged, or of another version of scikit-learn"
                     ) from error
  if strange:
    raise InputError(f"{path} holds types that are not trusted, "
                     f"{checks.listed(strange)}; look at them, and name them "
                     "in SklearnFile.trusted if they are yours")
  if not is_classifier(model):
    raise InputError(f"{path} holds {type(model).__name__}, which is no fitted "
                     "classifier; save one with classes_ and predict")
  return model


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


def _check_order(model: Any, names: Sequence[str] | None) -> None:
  """Refuses classes of the data's names in another order."""
  own = list(map(str, model.classes_))
  if names is not None and own != list(names) and sorted(own) == sorted(names):
    raise InputError(
        f"the classifier has its classes in the order {checks.listed(own)}, "
        f"the data in {checks.listed(names)}; fit it to numbers of classes "
        "instead of texts, or the other way about")


def _named_columns(model: Any, space: Space
                   ) -> Callable[[np.ndarray], Any] | None:
  """Makes a DataFrame of rows, if the classifier was fitted on one."""
  wanted = getattr(model, "feature_names_in_", None)
  if wanted is None:
    return None
  names = frames.column_names(space)
  if names is None:
    if len(wanted) != space.features:
      return None  # to be refused
    return lambda rows: frames.frame(space, rows, list(wanted))
  for name in wanted:
    if name not in names:
      raise InputError(f"the classifier was fitted on a column {name!r}, which "
                       "the data does not have; use the data that it was fitted"
                       " on")
  return lambda rows: frames.frame(space, rows)[list(wanted)]


def _predictor(model: Any, space: Space,
               value_range: tuple[float, float] | None,
               arranged: Callable[[np.ndarray], Any]
               ) -> tuple[str, Callable[[np.ndarray], np.ndarray],
                          Mapping[Quantity, Callable[[np.ndarray], Any]]]:
  """"probabilities" or "logits", the function that gives them, and others."""
  def flat(answer: Callable[[np.ndarray], Any]
           ) -> Callable[[np.ndarray], np.ndarray]:
    def numbers(rows: np.ndarray) -> np.ndarray:
      with tree.any_size():
        return np.asarray(answer(arranged(rows.reshape(len(rows), -1))),
                          np.float64)

    return inputs.rescaled(numbers, space, value_range)

  def one_hot(rows: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(rows))[:, None] == np.asarray(
        model.classes_)

  if hasattr(model, "predict_proba"):
    predict, others = tree.answers(model, model.predict_proba, space)
    return "probabilities", flat(predict), {
        name: flat(answer) for name, answer in others.items()}
  if hasattr(model, "decision_function"):
    rows = space.sample(_COMPARED, np.random.default_rng(0))
    scores = flat(model.decision_function)(rows)
    named = (scores > 0 if scores.ndim == 1 else scores.argmax(axis=1))
    if (flat(one_hot)(rows).argmax(axis=1) == named).all() and (
        scores.ndim == 1 or scores.shape[1] == len(model.classes_)):
      return "logits", flat(model.decision_function), {}
  return "probabilities", flat(one_hot), {}
