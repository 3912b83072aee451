"""Checks of a victim's answers, on rows of its owner, before any query."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity

# The least tolerance for a sum of probabilities, and for one below zero.
_TOLERANCE = 1e-4
_MOST_DECIMALS = 7  # beyond, rounding is below the precision of float32
_FEW = 4  # rows that may all be coarse, and sum to one, by chance
# The distance from 1 to the next number.
_BFLOAT16, _FLOAT16 = 2.0**-7, 2.0**-10


class VictimMismatch(InputError):
  """The victim's outputs are not what they are declared to be."""


class VictimFailed(InputError):
  """The victim did not answer; the rows stay charged."""


class BadAnswer(ValueError):
  """An answer that cannot be read; its text is for the victim's owner only."""


def check_declared(quantity: Quantity, values: Any, rows: int,
                   outputs: int, decimals: int | None = None) -> None:
  """Makes sure that answers to rows of the owner are what is declared.

  Args:
    quantity: What the victim is declared to give.
    values: What it gave, [rows, outputs].
    rows: How many rows it was asked about.
    outputs: The number of classes, c.
    decimals: To so many the victim is declared to round; None tells by the
      values.

  Raises:
    VictimMismatch: They are something else.
  """
  values = as_array(values)
  wide = 1 if quantity is Quantity.LABELS else outputs
  if values.shape != (rows, wide):
    raise VictimMismatch(
        f"the victim answered {rows} rows with shape {values.shape}; "
        f"({rows}, {wide}) is expected: check the number of classes")
  if values.dtype.kind not in "fui":
    raise VictimMismatch(f"the victim answered with dtype {values.dtype}; "
                         "floating point numbers are expected")
  if quantity in (Quantity.LABELS, Quantity.TOP_SCORES):
    return _check_some(quantity, values, outputs)
  if not np.isfinite(values).all():
    raise VictimMismatch("the victim answered with NaN or infinity; check its "
                         "weights and the range of its inputs")
  if quantity is Quantity.PROBABILITIES:
    _check_probabilities(values, decimals)
  elif quantity is Quantity.LOGITS and look_like_probabilities(values):
    raise VictimMismatch(
        "the victim is declared to give logits, but every row it gave lies in "
        "[0, 1] and sums to 1; declare outputs='probabilities'")


def _check_some(quantity: Quantity, values: np.ndarray, outputs: int) -> None:
  """Checks class numbers [n, 1], or scores [n, c] of which some are NaN."""
  if quantity is Quantity.LABELS:
    stray = (values < 0) | (values >= outputs)
    if stray.any():
      raise VictimMismatch(
          f"the victim answered with class {values[stray][0]}, which is none "
          f"of 0 to {outputs - 1}; give class_names in the order of the labels")
    return
  wrong = (values < -_TOLERANCE) | (values > 1 + _TOLERANCE)
  if wrong.any():
    raise VictimMismatch(
        "the victim is declared to give the best probabilities, but row "
        f"{int(np.argmax(wrong.any(axis=1)))} has the score "
        f"{values[wrong][0]:.6g}; give probabilities from 0 to 1")


def as_array(values: Any) -> np.ndarray:
  """An array of an answer; bfloat16, which NumPy lacks, becomes float32."""
  values = np.asarray(values)
  return values.astype(np.float32) if values.dtype.name == "bfloat16" else (
      values)


def look_like_probabilities(values: np.ndarray) -> bool:
  """Returns True if all rows [n, c] could be probabilities, not by chance.

  0/1 outputs count as logits, of a needle network say, and so does a single
  row, which may sum to 1 by chance. Fewer than four rows must do so within the
  precision of their type, more within that of rounded values.
  """
  values = as_array(values)
  if len(values) < 2 or values.shape[1] < 2:
    return False
  if (values == np.round(values)).all() or not _within_unit(values):
    return False
  if len(values) < _FEW:
    total = values.sum(axis=1, dtype=np.float64)
    return bool((np.abs(total - 1) <= _arithmetic(values)).all())
  return not _wrong_sums(values).any()


def look_like_percent(values: np.ndarray) -> bool:
  """Returns True if all rows [n, c] could be probabilities in percent."""
  values = as_array(values).astype(np.float64)
  return bool(values.size and values.max() > 1 + _TOLERANCE
              and look_like_probabilities(values / 100))


