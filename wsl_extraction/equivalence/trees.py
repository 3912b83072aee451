"""Proof that two decision trees are the same function, leaf by leaf.

Every leaf is a region, a product of intervals. Descending both trees at once
meets each non-empty intersection of a leaf of one with a leaf of the other, and
the outputs on it are those of the two leaves: where all of them agree, the
trees are equal on every row, not on a sample.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.networks.decision_tree import LEAF, DecisionTree
from wsl_extraction.networks.regions import Domain, Region

_SINGLE = 1e-6  # outputs that differ by less were kept in single precision


@dataclasses.dataclass(frozen=True)
class TreeCertificate:
  """The comparison of two trees on all rows of a domain.

  Attributes:
    intersections: The non-empty intersections of leaves; all were compared.
    differing: Those with another class; of one output, with other numbers.
    share: Of rows uniform in the range of the data, the share that lies in
      intersections that differ.
    largest: The largest difference of two outputs.
    example: A row [d] on which they differ most; None where none differ.
    seconds: The time that it took.
    outputs: "classes" where more was not revealed, else "outputs".
  """

  intersections: int
  differing: int
  share: float
  largest: float
  example: tuple[float, ...] | None
  seconds: float
  outputs: str = "outputs"

  def fields(self) -> Mapping[str, Any]:
    """The fields of result.json."""
    return {**dataclasses.asdict(self), "text": self.text}

  @property
  def text(self) -> str:
    """The line that a user reads."""
    if self.differing:
      row = ", ".join(f"{one:.9g}" for one in (self.example or ())[:8])
      more = ", ..." if len(self.example or ()) > 8 else ""
      return (f"the trees differ on {self.differing:,} of "
              f"{self.intersections:,} non-empty intersections of leaves, "
              f"{100 * self.share:.3g}% of the range, for example at "
              f"({row}{more})")
    same = f"all {self.intersections:,} non-empty intersections of leaves agree"
    if self.outputs == "classes":
      return f"the trees give the same class to every row: {same}"
    if self.largest > _SINGLE:
      return (f"the trees give the same class to every row: {same}; outputs "
              f"differ by at most {self.largest:.1e}")
    return (f"the trees are equal on every row: {same}, outputs differ by at "
            f"most {self.largest:.1e}")


def compare(victim: DecisionTree, copy: DecisionTree, domain: Domain,
            low: np.ndarray, high: np.ndarray, *,
            scores: bool = True) -> TreeCertificate:
  """Compares two trees on all non-empty intersections of their leaves.

  Args:
    victim: A tree.
    copy: Another one, of as many features and outputs.
    domain: The rows on which they are compared.
    low: The least number of each feature of the data [d], for the share.
    high: The largest.
    scores: Whether outputs are compared as well; False compares classes alone.

  Raises:
    InputError: Their sizes differ.
  """
  start = time.monotonic()
  sizes = {(one.features, one.outputs) for one in (victim, copy)}
  if sizes != {(domain.features, victim.outputs)}:
    raise InputError(f"trees of (features, outputs) {sorted(sizes)} on rows of "
                     f"{domain.features} features cannot be compared; give two "
                     "of the same sizes")
  count, differing, share, largest = 0, 0, 0.0, 0.0
  worst: tuple[float, Region] | None = None
  for region, one, other in intersections(victim, copy, domain):
    theirs, ours = victim.values[one], copy.values[other]
    gap = float(np.abs(theirs - ours).max())
    count, largest = count + 1, max(largest, gap)
    if theirs.argmax() != ours.argmax() or (
        victim.outputs == 1 and not _close(gap, theirs)):
      differing += 1
      share += region.share(low, high)
      if worst is None or gap > worst[0]:
        worst = gap, region
  example = None if worst is None else tuple(map(float, worst[1].row()))
  return TreeCertificate(
      count, differing, share, largest, example, time.monotonic() - start,
      "outputs" if scores or victim.outputs == 1 else "classes")


def _close(gap: float, values: np.ndarray) -> bool:
  """True if numbers are the same but for storing them in single precision."""
  return gap <= 2.0**-23 * float(np.abs(values).max())


def intersections(victim: DecisionTree, copy: DecisionTree, domain: Domain
                  ) -> Iterator[tuple[Region, int, int]]:
  """Regions where both trees are constant, with the leaf of each."""
  pending = [(domain.whole(), 0, 0)]
  while pending:
    region, one, other = pending.pop()
    if victim.feature[one] != LEAF:
      pending += [(part, child, other) for part, child in _children(
          victim, one, region)]
    elif copy.feature[other] != LEAF:
      pending += [(part, one, child) for part, child in _children(
          copy, other, region)]
    else:
      yield region, one, other


def _children(tree: DecisionTree, node: int, region: Region
              ) -> Iterator[tuple[Region, int]]:
  parts = region.cut(int(tree.feature[node]), float(tree.threshold[node]),
                     bool(tree.missing_left[node]))
  for part, child in zip(parts, (tree.left[node], tree.right[node]),
                         strict=True):
    if not part.is_empty:
      yield part, int(child)
