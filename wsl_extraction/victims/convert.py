"""Models and functions at hand as victims."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.outputs import (
    BadAnswer,
    as_array,
    look_like_percent,
    look_like_probabilities,
)
from wsl_extraction.victims import answers, keras_file, sklearn_model
from wsl_extraction.victims.function import Function
from wsl_extraction.victims.keras_file import KerasModel
from wsl_extraction.victims.sklearn_model import Sklearn, is_classifier
from wsl_extraction.victims.tree import RegressionTree, is_regressor
from wsl_extraction.victims.victim import VictimSource

OUTPUTS = ("logits", "probabilities", "percent")


def source_of(victim: Any, probe: np.ndarray, outputs: str | None = None
              ) -> tuple[VictimSource, int]:
  """A source for the kind of thing that a victim is.

  Args:
    victim: The path of a `.keras` or `.skops` file, a Keras model, a fitted
      classifier of scikit-learn, a function of an array, or a source already.
    probe: Rows of the victim's owner [n, ...], by whose answers to tell what is
      not given.
    outputs: "logits", "probabilities" or "percent"; None tells by the answers.
      A `Function` takes labels and the best few classes as well.

  Returns:
    The source, and the rows that the victim was asked about.

  Raises:
    InputError: It is none of these, or answers with something else.
  """
  if isinstance(victim, VictimSource):
    return victim, 0
  if outputs is not None:
    checks.one_of("outputs", outputs, OUTPUTS)
  if isinstance(victim, (str, os.PathLike)):
    is_skops = pathlib.Path(victim).suffix == ".skops"
    victim = (sklearn_model if is_skops else keras_file).load(victim)
  if isinstance(victim, keras.Model):
    if outputs is not None:
      return KerasModel(model=victim, outputs=outputs), 0
    kind, _ = _outputs_of(lambda rows: victim.predict_on_batch(rows), probe)
    return KerasModel(model=victim, outputs=kind), len(probe)
  if is_classifier(victim):
    return Sklearn(estimator=victim), 0
  if is_regressor(victim):
    return RegressionTree(victim), 0
  if callable(victim) and not isinstance(victim, type):
    answered, classes = _outputs_of(victim, probe)
    return Function(function=victim, outputs=outputs or answered,
                    num_classes=classes), len(probe)
  return checks.refuse(
      "victim", victim, "the path of a .keras file, a Keras model, a fitted "
      "classifier of scikit-learn, or a function of an array")


def _outputs_of(function: Callable[[np.ndarray], Any],
                probe: np.ndarray) -> tuple[str, int]:
  """The form of scores, told by answers, and the number of classes."""
  try:
    values = as_array(answers.plain(function(probe.copy())))
  except BadAnswer as error:
    raise InputError(str(error)) from error
  if values.ndim != 2 or len(values) != len(probe) or (
      values.dtype.kind not in "uif"):
    raise InputError(
        f"the victim answered {len(probe)} rows with shape {values.shape} and "
        f"dtype {values.dtype}; a victim maps [n, ...] to real numbers [n, c], "
        "or say what else it gives: Function(..., outputs='label')")
  one = values.shape[1] == 1
  if look_like_percent(values):
    kind = "percent"
  elif look_like_probabilities(values) or (one and _is_a_share(values)):
    kind = "probabilities"
  else:
    kind = "logits"
  return kind, 2 if one else values.shape[1]


def _is_a_share(values: np.ndarray) -> bool:
  """True for numbers from 0 to 1, not all whole: one sigmoid output."""
  return bool(len(values) > 3 and values.min() >= 0 and values.max() <= 1
              and (values != np.round(values)).any())


def label_numbers(source: VictimSource, labels: np.ndarray) -> np.ndarray:
  """Labels as numbers int32 [n] of the victim's classes.

  Raises:
    InputError: A label is none of its classes.
  """
  if isinstance(source, Sklearn):
    classes = np.asarray(source.estimator.classes_)
    numbers = np.searchsorted(classes, labels).clip(0, len(classes) - 1)
    if not (classes[numbers] == labels).all():
      strange = labels[classes[numbers] != labels].tolist()[0]
      raise InputError(f"the test labels hold {strange!r}, which is no class "
                       "of the classifier; give labels of the same kind")
    return numbers.astype(np.int32)
  if labels.dtype.kind not in "ui":
    raise InputError(f"the test labels have dtype {labels.dtype}; give the "
                     "numbers of the classes, from 0")
  return labels.astype(np.int32)


def probe_rows(parts: Parts, count: int = 4) -> np.ndarray:
  """Rows of the victim's owner: of the test set, else random ones."""
  if len(parts.test):
    return np.asarray(parts.test.rows[:count])
  return parts.space.sample(count, np.random.default_rng(0))
