"""Rows of tables as pandas has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsl_extraction.oracle.spaces import Space
from wsl_extraction.oracle.tables import Categorical, Table

if TYPE_CHECKING:
  import pandas as pd


def column_names(space: Space) -> tuple[str, ...] | None:
  """The names of the features, where they have any."""
  names = getattr(space, "names", None)
  return names if names is not None and all(names) else None


def frame(space: Space, rows: np.ndarray,
          names: Sequence[str] | None = None) -> pd.DataFrame:
  """Rows as a DataFrame: categories as they were written, NaN where missing.

  Args:
    space: Theirs.
    rows: `[n, d]`.
    names: Of the columns, in place of those of the space; numbers if neither
      has any.
  """
  import pandas as pd

  names = names or column_names(space) or list(map(str, range(space.features)))
  columns = {}
  for place, name in enumerate(names):
    values = rows[:, place]
    kind = space.columns[place] if isinstance(space, Table) else None
    if isinstance(kind, Categorical):
      known = np.array([*kind.values, np.nan], object)
      values = known[np.where(np.isnan(values), -1, values).astype(int)]
      # Of the type that pandas would read, if all of these rows lack it too.
      dtype = (pd.Series(list(kind.values)).dtype
               if isinstance(kind.values[0], str) else None)
      values = pd.Series(list(values), dtype=dtype)
    columns[name] = values
  return pd.DataFrame(columns)
