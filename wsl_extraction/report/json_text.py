"""JSON that people read and every parser accepts."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from typing import Any

import numpy as np


def json_text(content: Any, indent: int | None = None) -> str:
  """Writes JSON that people read and every parser accepts.

  Fields keep their order. Floats keep six significant digits (all those
  before the point); NaN and infinities, which JSON lacks, become null.
  Dataclasses become objects, arrays lists, paths text, and members of an
  enumeration their names in lower case.

  Raises:
    TypeError: Something in it has no form in JSON.
  """
  return json.dumps(
      plain(content), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
  """The content of JSON as Python reads it back; see `json_text`."""
  match value:
    case enum.Enum():
      return value.name.lower()
    case dict():
      return {str(key): plain(held) for key, held in value.items()}
    case list() | tuple():
      return [plain(held) for held in value]
    case np.ndarray() | np.generic():
      return plain(value.tolist())
    case float():
      return _rounded(value)
    case os.PathLike():
      return os.fspath(value)
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return {
        field.name: plain(getattr(value, field.name))
        for field in dataclasses.fields(value)}
  return value


def _rounded(value: float) -> float | None:
  if not math.isfinite(value):
    return None
  if value == 0:
    return 0.0
  return round(value, max(0, 5 - math.floor(math.log10(abs(value)))))
