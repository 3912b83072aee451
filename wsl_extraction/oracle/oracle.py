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

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.outputs import checked_outputs
from wsl_extraction.oracle.response import Access, Response
from wsl_extraction.oracle.reveals import reveal


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
        given = checked_outputs(
            predict(np.asarray(inputs)), outputs, len(inputs), num_classes)
        return reveal(given, outputs, access, k, decimals, dtype)

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


