"""The oracle's answers as identities of leaves."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np

from wsl_extraction.networks.regions import LARGEST, Domain
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import Quantity, Response
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.oracle.tables import Categorical, Table

Identity = Hashable


def domain_of(space: Space, missing: bool | None = None) -> Domain:
  """The rows of a space, as trees compare them.

  Args:
    space: Vectors, or rows of a table.
    missing: Whether NaN is a value; None if the space has it.
  """
  low, high = (np.broadcast_to(np.asarray(end, np.float64), space.shape).ravel()
               for end in (space.low, space.high))
  if not space.bounded:
    low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
  columns = space.columns if isinstance(space, Table) else ()
  categories = np.array([
      len(one.values) if isinstance(one, Categorical) else 0
      for one in columns] or np.zeros(space.features), np.int64)
  ends = [np.clip(end, -LARGEST, LARGEST).astype(np.float32).astype(np.float64)
          for end in (low, high)]
  if missing is None:
    missing = isinstance(space, Table) and space.missing
  return Domain(ends[0], ends[1], categories, missing)


class LeafQueries:
  """Asks the oracle about rows [n, d], and remembers the answers.

  An identity is that of a leaf where it is revealed, else the scores.

  Attributes:
    oracle: It.
    named: Whether leaves have names, by which no two are taken for one.
    first: A row of each identity, that with the fewest missing values.
    values: The outputs float64 [c] of each identity.
    spread: The largest difference of two outputs of one identity.
  """

  def __init__(self, oracle: Oracle,
               progress: Callable[[int], None] = lambda rows: None):
    """Asks `oracle`; tells `progress` the rows that were asked about."""
    self.oracle, self._progress = oracle, progress
    self.named = "leaves" in oracle.reveal.layout(oracle.outputs)
    self.first: dict[Identity, np.ndarray] = {}
    self.values: dict[Identity, np.ndarray] = {}
    self.spread = 0.0
    self._known: dict[bytes, Identity] = {}
    self._rows: list[np.ndarray] = []

  def __call__(self, rows: np.ndarray) -> list[Identity]:
    """The identities of rows float64 [n, d]; equal rows are asked once.

    Raises:
      BudgetExceeded: Not all of them can be had.
    """
    rows = rows + 0.0  # no -0
    keys = [row.tobytes() for row in rows]
    missing = {key: place for place, key in enumerate(keys)
               if key not in self._known}
    if missing:
      self._ask(rows[list(missing.values())], list(missing))
    return [self._known[key] for key in keys]

  def asked(self) -> tuple[np.ndarray, list[Identity]]:
    """All rows [n, d] so far, and their identities."""
    rows = np.array(self._rows).reshape(-1, self.oracle.space.features)
    return rows, list(self._known.values())

  def _ask(self, rows: np.ndarray, keys: list[bytes]) -> None:
    space = self.oracle.space
    # The ends of a range may be no float32 numbers.
    sent = np.clip(rows, space.low, space.high) if space.bounded else rows
    response = self.oracle.query(sent.reshape(-1, *space.shape))
    identities = self._identities(response)
    outputs = _outputs(response)
    for row, key, one, output in zip(rows, keys, identities, outputs,
                                     strict=True):
      self._known[key] = one
      self._rows.append(row)
      if one not in self.first or (
          np.isnan(row).sum() < np.isnan(self.first[one]).sum()):
        self.first[one] = row
      known = self.values.setdefault(one, output)
      self.spread = max(self.spread, float(np.abs(known - output).max()))
    self._progress(len(self._rows))

  def _identities(self, response: Response) -> list[Identity]:
    if self.named:
      return response.leaves.tolist()
    return [row.tobytes() for row in np.ascontiguousarray(response.values)]


def _outputs(response: Response) -> np.ndarray:
  """Scores or logits float64 [n, c] as they are; of labels, one-hot rows."""
  if "values" in response.arrays and "classes" not in response.arrays:
    return response.values.astype(np.float64)
  return response.probabilities().astype(np.float64)


def are_certain(queries: LeafQueries) -> bool:
  """Returns True if a leaf is sure of a class, as several may be."""
  return queries.oracle.reveal.scale is Quantity.PROBABILITIES and (
      queries.oracle.outputs > 1) and any(
          values.max() >= 1 for values in queries.values.values())
