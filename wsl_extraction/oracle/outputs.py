"""Checks of a victim's answers against what is declared of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction.errors import InputError


class VictimMismatch(InputError):
  """The victim's outputs are not what they are declared to be."""


def checked_outputs(given: Any, outputs: str, rows: int,
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
