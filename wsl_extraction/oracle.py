"""The threat model: what an adversary may ask, what it sees, what it pays.

An attack holds an `Oracle` and nothing else of the victim. The oracle reveals
one of five access levels (Jagielski et al. 2020, section 3.4.3), counts every
input row in a `Ledger`, and refuses what the budget does not cover before the
victim sees it. The victim itself lives in a closure, never in an attribute.

References:
  Jagielski, Carlini, Berthelot, Kurakin, Papernot. High Accuracy and High
    Fidelity Extraction of Neural Networks. USENIX Security 2020, section 3.4.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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


class BudgetExceeded(InputError):
  """A batch would cost more than what is left of the budget."""


class AccessDenied(InputError):
  """The oracle does not reveal what was asked of it."""


class VictimMismatch(InputError):
  """The victim's outputs are not what they are declared to be."""


class Ledger:
  """Counts queries: one for each input row that the oracle answers.

  Attributes:
    budget: The rows that may be spent in all; None means no limit.
    spent: The rows spent so far.
  """

  def __init__(self, budget: int | None = None, spent: int = 0):
    for name, value in (("budget", budget), ("spent", spent)):
      if name == "budget" and value is None:
        continue
      whole = isinstance(value, (int, np.integer))
      if not whole or isinstance(value, bool) or value < 0:
        raise InputError(
            f"{name} is {value!r}; give a whole number of rows, 0 or more")
    if budget is not None and spent > budget:
      raise BudgetExceeded(
          f"{spent} rows are spent already, more than the budget of {budget}; "
          "raise the budget or start afresh")
    self._budget, self._spent = budget, spent
    self._lock = threading.Lock()

  @property
  def budget(self) -> int | None:
    return self._budget

  @property
  def spent(self) -> int:
    return self._spent

  @property
  def left(self) -> int | None:
    """Rows that may still be asked; None without a limit."""
    return None if self._budget is None else self._budget - self._spent

  def charge(self, rows: int) -> None:
    """Books `rows`, all of them or none.

    Raises:
      BudgetExceeded: They are more than what is left.
      InputError: They are fewer than none.
    """
    if rows < 0:
      raise InputError(f"{rows} rows cannot be charged; give 0 or more")
    with self._lock:
      if self._budget is not None and self._spent + rows > self._budget:
        raise BudgetExceeded(
            f"a batch of {rows} rows exceeds the budget: {self._spent} of "
            f"{self._budget} are spent; ask fewer or raise the budget")
      self._spent += rows

  @contextlib.contextmanager
  def charging(self, rows: int) -> Iterator[None]:
    """Charges `rows`, and gives them back if they end up unanswered."""
    self.charge(rows)
    try:
      yield
    except BaseException:
      with self._lock:
        self._spent -= rows
      raise


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


