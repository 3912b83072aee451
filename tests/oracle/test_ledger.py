"""Budgets, meters, and what is charged."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import Budget, BudgetExceeded, Ledger
from wsl_extraction.oracle.reveals import Meter


def keys(count):
  return [bytes([i // 256, i % 256]) for i in range(count)]


def test_rows_are_booked_all_or_none():
  ledger = Ledger(10)
  ledger.charge(keys(7))
  with pytest.raises(BudgetExceeded, match=r"a batch of 4 rows .* 7 of 10"):
    ledger.charge(keys(4))
  assert (ledger.rows, ledger.left()) == (7, 3)
  ledger.charge(keys(3))
  assert ledger.left() == 0


@pytest.mark.parametrize("value", [
    float("nan"), 0.5, -1, 3, None, "ab", b"ab", [1], np.zeros(3)])
def test_only_rows_can_be_charged(value):
  ledger = Ledger(5)
  with pytest.raises(InputError, match="identities of rows"):
    ledger.charge(value)
  assert ledger.rows == 0


@pytest.mark.parametrize("budget", [-1, 2.5, "ten", True, np.nan])
def test_what_is_no_budget(budget):
  with pytest.raises(InputError, match="budget is"):
    Ledger(budget)


def test_a_number_means_rows_and_numpy_integers_are_numbers():
  assert Budget.of(np.int64(5)) == Budget(rows=5)
  assert Budget.of(None) == Budget()
  assert str(Budget(rows=5, traces=2)) == "5 rows, 2 traces"
  three: Any = np.int32(3)
  assert Ledger(three).left() == 3


def test_meters_of_their_own():
  both = Ledger(Budget(rows=10, gradient_rows=3),
                (Meter.ROWS, Meter.GRADIENT_ROWS))
  both.charge(keys(2))
  with pytest.raises(BudgetExceeded, match="2 of 3"):
    both.charge(keys(2))
  assert both.spent == {
      Meter.ROWS: 2, Meter.GRADIENT_ROWS: 2, Meter.TRACES: 0}
  assert (both.left(), both.left(Meter.GRADIENT_ROWS)) == (8, 1)
  assert both.left(Meter.TRACES) is None
  assert both.equal_cost(9) == 2 + 2 * 10


def test_a_budget_that_limits_nothing_is_refused():
  with pytest.raises(InputError, match="charged as gradient rows; give"):
    Ledger(100, (Meter.GRADIENT_ROWS,))
  Ledger(None, (Meter.GRADIENT_ROWS,))


def test_threads_never_spend_more_than_the_budget():
  ledger = Ledger(1000)
  refused = []

  def spend():
    for _ in range(300):
      try:
        ledger.charge(keys(1))
      except BudgetExceeded:
        refused.append(1)

  threads = [threading.Thread(target=spend) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert ledger.rows == 1000
  assert len(refused) == 200
