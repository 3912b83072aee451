"""Responses as bytes: what a response store keeps of each row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import store_tables
from wsl_extraction.oracle.response import Quantity, Response
from wsl_extraction.oracle.reveals import Reveal

DTYPES = ("log16", "float16", "float32", "float64")
_STEPS = 2048  # codes for a factor of e between scores
_ZERO = 2**16 - 1  # the code of score 0

# Rows up to this size are kept inside the index itself, which then stores
# each key once; larger ones would make its pages too sparse.
_INLINE_BYTES = 200
# Of a row beside its response: key, checksum, lengths, place in the page.
_ROW_EXTRA, _PAGE_EXTRA = 37, 8


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
  """Encoded responses of n rows, as few arrays: quick to send and to keep.

  Attributes:
    classes: Their classes as bytes, uint8 [n, a]; a may be 0.
    values: All other arrays as bytes, uint8 [n, b].
    checksums: uint32 [n]; see `store_tables.checksum`.
  """

  classes: np.ndarray
  values: np.ndarray
  checksums: np.ndarray

  def __len__(self) -> int:
    return len(self.checksums)

  def rows(self) -> Iterator[tuple[bytes, bytes, int]]:
    """Classes, values and checksum of each row."""
    # Slices of two copies: twice as fast as a copy of each row.
    classes, values = self.classes.tobytes(), self.values.tobytes()
    a, b = self.classes.shape[1], self.values.shape[1]
    for row, check in enumerate(self.checksums.tolist()):
      yield (classes[row * a:(row + 1) * a], values[row * b:(row + 1) * b],
             check)


class ResponseCodec:
  """The layout of the responses of one oracle.

  "log16" keeps a score p in 16 bits, as the multiple of 1/2048 nearest to
  -log p: every score from e^-32, about 1e-14, on comes back within a factor of
  1 +- 2.5e-4, a smaller one as e^-32, and 0 as 0. "float16" takes the same room
  and is as good above 6e-5, but less and less precise below, and 0 below 3e-8
  (a log score of -inf, which `Distillation` takes for what it says). Of 1,000
  classes most lie there when a victim is sure: at temperature 1.5 the
  distillation target loses up to 0.2% of its mass, a gap of 2.3e-3 nats; from
  log16 the gap is below 3e-7 (docs/speed/label_encoding.md).

  Attributes:
    row_bytes: The size of one response, as far as it is known beforehand.
  """

  def __init__(self, reveal: Reveal, outputs: int, dtype: str,
               resolution: float = 0.0):
    """Chooses the layout.

    Args:
      reveal: What a response holds.
      outputs: The number of classes, c.
      dtype: The type in which values are kept, one of `DTYPES`.
      resolution: Of the responses; see `Response`.

    Raises:
      InputError: There is no such type, or it cannot keep these values.
    """
    checks.one_of("response_dtype", dtype, DTYPES)
    self._logarithmic = dtype == "log16"
    layout = reveal.layout(outputs)
    if self._logarithmic and (reveal.scale is Quantity.LOGITS
                              or "gradients" in layout):
      raise InputError("response_dtype is 'log16', which keeps scores; for the "
                       f"reveal '{reveal}' choose float16, float32 or float64")
    self._outputs, self._scale = outputs, reveal.scale
    self._resolution = resolution
    self._dtype = np.dtype("uint16" if self._logarithmic else dtype)
    self._class_dtype = np.dtype("uint16" if outputs <= 1 << 16 else "int32")
    self._classes = layout["classes"][1][0] if "classes" in layout else 0
    # Name -> (dtype on disk, shape); the last alone may have a side of -1.
    self._others = {
        name: (self._dtype if kind is None else np.dtype(kind), shape)
        for name, (kind, shape) in layout.items() if name != "classes"}
    self.row_bytes = self._classes * self._class_dtype.itemsize + sum(
        kind.itemsize * abs(math.prod(shape))
        for kind, shape in self._others.values())
    if self._logarithmic:
      self._scores = np.exp(-np.arange(2**16) / _STEPS).astype(np.float32)
      self._scores[_ZERO] = 0

  def encode(self, response: Response) -> list[tuple[bytes, bytes]]:
    """The classes and all other arrays of each of its n rows.

    Raises:
      InputError: A value does not fit the dtype.
    """
    return [(classes, values)
            for classes, values, _ in self.pack(response).rows()]

  def pack(self, response: Response) -> Packed:
    """Encodes a response of n rows; see `encode`."""
    rows = len(response)
    classes = np.zeros((rows, 0), self._class_dtype)
    if self._classes:
      classes = np.ascontiguousarray(response.classes, self._class_dtype)
    parts = [_as_bytes(self._stored(response.arrays[name], kind))
             for name, (kind, _) in self._others.items()]
    values = parts[0] if len(parts) == 1 else np.concatenate(
        [np.zeros((rows, 0), np.uint8), *parts], axis=1)
    classes = _as_bytes(classes)
    sums = [store_tables.checksum(*(part.data for part in row))
            for row in zip(classes, values, strict=True)]
    return Packed(classes, values, np.array(sums, np.uint32))

  def decode(self, rows: Sequence[tuple[bytes, bytes]]) -> Response:
    """The response that n rows were made from, within the dtype's precision."""
    classes, values = (
        np.frombuffer(b"".join(part), np.uint8).reshape(len(rows), -1)
        if rows else np.zeros((0, max(self.row_bytes, 1)), np.uint8)
        for part in ([row[0] for row in rows], [row[1] for row in rows]))
    return self.unpack(Packed(
        classes, values, np.zeros(len(rows), np.uint32)))

  def unpack(self, packed: Packed) -> Response:
    """The response that was packed, within the dtype's precision."""
    rows, others = len(packed), packed.values
    arrays = {}
    if self._classes:
      classes = np.frombuffer(packed.classes.tobytes(), self._class_dtype)
      arrays["classes"] = classes.reshape(
          rows, self._classes).astype(np.int32)
    start = 0
    for name, (kind, shape) in self._others.items():
      size = kind.itemsize * math.prod(shape)
      end = start + size if size >= 0 else others.shape[1]
      block = np.ascontiguousarray(others[:, start:end]).view(kind)
      block = block.reshape(rows, *shape)
      arrays[name] = self._scores[block] if (
          self._logarithmic and name == "values") else block
      start = end
    return Response(self._outputs, self._scale, arrays, self._resolution)

  def _stored(self, values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if self._logarithmic and kind == self._dtype:
      return _log_codes(values)
    with np.errstate(over="ignore"):
      fitting = np.ascontiguousarray(values, dtype=kind)
    if kind.kind == "f" and not np.isfinite(fitting).all():
      raise InputError(f"a response does not fit {kind.name}, and stays paid "
                       "for; choose a wider response_dtype")
    return fitting


def _as_bytes(array: np.ndarray) -> np.ndarray:
  """The bytes of each row of an array [n, ...], uint8 [n, b]."""
  size = array.dtype.itemsize * math.prod(array.shape[1:])
  return np.frombuffer(array.tobytes(), np.uint8).reshape(len(array), size)


def _log_codes(values: np.ndarray) -> np.ndarray:
  exact = values.astype(np.promote_types(values.dtype, np.float32))
  # A score may be below 0 or above 1 by a rounding error.
  with np.errstate(divide="ignore"):
    codes = np.log(np.clip(exact, 0, 1)) * -_STEPS
  codes = np.minimum(np.rint(codes), _ZERO - 1)
  return np.where(exact > 0, codes, _ZERO).astype(np.uint16)


def table_layout(row_bytes: int) -> tuple[int, str]:
  """SQLite's page size for responses of this size, and the layout of rows.

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
