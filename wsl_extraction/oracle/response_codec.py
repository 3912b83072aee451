"""Responses as bytes: what a label store keeps of each row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import Access

DTYPES = ("log16", "float16", "float32", "float64")
_STEPS = 2048  # codes for a factor of e between scores
_ZERO = 2**16 - 1  # the code of score 0

# Rows up to this size are kept inside the index itself, which then stores
# each key once; larger ones would make its pages too sparse.
_INLINE_BYTES = 200
# Of a row beside its response: key, checksum, lengths, place in the page.
_ROW_EXTRA, _PAGE_EXTRA = 37, 8


class ResponseCodec:
  """How the responses of one oracle are kept.

  "log16" keeps a score p in 16 bits, as the multiple of 1/2048 nearest to
  -log p: every score from e^-32, about 1e-14, on comes back within a factor of
  1 +- 2.5e-4, a smaller one as e^-32, and 0 as 0. "float16" takes the same room
  and is as good above 6e-5, but less and less precise below, and 0 below 3e-8
  (a log score of -inf, which `Distillation` takes for what it says). Of 1,000
  classes most lie there when a victim is sure: at temperature 1.5 the
  distillation target loses up to 0.2% of its mass, a gap of 2.3e-3 nats; from
  log16 the gap is below 3e-7 (docs/results/label_encoding.md).

  Attributes:
    row_bytes: The size of one response.
  """

  def __init__(self, access: Access, k: int | None, num_classes: int,
               dtype: str):
    """Chooses the layout.

    Args:
      access: What a response holds.
      k: At TOP_K, how many classes.
      num_classes: c.
      dtype: The type in which values are kept, one of `DTYPES`.

    Raises:
      InputError: It is none of them, or it cannot keep logits.
    """
    if dtype not in DTYPES:
      raise InputError(f"the label store's dtype is {dtype!r}; choose "
                       f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    self._logarithmic = dtype == "log16"
    if self._logarithmic and access == Access.LOGITS:
      raise InputError("the label store's dtype is 'log16', which keeps "
                       "scores; for access 'logits' choose float16, float32 or "
                       "float64")
    self._access, self._num_classes = access, num_classes
    self._width = {Access.LABEL: 0, Access.LABEL_SCORE: 1,
                   Access.TOP_K: k}.get(access, num_classes)
    self._named = 0 if access >= Access.SCORES else max(1, self._width)
    self._dtype = np.dtype("uint16" if self._logarithmic else dtype)
    self._class_dtype = np.dtype(
        "uint16" if num_classes <= 1 << 16 else "int32")
    self.row_bytes = (self._width * self._dtype.itemsize
                      + self._named * self._class_dtype.itemsize)
    if self._logarithmic:
      self._scores = np.exp(-np.arange(2**16) / _STEPS).astype(np.float32)
      self._scores[_ZERO] = 0

  def encode(self, response: Response) -> list[tuple[bytes, bytes]]:
    """The classes and the values of each of its n rows.

    Raises:
      InputError: A value does not fit the dtype.
    """
    if response.access != self._access:
      raise ValueError(f"a response at {response.access!r} for a store at "
                       f"{self._access!r}")
    values = self._codes(response.values)
    classes = np.ascontiguousarray(
        response.classes[:, :self._named], dtype=self._class_dtype)
    return [(a.tobytes(), b.tobytes())
            for a, b in zip(classes, values, strict=True)]

  def decode(self, rows: Sequence[tuple[bytes, bytes]]) -> Response:
    """The response that n rows were made from, within the dtype's precision."""
    values = np.frombuffer(b"".join([row[1] for row in rows]), self._dtype)
    values = values.reshape(len(rows), self._width)
    if self._logarithmic:
      values = self._scores[values]
    if self._access >= Access.SCORES:
      every = np.arange(self._num_classes, dtype=np.int32)
      classes = np.broadcast_to(every, values.shape)
    else:
      classes = np.frombuffer(
          b"".join([row[0] for row in rows]), self._class_dtype)
      classes = classes.reshape(len(rows), self._named).astype(np.int32)
    return Response(self._access, classes, values)

  def _codes(self, values: np.ndarray) -> np.ndarray:
    if self._logarithmic:
      exact = values.astype(np.promote_types(values.dtype, np.float32))
      # A score may be below 0 or above 1 by a rounding error.
      with np.errstate(divide="ignore"):
        codes = np.log(np.clip(exact, 0, 1)) * -_STEPS
      codes = np.minimum(np.rint(codes), _ZERO - 1)
      return np.where(exact > 0, codes, _ZERO).astype(np.uint16)
    with np.errstate(over="ignore"):
      fitting = np.ascontiguousarray(values, dtype=self._dtype)
    if not np.isfinite(fitting).all():
      raise InputError(f"a response does not fit {self._dtype.name}; choose a "
                       "wider dtype for the label store")
    return fitting


def table_layout(row_bytes: int) -> tuple[int, str]:
  """SQLite's page size for responses of this size, and how to lay out rows.

  A row does not begin on a page on which it does not end, so the page is the
  smallest that rows of this size fill to nine tenths.
  """
  if row_bytes <= _INLINE_BYTES:
    return 4096, "WITHOUT ROWID"
  row_bytes += _ROW_EXTRA
  for size in (4096, 8192, 16384, 32768, 65536):
    if (size - _PAGE_EXTRA) // row_bytes * row_bytes >= 0.9 * size:
      return size, ""
  return 4096, ""  # large rows go over many pages, of which one is not full
