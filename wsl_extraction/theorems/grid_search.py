"""The search for a needle, location by location, as Theorem 1 counts it."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Logits
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.theorems import needle

ORDERS = ("ascending", "descending", "shuffled")


def oracle_of(predict: Any, dimension: int,
              budget: int | None = None) -> Oracle:
  """A needle, or an adversary, behind logits of two classes and a ledger."""
  victim = BareVictim(
      Vectors(dimension, 0.0, 1.0), 2, {Quantity.LOGITS: predict})
  return Oracle(Live(victim, Logits()), budget)


def ordered(order: str, k: int, precision: int, seed: int) -> np.ndarray:
  """All locations in one of the `ORDERS`: [p^k, k]."""
  locations = needle.all_locations(k, precision)
  if order == "descending":
    return locations[::-1]
  if order == "shuffled":
    return np.random.default_rng(seed).permutation(locations)
  return locations


def grid_search(oracle: Oracle, locations: np.ndarray, precision: int,
                is_deduced: bool = True, batch: int = 1) -> int:
  """Asks about locations in turn until the needle is known.

  Args:
    oracle: Of a needle network; its ledger tells what was paid.
    locations: All of them, in the order in which to ask, [p^k, k].
    precision: p.
    is_deduced: Whether the last one is known without asking, since it has to
      be somewhere.
    batch: Rows that are asked at once; those after a hit are paid for too.

  Returns:
    The place of the needle in `locations`.
  """
  last = len(locations) - is_deduced
  dimension, = oracle.space.shape
  for start in range(0, last, batch):
    asked = locations[start:min(start + batch, last)]
    points = needle.at_locations(asked, precision, dimension)
    is_hit = oracle.query(points).logits[:, 1] > 0
    if is_hit.any():
      return start + int(np.argmax(is_hit))
  return len(locations) - 1
