"""The adversary's data before the first query."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.data.examples import Examples


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
