"""Answers of an oracle, and what they say of the classes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from wsl_extraction.errors import InputError


class Access(enum.IntEnum):
  """What the oracle reveals, from least to most."""

  LABEL = 1
  LABEL_SCORE = 2
  TOP_K = 3
  SCORES = 4
  LOGITS = 5

  @classmethod
  def parse(cls, value: Access | str) -> Access:
    """Reads `value`: an `Access`, or its name in any case, "-" as "_".

    Raises:
      InputError: No access level has this name.
    """
    if isinstance(value, cls):
      return value
    try:
      return cls[str(value).strip().replace("-", "_").upper()]
    except KeyError:
      raise InputError(
          f"access {value!r} is unknown; choose one of "
          f"{', '.join(level.name.lower() for level in cls)}") from None


class AccessDenied(InputError):
  """The oracle does not reveal what was asked of it."""


@dataclasses.dataclass(frozen=True)
class Response:
  """The oracle's answer to n input rows, and nothing beyond its access level.

  Attributes:
    access: The level at which it was given.
    classes: int32 [n, k]: the revealed classes, most likely first; at SCORES
      and LOGITS the classes 0..c-1 in their own order.
    values: floating [n, k]: their scores (logits at LOGITS); [n, 0] at LABEL.
  """

  access: Access
  classes: np.ndarray
  values: np.ndarray

  def __len__(self) -> int:
    return len(self.classes)

  @property
  def labels(self) -> np.ndarray:
    """int32 [n]: the most likely class; the lower one of equals."""
    if self.access < Access.SCORES:
      return self.classes[:, 0]
    return np.argmax(self.values, axis=1).astype(np.int32)

  @property
  def logits(self) -> np.ndarray:
    """floating [n, c].

    Raises:
      AccessDenied: Unless the access level is LOGITS.
    """
    if self.access < Access.LOGITS:
      raise AccessDenied(
          f"logits are not revealed at access {self.access.name.lower()}")
    return self.values

  def revealed(self, num_classes: int) -> np.ndarray:
    """bool [n, c]: the classes whose score is known.

    A bare label is taken at its word, as if its score were 1, so that no
    class counts as hidden.
    """
    if self.access in (Access.LABEL, Access.SCORES, Access.LOGITS):
      return np.ones((len(self), num_classes), bool)
    known = np.zeros((len(self), num_classes), bool)
    np.put_along_axis(known, self.classes, True, axis=1)
    return known

  def probabilities(self, num_classes: int) -> np.ndarray:
    """floating [n, c]: a distribution that agrees with all that is known.

    LABEL gives one-hot rows. At LABEL_SCORE and TOP_K the revealed scores stay
    as they are and the rest of the mass is shared evenly by the hidden classes,
    the distribution of largest entropy. Rows of rounded scores, which need not
    sum to one, are normalised.
    """
    if self.access == Access.LOGITS:
      return softmax(self.values)
    if self.access == Access.SCORES:
      return _normalised(self.values)
    exact = np.promote_types(self.values.dtype, np.float32)
    dense = np.zeros((len(self), num_classes), exact)
    if self.access == Access.LABEL:
      np.put_along_axis(dense, self.classes, exact.type(1), axis=1)
      return dense
    scores = self.values.astype(exact)
    hidden = num_classes - scores.shape[1]
    if hidden:
      rest = np.clip(1 - scores.sum(axis=1, keepdims=True), 0, 1)
      dense += rest / hidden
    np.put_along_axis(dense, self.classes, scores, axis=1)
    return _normalised(dense)

  def log_scores(self, num_classes: int) -> np.ndarray:
    """float32 [n, c]: logits up to a constant for each row, -inf at score 0.

    What distillation at any temperature starts from: the logits themselves
    where they are revealed, otherwise the logarithm of `probabilities`.
    """
    if self.access == Access.LOGITS:
      return self.values.astype(np.float32)
    with np.errstate(divide="ignore"):
      return np.log(self.probabilities(num_classes)).astype(np.float32)

  def take(self, rows: np.ndarray) -> Response:
    """The answers to some of the rows."""
    return Response(self.access, self.classes[rows], self.values[rows])

  @classmethod
  def join(cls, parts: Sequence[Response]) -> Response:
    """Joins answers of one access level, in order."""
    return cls(parts[0].access,
               np.concatenate([part.classes for part in parts]),
               np.concatenate([part.values for part in parts]))


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities [n, c] of logits [n, c], in at least single precision."""
  logits = logits.astype(np.promote_types(logits.dtype, np.float32))
  # In place: fresh memory costs more than the arithmetic.
  powers = logits - logits.max(axis=1, keepdims=True)
  np.exp(powers, out=powers)
  powers /= powers.sum(axis=1, keepdims=True)
  return powers


def _normalised(scores: np.ndarray) -> np.ndarray:
  scores = scores.astype(np.promote_types(scores.dtype, np.float32))
  total = scores.sum(axis=1, keepdims=True)
  # Coarse rounding can leave a row of zeros: then nothing is known.
  even = np.full_like(scores, 1 / scores.shape[1])
  return np.divide(scores, total, out=even, where=total > 0)
