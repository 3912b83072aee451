"""Queries that an attack has paid for, and the budget that limits them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from wsl_extraction.errors import InputError


class BudgetExceeded(InputError):
  """A batch would cost more than what is left of the budget."""


class Ledger:
  """Counts queries: one for each input row that the oracle answers.

  Attributes:
    budget: The rows that may be spent in all; None means no limit.
    spent: The rows spent so far.
  """

  def __init__(self, budget: int | None = None, spent: int = 0):
    for name, value in (("budget", budget), ("spent", spent)):
      if name == "budget" and value is None:
        continue
      whole = isinstance(value, (int, np.integer))
      if not whole or isinstance(value, bool) or value < 0:
        raise InputError(
            f"{name} is {value!r}; give a whole number of rows, 0 or more")
    if budget is not None and spent > budget:
      raise BudgetExceeded(
          f"{spent} rows are spent already, more than the budget of {budget}; "
          "raise the budget or start afresh")
    self._budget, self._spent = budget, spent
    self._lock = threading.Lock()

  @property
  def budget(self) -> int | None:
    return self._budget

  @property
  def spent(self) -> int:
    return self._spent

  @property
  def left(self) -> int | None:
    """Rows that may still be asked; None without a limit."""
    return None if self._budget is None else self._budget - self._spent

  def charge(self, rows: int) -> None:
    """Books `rows`, all of them or none.

    Raises:
      BudgetExceeded: They are more than what is left.
      InputError: They are fewer than none.
    """
    if rows < 0:
      raise InputError(f"{rows} rows cannot be charged; give 0 or more")
    with self._lock:
      if self._budget is not None and self._spent + rows > self._budget:
        raise BudgetExceeded(
            f"a batch of {rows} rows exceeds the budget: {self._spent} of "
            f"{self._budget} are spent; ask fewer or raise the budget")
      self._spent += rows

  @contextlib.contextmanager
  def charging(self, rows: int) -> Iterator[None]:
    """Charges `rows`, and gives them back if they end up unanswered."""
    self.charge(rows)
    try:
      yield
    except BaseException:
      with self._lock:
        self._spent -= rows
      raise
