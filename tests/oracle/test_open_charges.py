"""Sums of charges, and which charges wait for answers."""

from __future__ import annotations

from wsl_extraction.oracle.open_charges import OpenCharges


def test_a_charge_ends_with_the_last_of_the_rows_that_wait_for_it():
  charges = OpenCharges(5, 2)
  charges.add(1, [b"a", b"b", b"c"], 0)
  charges.add(2, [b"a"], 1)  # sent again
  assert (charges.spent, charges.resent) == (9, 3)
  assert charges.ended([b"b"]) == []
  charges.answer([b"b"])
  assert b"b" not in charges and b"a" in charges
  assert charges.ended([b"c"]) == [1]
  assert sorted(charges.ended([b"a", b"c", b"unknown"])) == [1, 2]


def test_earlier_charges_are_recalled():
  charges = OpenCharges(3)
  charges.recall(1, [b"a", b"b"])
  charges.recall(2, [b"b"])  # sent again: it waits for one of them
  assert charges.ended([b"a", b"b"]) == [1]
  assert charges.spent == 3