class Oracle:
  """Answers queries at one access level and charges for them.

  Attributes:
    access: What a response holds.
    k: How many classes it names at TOP_K; None at other levels.
    decimals: The decimals to which revealed values are rounded; None for all.
    dtype: The floating type of revealed values; None for the victim's own.
    input_shape: The shape of one input row, without the batch axis.
    num_classes: c.
    ledger: What has been spent, and of what.
    remembers: Whether an example that was asked about once is answered again
      at no charge.
  """

  __slots__ = ("_answer", "access", "decimals", "dtype", "input_shape", "k",
               "ledger", "num_classes", "remembers")

  def __init__(
      self,
      predict: Callable[[np.ndarray], Any],
      *,
      outputs: str,
      input_shape: Sequence[int],
      num_classes: int,
      access: Access | str = Access.SCORES,
      ledger: Ledger | None = None,
      k: int | None = None,
      decimals: int | None = None,
      dtype: str | None = None,
  ):
    """Wraps a victim.

    Args:
      predict: The victim: maps inputs [n, *input_shape] to outputs [n, c].
      outputs: What it gives, "logits" or "probabilities".
      input_shape: The shape of one input row.
      num_classes: c.
      access: What is revealed.
      ledger: Where queries are booked; a new one without limit by default.
      k: At TOP_K, how many classes are revealed.
      decimals: Rounds the revealed values to so many decimals.
      dtype: Casts them, to "float16", "float32" or "float64".

    Raises:
      InputError: A setting contradicts another, or cannot be.
    """
    self.access = Access.parse(access)
    self.input_shape = tuple(int(side) for side in input_shape)
    self.num_classes, self.k = num_classes, k
    self.decimals, self.dtype = decimals, dtype
    self.ledger = ledger if ledger is not None else Ledger()
    self.remembers = False
    self._check_settings(outputs)
    # Copies, so that the closure keeps no road from `self` to the victim.
    access, ledger = self.access, self.ledger

    def answer(inputs: np.ndarray) -> Response:
      with ledger.charging(len(inputs)):
        given = _checked_outputs(
            predict(np.asarray(inputs)), outputs, len(inputs), num_classes)
        return _reveal(given, outputs, access, k, decimals, dtype)

    self._answer = answer

  def query(self, inputs: np.ndarray) -> Response:
    """Asks the victim about every row of `inputs`, or about none.

    Args:
      inputs: Real numbers [n, *input_shape]. Images that are still files are
        decoded only if the victim has to see them.

    Raises:
      InputError: They have another shape or type, or are not finite.
      BudgetExceeded: n is more than what is left of the budget; the victim
        has not seen the batch and nothing is charged.
      VictimMismatch: The victim's outputs are not what was declared; nothing
        is charged.
    """
    if not isinstance(getattr(inputs, "dtype", None), np.dtype):
      inputs = np.asarray(inputs)
    if inputs.ndim == 0 or inputs.shape[1:] != self.input_shape:
      raise InputError(
          f"a query has shape {inputs.shape}; the oracle takes "
          f"(n, {', '.join(map(str, self.input_shape))})")
    if inputs.dtype.kind not in "uif":
      raise InputError(f"a query has dtype {inputs.dtype}; give real numbers")
    if inputs.dtype.kind == "f":
      inputs = np.asarray(inputs)
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
      finite = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
      raise InputError(f"row {int(np.argmin(finite))} of a query holds NaN or "
                       "infinity; remove it")
    return self._answer(inputs)

  def relayed(self, answer: Callable[[Any], Response],
              ledger: Ledger | None = None,
              remembers: bool = False) -> Oracle:
    """The same oracle to the adversary, answered by `answer`.

    For what stands between adversary and victim, such as a store of answers
    already paid for. Charging is then up to `answer`.
    """
    other = copy.copy(self)
    other._answer, other.remembers = answer, remembers
    if ledger is not None:
      other.ledger = ledger
    return other

  def _check_settings(self, outputs: str) -> None:
    if outputs not in ("logits", "probabilities"):
      raise InputError(f"outputs is {outputs!r}; a victim gives 'logits' or "
                       "'probabilities'")
    if self.access == Access.LOGITS and outputs != "logits":
      raise InputError("access 'logits' needs a victim that gives logits; this "
                       "one gives probabilities: choose access 'scores'")
    if self.access == Access.TOP_K:
      if (not isinstance(self.k, int) or isinstance(self.k, bool)
          or not 1 <= self.k <= self.num_classes):
        raise InputError(f"k is {self.k!r}; access 'top_k' needs a whole "
                         f"number from 1 to {self.num_classes}, the number of "
                         "classes")
    elif self.k is not None:
      raise InputError(f"k is {self.k!r}, but only access 'top_k' has a k; "
                       "leave it out or change the access")
    if self.decimals is not None and (
        not isinstance(self.decimals, int) or isinstance(self.decimals, bool)
        or self.decimals < 0):
      raise InputError(f"decimals is {self.decimals!r}; give a whole number, 0 "
                       "or more, or None")
    if self.dtype not in (None, "float16", "float32", "float64"):
      raise InputError(f"dtype is {self.dtype!r}; choose float16, float32, "
                       "float64 or None")


