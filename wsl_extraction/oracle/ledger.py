"""Queries that an attack has paid for, and the budget that limits them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.reveals import Meter


class BudgetExceeded(InputError):
  """A batch would cost more than what is left of the budget."""


@dataclasses.dataclass(frozen=True)
class Budget:
  """The most that may be spent on each meter; None means no limit.

  Attributes:
    rows: Input rows that the victim answers.
    gradient_rows: Input rows of which it gives derivatives.
    traces: Input rows during which it is measured.
  """

  rows: int | None = None
  gradient_rows: int | None = None
  traces: int | None = None

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = checks.whole(f"Budget.{field.name}", getattr(self, field.name),
                           0, optional=True)
      object.__setattr__(self, field.name, value)

  @classmethod
  def of(cls, value: Any) -> Budget:
    """Reads a budget; a whole number limits rows, None limits nothing."""
    if isinstance(value, Budget):
      return value
    return cls(checks.whole("budget", value, 0, optional=True))

  def on(self, meter: Meter) -> int | None:
    """The limit on a meter."""
    return getattr(self, meter.value.replace(" ", "_"))

  def __str__(self) -> str:
    limits = [f"{limit} {meter.value}" for meter in Meter
              if (limit := self.on(meter)) is not None]
    return ", ".join(limits) or "no limit"


class Book(Protocol):
  """A record of charges that outlives the process; a `ResponseStore` is one."""

  @property
  def spent(self) -> int:
    """The rows charged so far, those sent again included."""
    ...

  @property
  def resent(self) -> int:
    """The rows of these that were charged more than once."""
    ...

  def price(self, keys: Sequence[bytes], resends: bool) -> int:
    """The rows that `charge` would book."""
    ...

  def charge(self, keys: Sequence[bytes], most: int | None,
             resends: bool) -> None:
    """Books rows in one transaction, all of them or none.

    Args:
      keys: Their identities.
      most: The rows that may be charged in all; None for no limit.
      resends: Whether a row that was charged and never answered is charged
        again.

    Raises:
      BudgetExceeded: They are more than what is left.
    """


class Ledger:
  """Counts queries, on a meter each for rows, gradient rows and traces.

  A row is charged before the victim is called, and stays charged whatever
  happens then: a refund would be a free query, and a refusal is an answer.

  Attributes:
    budget: What may be spent in all.
  """

  def __init__(self, budget: Budget | int | None = None,
               meters: Sequence[Meter] = (Meter.ROWS,),
               book: Book | None = None, resends: bool = False):
    """Opens a ledger.

    Args:
      budget: What may be spent; a whole number of rows, or None for no limit.
      meters: On which a query is charged.
      book: Where charges are kept; None keeps them in memory.
      resends: Whether a row that was charged in the book, and whose answer was
        lost, is charged again: a remote victim has answered it.

    Raises:
      BudgetExceeded: The book holds more than the budget.
      InputError: The budget limits nothing that the queries are charged as.
    """
    self.budget = Budget.of(budget)
    self._meters, self._book, self._resends = tuple(meters), book, resends
    self._spent = self._resent = 0
    self._lock = threading.Lock()
    limits = [self.budget.on(meter) for meter in self._meters]
    if self.budget != Budget() and not any(
        limit is not None for limit in limits):
      names = checks.listed(meter.value for meter in self._meters)
      raise InputError(
          f"the budget is {self.budget}, but these queries are charged as "
          f"{names}; give a Budget of them")
    known = [limit for limit in limits if limit is not None]
    self._most = min(known) if known else None
    spent = self._total
    if self._most is not None and spent > self._most:
      raise BudgetExceeded(
          f"{spent} rows are spent already, more than the budget of "
          f"{self._most}; raise the budget or start afresh")

  @property
  def _total(self) -> int:
    return self._book.spent if self._book is not None else self._spent

  @property
  def spent(self) -> Mapping[Meter, int]:
    """The charges on each meter so far."""
    total = self._total
    return {meter: total if meter in self._meters else 0 for meter in Meter}

  @property
  def rows(self) -> int:
    """The rows charged so far, on whatever meter they are charged."""
    return self._total

  @property
  def resent(self) -> int:
    """The rows that were charged again, as their answers were lost."""
    return self._book.resent if self._book is not None else self._resent

  def left(self, meter: Meter = Meter.ROWS) -> int | None:
    """The remaining budget on a meter; None without a limit."""
    limit = self.budget.on(meter)
    return None if limit is None else limit - self.spent[meter]

  def afford(self, keys: Sequence[bytes]) -> None:
    """Raises BudgetExceeded if `charge` would; books nothing."""
    count = len(keys) if self._book is None else (
        self._book.price(keys, self._resends))
    refuse_excess(count, self._total, self._most)

  def charge(self, keys: Sequence[bytes], again: bool = False) -> None:
    """Books one row for each of `keys`, all of them or none.

    Args:
      keys: The identities of the rows.
      again: Whether they were charged before, and are sent again. A book knows
        that by itself.

    Raises:
      BudgetExceeded: They are more than what is left.
      InputError: They are no list of identities.
    """
    if not isinstance(keys, (list, tuple)) or not all(
        isinstance(key, bytes) for key in keys):
      raise InputError("what is charged is a list of the identities of rows; "
                       f"{type(keys).__name__} is none")
    if self._book is not None:
      self._book.charge(keys, self._most, self._resends)
      return
    with self._lock:
      refuse_excess(len(keys), self._spent, self._most)
      self._spent += len(keys)
      self._resent += len(keys) if again else 0

  def equal_cost(self, features: int) -> int:
    """The rows that would cost as much as all that was charged.

    A gradient by `features` inputs counts as many rows as finite differences
    would take, one more than there are inputs. Traces have no such equivalent
    and do not count.
    """
    spent = self.spent
    return (spent[Meter.ROWS]
            + spent[Meter.GRADIENT_ROWS] * (features + 1))


def refuse_excess(rows: int, spent: int, most: int | None) -> None:
  """Raises BudgetExceeded if `rows` more than `spent` exceed `most`."""
  if most is not None and spent + rows > most:
    raise BudgetExceeded(
        f"a batch of {rows} rows exceeds the budget: {spent} of {most} are "
        "spent; ask fewer or raise the budget")
