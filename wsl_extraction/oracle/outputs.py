"""Checks of a victim's answers, on rows of its owner, before any query."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity

# The least tolerance for a sum of probabilities, and for one below zero.
_TOLERANCE = 1e-4


class VictimMismatch(InputError):
  """The victim's outputs are not what they are declared to be."""


class VictimFailed(InputError):
  """The victim did not answer; the rows stay charged."""


def check_declared(quantity: Quantity, values: Any, rows: int,
                   outputs: int) -> None:
  """Makes sure that answers to rows of the owner are what is declared.

  Args:
    quantity: What the victim is declared to give.
    values: What it gave, [rows, outputs].
    rows: How many rows it was asked about.
    outputs: The number of classes, c.

  Raises:
    VictimMismatch: They are something else.
  """
  values = np.asarray(values)
  if values.shape != (rows, outputs):
    raise VictimMismatch(
        f"the victim answered {rows} rows with shape {values.shape}; "
        f"({rows}, {outputs}) is expected: check the number of classes")
  if values.dtype.kind not in "fui":
    raise VictimMismatch(f"the victim answered with dtype {values.dtype}; "
                         "floating point numbers are expected")
  if not np.isfinite(values).all():
    raise VictimMismatch("the victim answered with NaN or infinity; check its "
                         "weights and the range of its inputs")
  if quantity is Quantity.PROBABILITIES:
    _check_probabilities(values)
  elif quantity is Quantity.LOGITS and look_like_probabilities(values):
    raise VictimMismatch(
        "the victim is declared to give logits, but every row it gave lies in "
        "[0, 1] and sums to 1; declare outputs='probabilities'")


def look_like_probabilities(values: np.ndarray) -> bool:
  """Returns True if all rows [n, c] could be probabilities, not by chance.

  0/1 outputs count as logits, of a needle network say, and so does a single
  row, which may sum to 1 by chance.
  """
  if len(values) < 2 or values.shape[1] < 2:
    return False
  if (values == np.round(values)).all():
    return False
  total = values.sum(axis=1, dtype=np.float64)
  return bool((values >= 0).all() and (values <= 1).all()
              and (np.abs(total - 1) <= _tolerance(values)).all())


def as_floats(quantity: Quantity, values: Any, rows: int,
              outputs: int) -> np.ndarray:
  """A victim's answer to a query as floating numbers [rows, outputs].

  NaN stands for the least that there is, minus infinity or probability 0, so
  that neither an error nor its absence tells of a value that is not revealed.

  Raises:
    VictimFailed: The shape or the type is another.
  """
  try:
    values = np.asarray(values)
  except (TypeError, ValueError):
    values = np.empty(0)
  if values.shape != (rows, outputs) or values.dtype.kind not in "fui":
    raise VictimFailed(
        f"the victim failed to answer a batch of {rows} rows, which stay "
        "charged; see that it gives numbers for every input")
  values = values if values.dtype.kind == "f" else values.astype(np.float64)
  unknown = np.isnan(values)
  if unknown.any():
    least = -np.inf if quantity is Quantity.LOGITS else 0
    values = np.where(unknown, values.dtype.type(least), values)
  return values


def _check_probabilities(values: np.ndarray) -> None:
  tolerance = _tolerance(values)
  total = values.sum(axis=1, dtype=np.float64)
  wrong = (np.abs(total - 1) > tolerance) | (values < -tolerance).any(axis=1)
  if wrong.any():
    row = int(np.argmax(wrong))
    raise VictimMismatch(
        "the victim is declared to give probabilities, but row "
        f"{row} sums to {total[row]:.6g} with smallest entry "
        f"{values[row].min():.6g}; declare outputs='logits' or mend the victim")


def _tolerance(values: np.ndarray) -> float:
  """The largest distance of a sum of c rounded probabilities from one."""
  precision = np.finfo(values.dtype).eps if values.dtype.kind == "f" else 0
  return float(max(_TOLERANCE, values.shape[1] * precision))
