"""Responses of an oracle, and what they say of the classes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

import numpy as np

from wsl_extraction.errors import InputError


class NotRevealed(InputError):
  """The oracle does not reveal what was asked of it."""


class Quantity(enum.Enum):
  """A quantity that a victim can compute for a row."""

  PROBABILITIES = "probabilities"
  LOGITS = "logits"
  TOP_SCORES = "the best scores"
  LABELS = "labels"
  LOGIT_GRADIENTS = "gradients of logits"
  SCORE_GRADIENTS = "gradients of scores"
  LEAVES = "leaves"
  NODES = "nodes of rows with absent features"
  TRACES = "traces"


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
  """The answer to n rows, and nothing beyond what the oracle reveals.

  Attributes:
    outputs: The number of classes, c.
    scale: Whether values are probabilities or logits; None without values.
    arrays: What is revealed, by name: "classes" int32 [n, k], the named ones,
      most likely first; "values" floating [n, k], theirs, or [n, c] of all
      classes in order; "gradients" [n, c, d]; "leaves" [n]; "traces" [n, t].
    resolution: The distance of two neighbouring values where the oracle rounds
      them, such as 0.01 for two decimals; 0 where it does not.
  """

  outputs: int
  scale: Quantity | None
  arrays: Mapping[str, np.ndarray]
  resolution: float = 0.0

  def __len__(self) -> int:
    return len(next(iter(self.arrays.values())))

  def _array(self, name: str) -> np.ndarray:
    if name not in self.arrays:
      raise NotRevealed(f"{name} are not revealed; raise the reveal")
    return self.arrays[name]

  @property
  def classes(self) -> np.ndarray:
    """The named classes int32 [n, k], most likely first."""
    return self._array("classes")

  @property
  def values(self) -> np.ndarray:
    """The values floating [n, k] of the named classes, or [n, c] of all."""
    return self._array("values")

  @property
  def top_classes(self) -> np.ndarray:
    """The most likely class int32 [n]; the lower one of equals."""
    if "classes" in self.arrays:
      return self.classes[:, 0]
    return np.argmax(self.values, axis=1).astype(np.int32)

  @property
  def logits(self) -> np.ndarray:
    """The logits floating [n, c].

    Raises:
      NotRevealed: The values are no logits, or there are none.
    """
    if self.scale is not Quantity.LOGITS:
      raise NotRevealed("logits are not revealed; choose the reveal 'logits'")
    return self.values

  @property
  def gradients(self) -> np.ndarray:
    """Derivatives of c outputs by d inputs, [n, c, d]."""
    return self._array("gradients")

  @property
  def leaves(self) -> np.ndarray:
    """The identities of leaves, [n]."""
    return self._array("leaves")

  @property
  def traces(self) -> np.ndarray:
    """Measurements over time, float32 [n, t]."""
    return self._array("traces")

  def known_classes(self) -> np.ndarray:
    """bool [n, c]: the classes whose score is known.

    A bare label is taken at its word, as if its score were 1, so that no
    class counts as hidden.
    """
    if "classes" not in self.arrays or "values" not in self.arrays:
      return np.ones((len(self), self.outputs), bool)
    known = np.zeros((len(self), self.outputs), bool)
    np.put_along_axis(known, self.classes, True, axis=1)
    return known

  def probabilities(self) -> np.ndarray:
    """A distribution floating [n, c] that agrees with all that is known.

    A bare label gives one-hot rows. Where some scores are hidden, those that
    are known stay as they are and the rest of the mass is shared evenly by the
    hidden classes, the distribution of largest entropy. A rounded score stands
    for all within half a unit of its last decimal; see `_within_rounding`.
    Rows of rounded scores, which need not sum to one, are normalised.
    """
    if self.scale is Quantity.LOGITS:
      return softmax(self.values)
    if "classes" not in self.arrays:
      return _normalised(np.maximum(self.values, 0))
    exact = np.float32 if self.scale is None else np.promote_types(
        self.values.dtype, np.float32)
    dense = np.zeros((len(self), self.outputs), exact)
    if self.scale is None:
      np.put_along_axis(dense, self.classes, dense.dtype.type(1), axis=1)
      return dense
    scores = np.maximum(self.values.astype(exact), 0)
    hidden = self.outputs - scores.shape[1]
    if hidden:
      scores = _within_rounding(scores, hidden, self.resolution / 2)
      hidden_mass = np.clip(1 - scores.sum(axis=1, keepdims=True), 0, 1)
      # Rounding of the victim's own arithmetic must not lift a hidden class.
      dense += np.minimum(hidden_mass / hidden,
                          scores.min(axis=1, keepdims=True))
    np.put_along_axis(dense, self.classes, scores, axis=1)
    return _normalised(dense)

  def log_scores(self) -> np.ndarray:
    """Logits float32 [n, c] up to a constant for each row, -inf at score 0.

    What distillation at any temperature starts from: the logits themselves
    where they are revealed, otherwise the logarithm of `probabilities`.
    """
    if self.scale is Quantity.LOGITS:
      return self.values.astype(np.float32)
    with np.errstate(divide="ignore"):
      return np.log(self.probabilities()).astype(np.float32)

  def take(self, rows: np.ndarray) -> Response:
    """The responses to some of the rows."""
    return dataclasses.replace(self, arrays={
        name: array[rows] for name, array in self.arrays.items()})

  @classmethod
  def join(cls, parts: Sequence[Response]) -> Response:
    """The responses of one oracle to several batches, in order."""
    return dataclasses.replace(parts[0], arrays={
        name: np.concatenate([part.arrays[name] for part in parts])
        for name in parts[0].arrays})


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities [n, c] of logits [n, c], in at least single precision.

  Classes at plus infinity share the whole mass, as do all where each is at
  minus infinity.
  """
  logits = logits.astype(np.promote_types(logits.dtype, np.float32))
  top = logits.max(axis=1, keepdims=True)
  # In place: fresh memory costs more than the arithmetic.
  with np.errstate(invalid="ignore"):
    powers = logits - top
  if not np.isfinite(top).all():
    powers[np.isinf(logits) & (logits == top)] = 0
  np.exp(powers, out=powers)
  powers /= powers.sum(axis=1, keepdims=True)
  return powers


