"""Access levels: the part of a victim's answer that an adversary sees."""

from __future__ import annotations

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Access, Response, softmax


def reveal(given: np.ndarray, outputs: str, access: Access, k: int | None,
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
