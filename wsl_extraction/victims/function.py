"""Victims that are Python functions, clients of a remote service say."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    quantities_of,
)


@dataclasses.dataclass(frozen=True)
class Function(VictimSource):
  """Any Python function of an array, named in gin.

  Attributes:
    function: Maps rows [n, ...] of the data to [n, c]: uint8 or floating
      numbers in the range of the data, images as [n, h, w, d]; a reference,
      `@my_module.my_function`.
    outputs: What it gives, "logits" or "probabilities".
    fingerprint: Tells victims apart whose code is the same; change it when
      what stands behind the function changes.
    num_classes: c; None for that of the data.
    remote: Whether it asks a service, whose answers can be lost on the way.
      Rows that it had sent when the process was killed are then charged again.
  """

  function: Callable[[np.ndarray], Any]
  _: dataclasses.KW_ONLY
  outputs: str = "probabilities"
  fingerprint: str = ""
  num_classes: int | None = None
  remote: bool = False

  def __post_init__(self):
    if not callable(self.function) or isinstance(self.function, type):
      raise InputError(f"Function.function is {self.function!r}; name a "
                       "function by reference, @my_module.my_function")
    checks.one_of("Function.outputs", self.outputs,
                  ("logits", "probabilities"))
    checks.whole("Function.num_classes", self.num_classes, 1, optional=True)
    checks.flag("Function.remote", self.remote)

  def load(self, parts, runtime):
    """Wraps the function.

    Raises:
      InputError: The number of classes is not known.
    """
    outputs = self.num_classes or parts.num_classes
    if outputs is None:
      raise InputError("the number of classes of a function is not known; give "
                       "Function.num_classes")
    bare = inspect.unwrap(self.function)
    try:
      source = inspect.getsource(bare)
    except (OSError, TypeError):
      source = repr(type(bare))
    name = f"{getattr(bare, '__module__', '')}." + str(
        getattr(bare, "__qualname__", type(bare)))
    return Victim(
        parts.space, outputs, quantities_of(self.outputs, self.function),
        digest(name, source, self.outputs, self.fingerprint),
        remote=self.remote)