def _within_rounding(scores: np.ndarray, hidden: int,
                     half: float) -> np.ndarray:
  """Moves rounded scores, where needed, within what they stand for.

  A named class is at least as likely as each hidden one. Where rounded scores
  leave more for a hidden class than for a named one, the latter is at least the
  level t at which all of these would be equal, and at most half a unit above
  its rounded score. It gets the middle of the two, or less where that would
  take more than half of the hidden classes' mass.

  Args:
    scores: The named classes' scores [n, k], most likely first.
    hidden: The number of other classes, m.
    half: Half a unit of the last decimal.

  Returns:
    Scores [n, k].
  """
  hidden_mass = np.clip(1 - scores.sum(axis=1, keepdims=True), 0, None)
  low = hidden_mass / hidden > scores[:, -1:]
  if not half or not low.any():
    return scores
  # With the j smallest named classes at t too, the row sums to one at
  # t = (1 - the other named ones) / (m + j); the smallest over j fits all.
  others = np.concatenate(
      [np.cumsum(scores, axis=1)[:, ::-1], np.zeros((len(scores), 1))], axis=1)
  count = hidden + np.arange(scores.shape[1] + 1)
  level = ((1 - others) / count).min(axis=1, keepdims=True).clip(0)
  lifted = low & (scores < level)
  extra = np.where(lifted, np.maximum(scores + half - level, 0) / 2, 0)
  allowed = hidden * level / 2
  taken = extra.sum(axis=1, keepdims=True)
  share = np.divide(allowed, taken, out=np.ones_like(taken),
                    where=taken > allowed)
  return np.where(lifted, level + extra * share, scores)


def _normalised(scores: np.ndarray) -> np.ndarray:
  scores = scores.astype(np.promote_types(scores.dtype, np.float32))
  total = scores.sum(axis=1, keepdims=True)
  # Coarse rounding can leave a row of zeros: then nothing is known.
  even = np.full_like(scores, 1 / scores.shape[1])
  return np.divide(scores, total, out=even, where=total > 0)
