"""Signs that a victim is asked in the wrong way, seen before it is attacked.

A copy of a victim that guesses is worthless however faithful it is. The usual
causes: pixels from 0 to 255 where the victim wants 0 to 1, classes or channels
in another order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from wsl_extraction.victims.victim import Victim

_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
# How likely guesses do as well: of many rows, and of few, on which a fair
# victim often does no better.
_CHANCE, _CHANCE_FEW, _MANY = 0.05, 0.15, 64
_GAIN = 0.15  # of the rows: what makes another reading of them the right one
# Of the rows that a victim should get right: below, causes are looked for.
_GOOD, _GOOD_REMOTE = 0.8, 0.5
_ROWS_A_CLASS = 4  # needed to tell in which order the classes are


@dataclasses.dataclass(frozen=True)
class Diagnosis:
  """Doubts about a victim.

  Attributes:
    doubts: One sentence each, for its owner.
    asked: The rows that it was asked about to find causes.
  """

  doubts: tuple[str, ...] = ()
  asked: int = 0


def is_guessing(right: int, rows: int, classes: int) -> bool:
  """True if so many right answers are no more than guesses would give."""
  chance = 1 / classes
  # P(at least `right` of `rows`), by the binomial distribution.
  likely = sum(math.comb(rows, k) * chance**k * (1 - chance)**(rows - k)
               for k in range(right, rows + 1))
  return classes > 1 and likely > (_CHANCE if rows >= _MANY else _CHANCE_FEW)


def is_suspicious(victim: Victim, rows: np.ndarray, answers: np.ndarray,
                  labels: np.ndarray | None) -> bool:
  """True if more rows should be looked at; see `diagnose`."""
  if _narrow(victim, rows) or _constant(rows, answers):
    return True
  if labels is None or not len(labels):
    return False
  right = int((_named(answers) == labels).sum())
  good = _GOOD_REMOTE if victim.remote else _GOOD
  return right < len(labels) * good or is_guessing(
      right, len(labels), victim.outputs)


def diagnose(victim: Victim, rows: np.ndarray, answers: np.ndarray,
             labels: np.ndarray | None) -> Diagnosis:
  """Looks for signs that the victim sees or names things otherwise.

  Args:
    victim: It.
    rows: Rows of its owner, [n, *shape].
    answers: Its answers to them, scores or class numbers [n, ...].
    labels: Their true classes [n], where they are known.
  """
  doubts, asked = [], 0
  if doubt := _narrow(victim, rows):
    doubts.append(doubt)
  constant = _constant(rows, answers)
  if constant:
    doubts.append(
        f"the victim gives one and the same answer to {len(rows)} different "
        "rows; check the range of its inputs (value_range) and its weights")
  if labels is not None and len(labels):
    named = _named(answers)
    right = int((named == labels).sum())
    guesses = is_guessing(right, len(labels), victim.outputs)
    causes, asked = _causes(victim, rows, named, labels, right)
    if guesses or causes:
      doubts.append(_sentence(right, len(labels), victim.outputs, guesses,
                              causes))
  return Diagnosis(tuple(doubts), asked)


def _sentence(right: int, rows: int, classes: int, guesses: bool,
              causes: list[str]) -> str:
  text = f"the victim is right on {right} of {rows} test rows"
  if guesses:
    text += f", as if it guessed among {classes} classes"
  return text + ("; " + "; ".join(causes) if causes else (
      "; check the range of its inputs (value_range), the order of its classes "
      "and the order of the channels"))


def _named(answers: np.ndarray) -> np.ndarray:
  """Class numbers [n] of scores [n, c], or of class numbers [n, 1]."""
  if answers.shape[1] == 1:
    return answers[:, 0].astype(np.int64)
  return np.argmax(np.where(np.isnan(answers), -np.inf, answers), axis=1)


def _constant(rows: np.ndarray, answers: np.ndarray) -> bool:
  """True if the answers to several different rows have the same scores.

  Class numbers may well be equal: the rows may be of one class.
  """
  distinct = len(np.unique(rows.reshape(len(rows), -1), axis=0))
  return distinct >= _ROWS_A_CLASS and answers.shape[1] > 1 and bool(
      np.array_equal(answers, np.broadcast_to(answers[:1], answers.shape),
                     equal_nan=True)) and not bool(
                         (answers == np.round(answers)).all())


def _narrow(victim: Victim, rows: np.ndarray) -> str | None:
  """A doubt where rows that may reach 255 stay within 0 to 1."""
  low, high = victim.space.value_range
  if high < 255 or not rows.size or rows.max() > 1 or rows.max() == rows.min():
    return None
  return (f"the rows hold values from {rows.min():g} to {rows.max():g}, and "
          f"their range is {low:g} to {high:g}; scale them, or give "
          "value_range=(0, 1) for the data")


def _causes(victim: Victim, rows: np.ndarray, named: np.ndarray,
            labels: np.ndarray, right: int) -> tuple[list[str], int]:
  """Remedies that would make the victim right, and the rows asked."""
  needed = right + _GAIN * len(labels)
  texts = []
  hits = _hits_in_another_order(named, labels, victim.outputs)
  if hits >= needed:
    texts.append(f"with its classes in another order it is right on {hits}: "
                 "check the order of the classes")
  if victim.remote:
    return texts, 0  # each row may cost
  asked = 0
  best = (needed, "")
  for text, changed in _readings(victim, rows):
    try:
      hits = int((_predicted(victim, changed) == labels).sum())
    except Exception:
      continue
    finally:
      asked += len(rows)
    best = max(best, (hits, text))
  if best[1]:
    texts.insert(0, f"{best[1]} it is right on {best[0]}")
  return texts, asked


def _readings(victim: Victim, rows: np.ndarray
              ) -> Iterator[tuple[str, np.ndarray]]:
  """Other readings of the rows, each with words for it."""
  if victim.value_range is not None and victim.space.has_range:
    low, high = victim.space.value_range
    share = (rows.astype(np.float32) - low) / (high - low)
    seen_low, seen_high = victim.value_range
    for new_low, new_high in _RANGES:
      if (new_low, new_high) == (seen_low, seen_high):
        continue
      seen = new_low + share * (new_high - new_low)
      text = f"with value_range=({new_low:g}, {new_high:g})"
      yield text, low + (seen - seen_low) / (seen_high - seen_low) * (
          high - low)
  if rows.ndim == 4 and rows.shape[-1] == 3:
    yield ("with the channels in reverse order (BGR for RGB)",
           np.ascontiguousarray(rows[..., ::-1]))


def _predicted(victim: Victim, rows: np.ndarray) -> np.ndarray:
  values = np.asarray(victim.predict(rows))
  return _named(values.astype(np.float64))


def _hits_in_another_order(named: np.ndarray, labels: np.ndarray,
                           classes: int) -> int:
  """Right answers if classes were numbered otherwise; 0 if it cannot be told.

  Numbers may be off by one whatever the number of classes.
  """
  shifted = max(int(((named + by) % classes == labels).sum())
                for by in (-1, 1))
  if len(labels) < _ROWS_A_CLASS * classes:
    return shifted
  from scipy import optimize

  table = np.zeros((classes, classes))
  np.add.at(table, (named, labels), 1)
  return max(shifted, int(table[optimize.linear_sum_assignment(
      table, maximize=True)].sum()))
