"""The adversary's data before the first query."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Knowledge:
  """The adversary's data before the first query.

  Attributes:
    pool: Its examples, without labels; None for none.
    witnesses: One row of each class [c, ...], where it has them.
    pool_labels: The labels int32 [n] of the pool, for baselines that learn
      from them and ask nothing.
  """

  pool: Examples | None = None
  witnesses: np.ndarray | None = None
  pool_labels: np.ndarray | None = None

  @property
  def required_pool(self) -> Examples:
    """The pool, for attacks that cannot do without.

    Raises:
      InputError: There is none, or it is empty.
    """
    if self.pool is None or not len(self.pool):
      raise InputError("the adversary's pool is empty; give it examples")
    return self.pool