def _checked_outputs(given: Any, outputs: str, rows: int,
                     num_classes: int) -> np.ndarray:
  """The victim's outputs [n, c], once they are seen to be what they should."""
  given = np.asarray(given)
  if given.shape != (rows, num_classes):
    raise VictimMismatch(
        f"the victim answered {rows} rows with shape {given.shape}; "
        f"({rows}, {num_classes}) is expected: check the number of classes")
  if given.dtype.kind != "f":
    if given.dtype.kind not in "ui":
      raise VictimMismatch(f"the victim answered with dtype {given.dtype}; "
                           "floating point numbers are expected")
    given = given.astype(np.float64)
  if not np.isfinite(given).all():
    raise VictimMismatch("the victim answered with NaN or infinity; check its "
                         "weights and the range of its inputs")
  if outputs == "probabilities":
    _check_probabilities(given)
  elif _look_like_probabilities(given):
    raise VictimMismatch(
        "the victim is declared to give logits, but every row it gave lies in "
        "[0, 1] and sums to 1; declare outputs='probabilities'")
  return given


def _tolerance(given: np.ndarray) -> float:
  """How far a sum of c rounded probabilities may lie from one."""
  return float(max(1e-4, given.shape[1] * np.finfo(given.dtype).eps))


def _check_probabilities(given: np.ndarray) -> None:
  tolerance = _tolerance(given)
  total = given.sum(axis=1, dtype=np.float64)
  wrong = (np.abs(total - 1) > tolerance) | (given < -tolerance).any(axis=1)
  if wrong.any():
    row = int(np.argmax(wrong))
    raise VictimMismatch(
        "the victim is declared to give probabilities, but row "
        f"{row} sums to {total[row]:.6g} with smallest entry "
        f"{given[row].min():.6g}; declare outputs='logits' or mend the victim")


def _look_like_probabilities(given: np.ndarray) -> bool:
  if not given.size or given.shape[1] < 2:
    return False
  if (given == np.round(given)).all():
    return False  # 0/1 outputs are legitimate logits, of a needle network say
  total = given.sum(axis=1, dtype=np.float64)
  return bool((given >= 0).all() and (given <= 1).all()
              and (np.abs(total - 1) <= _tolerance(given)).all())


def _reveal(given: np.ndarray, outputs: str, access: Access, k: int | None,
            decimals: int | None, dtype: str | None) -> Response:
  """Cuts the victim's outputs [n, c] down to what `access` allows."""
  rows, num_classes = given.shape
  values = given
  if access < Access.LOGITS and outputs == "logits":
    # In double precision: distinct logits must not tie as rounded scores.
    values = softmax(given.astype(np.float64)).astype(given.dtype)
  if access >= Access.SCORES:
    classes = np.broadcast_to(
        np.arange(num_classes, dtype=np.int32), (rows, num_classes))
  else:
    count = k if access == Access.TOP_K else 1
    classes = _largest(given, count)
    values = np.take_along_axis(values, classes, axis=1)
  if access == Access.LABEL:
    values = values[:, :0]
  if decimals is not None:
    values = np.round(values, decimals)
  with np.errstate(over="ignore"):  # reported below
    values = values.astype(dtype or values.dtype)
  if not np.isfinite(values).all():
    raise InputError(f"a {access.name.lower()} value does not fit {dtype}; "
                     "choose a wider dtype")
  return Response(access, classes.astype(np.int32, copy=False), values)


def _largest(given: np.ndarray, count: int) -> np.ndarray:
  """int32 [n, count]: the largest first, the lower index first of equals."""
  if count == 1:
    return np.argmax(given, axis=1).astype(np.int32)[:, None]
  return np.argsort(-given, axis=1, kind="stable")[:, :count].astype(np.int32)
