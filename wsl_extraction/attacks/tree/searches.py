"""Searches for the faces of a leaf, as generators that run side by side.

A generator yields a row and is sent True if the row lies in the leaf. So the
searches of all faces share their queries to the oracle, one for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from wsl_extraction.networks.regions import following, of_ordinal, ordinal

T = TypeVar("T")
Search = Generator[np.ndarray, bool, T]

_FAR = 2.0**20  # beyond so many scales numbers are halved by their exponent
_NEAR = 2.0**-30  # and below so small a part of one
_GUESSED = 2.0**-23  # the part of a number by which a guess may be off


def side_by_side(inside: Callable[[np.ndarray], Sequence[bool]],
                 searches: Sequence[Search[Any]]) -> list[Any]:
  """Runs searches in lockstep.

  Args:
    inside: Tells for rows [n, d] whether they lie in the leaf.
    searches: The generators.

  Returns:
    What each of them returns.
  """
  results: list[Any] = [None] * len(searches)
  answers: dict[int, bool | None] = dict.fromkeys(range(len(searches)))
  while answers:
    rows = {}
    for place, answer in answers.items():
      try:
        rows[place] = (next(searches[place]) if answer is None
                       else searches[place].send(answer))
      except StopIteration as end:
        results[place] = end.value
    told = inside(np.array(list(rows.values()))) if rows else ()
    answers = dict(zip(rows, told, strict=True))
  return results


def leaving(row: np.ndarray, moves: Mapping[int, float]) -> Search[list[int]]:
  """The features that, moved, leave the leaf; by testing groups of them.

  A leaf is a product of sets, one for each feature: rows with several features
  moved lie in it exactly if each move alone stays in it.

  Args:
    row: A row [d] of the leaf.
    moves: The values to which features are moved.
  """
  pending = [(list(moves), False)]
  outside = []
  while pending:
    group, must_leave = pending.pop()
    if not group:
      continue
    if not must_leave:
      stays = yield moved(row, {one: moves[one] for one in group})
      if stays:
        continue
    if len(group) == 1:
      outside += group
      continue
    half = group[:len(group) // 2]
    stays = yield moved(row, {one: moves[one] for one in half})
    if stays:
      pending.append((group[len(half):], True))
    else:
      pending += [(group[len(half):], False), (half, True)]
  return outside


def one_by_one(row: np.ndarray, moves: Mapping[int, float]
               ) -> Search[list[int]]:
  """The same, each feature by itself, as Tramer et al. do."""
  outside = []
  for feature, value in moves.items():
    stays = yield moved(row, {feature: value})
    if not stays:
      outside.append(feature)
  return outside


def threshold(row: np.ndarray, feature: int, end: float,
              known: Sequence[float], scale: float,
              grid: tuple[float, float] = (0.0, 0.0)) -> Search[float]:
  """The largest float32 number on the lower side of a face.

  Args:
    row: A row [d] of the leaf.
    feature: Moved from its value there to `end`, which is outside.
    end: That value.
    known: Thresholds of the feature that were found before, ascending; they
      are tried first.
    scale: Of the feature's numbers.
    grid: The numbers at which thresholds are expected; see `only_multiple`.
  """
  start = float(row[feature])
  is_upward = end > start
  low, high = min(start, end), max(start, end)

  def is_low(value: float) -> Search[bool]:
    if value in (low, high):
      return value == low
    stays = yield moved(row, {feature: value})
    return stays == is_upward

  low, high = yield from _between_known(
      is_low, [one for one in known if low <= one < high], low, high)
  guessed = False
  while (middle := midpoint(low, high, scale)) is not None:
    guess = None if guessed else only_multiple(low, high, grid)
    tried = [middle]
    if guess is not None:
      guessed, off = True, _GUESSED * max(abs(guess), scale)
      tried = [float(np.float32(guess - off)), float(np.float32(guess + off))]
    for value in tried:
      if low < value < high:
        if (yield from is_low(value)):
          low = value
        else:
          high = value
  return low


def _between_known(is_low: Callable[[float], Search[bool]],
                   known: Sequence[float], low: float, high: float
                   ) -> Search[tuple[float, float]]:
  """The two numbers between which a threshold is, if it is not a known one.

  Then the two are neighbours, and the lower one is the threshold.
  """
  while known:
    place = len(known) // 2
    one = known[place]
    if not (yield from is_low(one)):
      high, known = one, known[:place]
      continue
    low, above = one, following(one)
    if not (yield from is_low(above)):
      return low, above
    low, known = above, known[place + 1:]
  return low, high


def midpoint(low: float, high: float, scale: float) -> float | None:
  """A float32 number between two others; None if there is none.

  In the middle, but where the two are of other sizes than `scale`: there it
  halves the numbers that lie between them.
  """
  if following(low) >= high:
    return None
  width, largest = high - low, max(abs(low), abs(high))
  if low < 0 < high and (width < scale * _NEAR or largest > scale * _FAR):
    return 0.0
  if scale * _NEAR < width and largest <= scale * _FAR:
    middle = float(np.float32((low + high) / 2))
    if low < middle < high:
      return middle
  return of_ordinal((ordinal(low) + ordinal(high)) // 2)


def only_multiple(low: float, high: float, grid: tuple[float, float]
                  ) -> float | None:
  """The number of a grid between two others, if it is the only one.

  Args:
    low: A number.
    high: A larger one.
    grid: An offset, and the distance of its numbers; 0 for no grid.
  """
  offset, step = grid
  if not step or high - low > 2 * step:
    return None
  first = np.ceil((low - offset) / step)
  if offset + (first + 1) * step < high or offset + first * step >= high:
    return None
  return float(offset + first * step)


def moved(row: np.ndarray, values: Mapping[int, float]) -> np.ndarray:
  """A row [d] with some features changed."""
  row = row.copy()
  row[list(values)] = list(values.values())
  return row