def _within_unit(values: np.ndarray) -> bool:
  return bool(values.size and values.min() >= -_TOLERANCE
              and values.max() <= 1 + _TOLERANCE)


def failed(rows: int) -> VictimFailed:
  """The one error that an adversary sees, whatever went wrong."""
  return VictimFailed(
      f"the victim failed to answer a batch of {rows} rows, which stay "
      "charged; see that it gives numbers for every input")


def as_floats(quantity: Quantity, values: Any, rows: int,
              outputs: int) -> np.ndarray:
  """A victim's answer to a query as floating numbers [rows, outputs].

  NaN stands for the least that there is, minus infinity or probability 0, so
  that neither an error nor its absence tells of a value that is not revealed.
  Labels are class numbers [rows, 1]; of the best scores, those of classes that
  are not named are NaN.

  Raises:
    VictimFailed: The shape or the type is another.
  """
  try:
    values = as_array(values)
  except (TypeError, ValueError):
    values = np.empty(0)
  wide = 1 if quantity is Quantity.LABELS else outputs
  if values.shape != (rows, wide) or values.dtype.kind not in "fui":
    raise failed(rows)
  if quantity is Quantity.LABELS and (
      (values < 0) | (values >= outputs)).any():
    raise failed(rows)
  values = values if values.dtype.kind == "f" else values.astype(np.float64)
  unknown = np.isnan(values)
  if unknown.any():
    least = 0 if quantity is Quantity.PROBABILITIES else -np.inf
    values = np.where(unknown, values.dtype.type(least), values)
  return values


def _check_probabilities(values: np.ndarray, decimals: int | None) -> None:
  wrong = _wrong_sums(values, decimals) | (values < -_TOLERANCE).any(axis=1)
  if not wrong.any():
    return
  row = int(np.argmax(wrong))
  total = float(values[row].sum(dtype=np.float64))
  if not _within_unit(values):
    advice = ("outputs='percent'" if look_like_percent(values)
              else "outputs='logits'") + " or mend the victim"
  elif total < 1:
    advice = ("the decimals that it rounds to, or outputs='top_k' if it hides "
              "small scores")
  else:
    advice = ("the decimals that it rounds to, or divide each row by its sum "
              "if classes are scored apart")
  raise VictimMismatch(
      "the victim is declared to give probabilities, but row "
      f"{row} sums to {total:.6g} with smallest entry "
      f"{values[row].min():.6g}; declare {advice}")


def _wrong_sums(values: np.ndarray, decimals: int | None = None) -> np.ndarray:
  """bool [n]: rows [n, c] that sum to one neither exactly nor when rounded.

  A score that is rounded to d decimals is at most 10^-d / 2 above its own
  value, and at most 10^-d below where a service cuts digits off. What shows as
  0 was not rounded up.
  """
  values = values.astype(np.float64) if values.dtype.kind != "f" else values
  total = values.sum(axis=1, dtype=np.float64)
  if decimals is None:
    decimals = decimals_of(values)
  unit = 0.0 if decimals is None else 10.0**-decimals
  slack = _arithmetic(values)
  above = unit / 2 * np.count_nonzero(values, axis=1)
  below = unit * values.shape[1]
  return (total > 1 + above + slack) | (total < 1 - below - slack)


def decimals_of(values: np.ndarray) -> int | None:
  """The decimals, 1 to 7, that values show; None where they show more."""
  exact = values.astype(np.float64)
  allowed = _epsilon(values) * np.abs(exact)
  for decimals in range(1, _MOST_DECIMALS + 1):
    if (np.abs(exact - np.round(exact, decimals)) <= allowed).all():
      return decimals
  return None


def _arithmetic(values: np.ndarray) -> float:
  """The largest distance of a sum of c computed probabilities from one.

  Adding c numbers of precision eps one by one is off by up to c * eps.
  """
  return max(_TOLERANCE, values.shape[1] * _precision(values))


def _epsilon(values: np.ndarray) -> float:
  return float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0


def _precision(values: np.ndarray) -> float:
  """The relative precision of values, whatever type they lie in.

  A softmax in bfloat16 or float16 is often handed over as float32.
  """
  precise = _epsilon(values)
  single = np.ascontiguousarray(values, np.float32)
  if (single != values).any():
    return precise
  if not (single.view(np.uint32) & 0xFFFF).any():
    return _BFLOAT16
  with np.errstate(over="ignore"):
    if (single.astype(np.float16) == single).all():
      return _FLOAT16
  return precise
