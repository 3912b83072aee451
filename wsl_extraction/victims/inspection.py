"""A look at a victim by its owner, before it is attacked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsl_extraction.data.split import Parts
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.stores import NO_STORES, Stores, examiner_oracle
from wsl_extraction.victims import convert as victims
from wsl_extraction.victims.diagnosis import Diagnosis, diagnose, is_suspicious
from wsl_extraction.victims.victim import Victim

_LOOKED_AT = 16  # rows of the owner on which a victim's answers are checked
_IN_DOUBT = 128  # and as many as that where these look like guesses


def check_victim(victim: Victim, parts: Parts, warn: Callable[[str], None],
                 stores: Stores = NO_STORES, fingerprint: str | None = None
                 ) -> int:
  """Makes sure that answers are what is declared, on rows of the owner.

  A victim that guesses, or always answers the same, is warned of: most often
  it wants inputs of another range, or names classes in another order.

  Args:
    victim: It.
    parts: Have the rows.
    warn: Called with each doubt.
    stores: The file `measured` of which keeps the answers.
    fingerprint: Of the data set.

  Returns:
    The rows that the victim was asked about.

  Raises:
    VictimMismatch: They are not.
  """
  with examiner_oracle(victim, stores, fingerprint) as examiner:
    before = examiner.ledger.rows
    diagnosis = Diagnosis()
    looks = [_looked_at(parts, examiner, _LOOKED_AT)]
    if not victim.is_random and is_suspicious(victim, *looks[0]):
      # Chance alone may have made a few rows look bad.
      if len(parts.test) > _LOOKED_AT:
        looks.append(_looked_at(parts, examiner, _IN_DOUBT))
      diagnosis = diagnose(victim, *looks[-1])
    asked = examiner.ledger.rows - before + diagnosis.asked
  for doubt in diagnosis.doubts:
    warn(doubt)
  return asked


def _looked_at(parts: Parts, examiner: Oracle, count: int
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Rows of the owner, the answers to them, and their classes if known."""
  rows = victims.probe_rows(parts, count)
  response = examiner.query(rows)
  labels = parts.test.labels
  answers = response.arrays.get("values")
  if answers is None or "classes" in response.arrays:
    answers = response.classes[:, :1]
  return np.asarray(rows), answers, None if labels is None else np.asarray(
      labels[:len(rows)])
