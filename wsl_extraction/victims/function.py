"""Victims that are Python functions, clients of a remote service say."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np

from wsl_extraction.data.examples import Dataset
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.victims.victim import Surroundings, Victim, digest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Function:
  """Any Python function, named in gin: a client of a remote service, say.

  Attributes:
    function: Maps images [n, h, w, d] of the data set to [n, c]; a reference,
      `@my_module.my_function`.
    outputs: What it gives, "logits" or "probabilities".
    fingerprint: Tells victims apart whose code is the same; change it when
      what stands behind the function changes.
  """

  function: Callable[[np.ndarray], np.ndarray]
  outputs: str = "probabilities"
  fingerprint: str = ""

  def __call__(self, dataset: Dataset, parts: Parts,
               surroundings: Surroundings) -> Victim:
    """Wraps the function.

    Raises:
      InputError: It is not a function.
    """
    del parts, surroundings
    if not callable(self.function):
      raise InputError(f"Function.function is {self.function!r}; name a "
                       "function by reference, @my_module.my_function")
    bare = inspect.unwrap(self.function)
    try:
      source = inspect.getsource(bare)
    except (OSError, TypeError):
      source = repr(type(bare))
    name = f"{bare.__module__}.{getattr(bare, '__qualname__', type(bare))}"
    return Victim(self.function, self.outputs, dataset.input_shape,
                  dataset.num_classes,
                  digest(name, source, self.outputs, self.fingerprint))
