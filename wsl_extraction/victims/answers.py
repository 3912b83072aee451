"""Answers of services in all their forms, as arrays that an oracle reads.

A classifier may give a row of scores, one number, a label, or the best few
classes, by number or by name, in an array, a list or a dictionary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.outputs import BadAnswer, as_array
from wsl_extraction.oracle.response import Quantity

OUTPUTS = ("logits", "probabilities", "percent", "label", "top_k")

_QUANTITIES = {
    "logits": Quantity.LOGITS, "probabilities": Quantity.PROBABILITIES,
    "percent": Quantity.PROBABILITIES, "label": Quantity.LABELS,
    "top_k": Quantity.TOP_SCORES}


@dataclasses.dataclass(frozen=True)
class Answers:
  """The form of a victim's answers to n rows.

  Attributes:
    outputs: "logits" or "probabilities" [n, c], of two classes also [n, 1] or
      [n] for the second one; "percent", probabilities times 100; "label", n
      classes; "top_k", the k best classes with their probabilities: a pair of
      arrays (classes [n, k], probabilities [n, k]), or for each row a
      dictionary {class: probability} or pairs (class, probability).
    classes: c; None leaves scores as wide as they are.
    class_names: The names of the classes in the order of their numbers; None
      where answers have numbers.
    k: The number of classes that "top_k" names at least.
  """

  outputs: str
  classes: int | None = None
  class_names: Sequence[Any] | None = None
  k: int | None = None

  @property
  def quantity(self) -> Quantity:
    """The quantity that `read` gives."""
    return _QUANTITIES[self.outputs]

  def read(self, answer: Any, rows: int) -> np.ndarray:
    """The answer to some rows as an array.

    Returns:
      Scores [n, c]; class numbers int32 [n, 1]; or, of "top_k", scores [n, c]
      with NaN at classes that are not named.

    Raises:
      BadAnswer: It cannot be read; the text tells the victim's owner why.
    """
    if self.outputs == "label":
      return self._labels(answer, rows)
    if self.outputs == "top_k":
      return self._top(answer, rows)
    values = as_array(plain(answer))
    if self.classes == 2 and values.shape in ((rows,), (rows, 1)):
      values = _two_columns(values.reshape(rows, 1), self.outputs)
    if self.outputs == "percent" and values.dtype.kind in "fui":
      values = values / 100
    return values

  def _labels(self, answer: Any, rows: int) -> np.ndarray:
    answer = plain(answer)
    labels = answer if isinstance(answer, np.ndarray) else list(answer)
    if isinstance(labels, np.ndarray) and labels.shape == (rows, 1):
      labels = labels[:, 0]
    if len(labels) != rows:
      raise BadAnswer(f"the victim answered {rows} rows with {len(labels)} "
                      "labels; give one for each row")
    return self._numbers(labels)[:, None]

  def _numbers(self, labels: Any) -> np.ndarray:
    """Class numbers int32 [m] of names or numbers [m]."""
    array = np.asarray(labels)
    if self.class_names is None and array.dtype.kind in "iu" and (
        array.ndim == 1):
      return array.astype(np.int32)
    return np.array([self._number(one) for one in labels], np.int32)

  def _number(self, label: Any) -> int:
    names = self.class_names
    if isinstance(label, np.ndarray) and label.size == 1:
      label = label.item()
    if isinstance(label, (bytes, np.bytes_)):
      label = label.decode("utf-8", "replace")
    if names is not None and label in list(names):
      return list(names).index(label)
    is_number = checks.is_number(label) and label == int(label)
    if is_number and not any(map(checks.is_number, names or ())):
      return int(label)
    known = "" if names is None else (
        f", which is none of {checks.listed(list(names)[:5])}"
        + (" ..." if len(names) > 5 else ""))
    raise BadAnswer(f"the victim answered with the class {label!r}{known}; "
                    "give class_names in the order of the classes' numbers")

  def _top(self, answer: Any, rows: int) -> np.ndarray:
    if self.classes is None:
      raise BadAnswer("the number of classes is not known; give class_names or "
                      "num_classes")
    if len(answer) != rows and not _is_pair(answer):
      raise BadAnswer(f"the victim answered {rows} rows with {len(answer)} "
                      "answers; give one for each row")
    if _is_pair(answer):
      named, scores = map(np.asarray, map(plain, answer))
      if named.shape != scores.shape or len(named) != rows:
        raise BadAnswer(
            f"the victim answered {rows} rows with classes of shape "
            f"{named.shape} and scores of shape {scores.shape}; give [n, k] of "
            "both")
      parts = zip(named, scores, strict=True)
    else:
      parts = map(_named_scores, answer)
    values = np.full((rows, self.classes), np.nan)
    for row, (named, scores) in enumerate(parts):
      numbers = self._numbers(named)
      if len(set(numbers.tolist())) < (self.k or 1):
        raise BadAnswer(
            f"the victim named {len(numbers)} classes of row {row}; {self.k} "
            "are declared: set k to the least number")
      if (numbers < 0).any() or (numbers >= self.classes).any():
        raise BadAnswer(f"the victim named class {numbers.max()} of row {row}; "
                        f"there are {self.classes}, from 0")
      values[row, numbers] = np.asarray(scores, np.float64)
    return values


def check_outputs(where: str, outputs: Any) -> str:
  """Makes sure that a setting names a form of answers."""
  return checks.one_of(where, outputs, OUTPUTS)


def check_names(where: str, names: Any) -> tuple[Any, ...] | None:
  """Names of classes as a tuple, each once; None for none.

  Raises:
    InputError: They are no such list.
  """
  if names is None:
    return None
  listed = isinstance(names, (Sequence, np.ndarray)) and (
      not isinstance(names, str))
  if not listed or len(names) < 2:
    checks.refuse(where, names, "a list of the names of all classes", True)
  names = tuple(one.item() if isinstance(one, np.generic) else one
                for one in names)
  if len(set(names)) < len(names):
    twice = next(one for one in names if names.count(one) > 1)
    raise InputError(f"{where} holds {twice!r} twice; give each class a name "
                     "of its own")
  return names


def reader(form: Answers, function: Callable[[np.ndarray], Any]
           ) -> Callable[[np.ndarray], np.ndarray]:
  """A function of rows whose answers are read."""
  return lambda rows: form.read(function(rows), len(rows))


def plain(answer: Any) -> Any:
  """The array in an answer that is a dictionary or list of one, or a tensor.

  Raises:
    BadAnswer: It has several parts.
  """
  if isinstance(answer, Mapping):
    if len(answer) != 1:
      raise BadAnswer(f"the victim answered with {len(answer)} parts, "
                      f"{checks.listed(answer)}; return one of them")
    return plain(next(iter(answer.values())))
  if isinstance(answer, (list, tuple)) and len(answer) == 1 and (
      getattr(answer[0], "ndim", 0) == 2):
    return plain(answer[0])
  tensor: Any = answer
  if hasattr(tensor, "detach"):  # of torch
    tensor = tensor.detach().cpu()
    if "bfloat16" in str(tensor.dtype):
      tensor = tensor.float()
    return tensor.numpy()
  return answer


def _two_columns(values: np.ndarray, outputs: str) -> np.ndarray:
  """The scores [n, 2] of two classes from that of the second, [n, 1]."""
  whole = {"logits": None, "probabilities": 1, "percent": 100}[outputs]
  other = np.zeros_like(values) if whole is None else whole - values
  return np.concatenate([other, values], axis=1)


def _is_pair(answer: Any) -> bool:
  """True for arrays of classes and of their scores, both [n, k]."""
  return (isinstance(answer, tuple) and len(answer) == 2
          and all(getattr(one, "ndim", 0) == 2 for one in answer))


def _named_scores(row: Any) -> tuple[list[Any], list[Any]]:
  """The classes and the scores of one row's answer."""
  if isinstance(row, Mapping):
    return list(row), list(row.values())
  if isinstance(row, tuple) and len(row) == 2 and np.ndim(row[0]) == 0:
    row = [row]  # a class and its score
  try:
    named, scores = zip(*row, strict=True)
  except (TypeError, ValueError):
    raise BadAnswer("the victim gave no pairs (class, probability); return "
                    "for each row {class: probability}") from None
  return list(named), list(scores)
