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
    pool_classes: The classes int32 [n] of the pool's rows in the data set that
      they come from, where that is another than the victim's, such as the
      numbers of their folders; they are none of the victim's classes.
    pool_class_names: The names of these.
  """

  pool: Examples | None = None
  witnesses: np.ndarray | None = None
  pool_labels: np.ndarray | None = None
  pool_classes: np.ndarray | None = None
  pool_class_names: tuple[str, ...] = ()

  @property
  def required_pool(self) -> Examples:
    """The pool, for attacks that cannot do without.

    Raises:
      InputError: There is none, or it is empty.
    """
    if self.pool is None or not len(self.pool):
      raise InputError("the adversary's pool is empty; give it examples")
    return self.pool
