"""300 subset sums on each domain: decided as by dynamic programming."""

from __future__ import annotations

import fractions

import numpy as np
import pytest

from wsl_extraction.equivalence.decide import Different, Equal, decide
from wsl_extraction.theorems.subset_sum import solvable, subset_sum_networks
from wsl_extraction.theorems.theorem2 import TOLERANCE, domain_of, drawn

# 150 puzzles with and 150 without a solution; few of the largest, whose proofs
# on the cube take seconds.
SIZES = [2, 3, 4, 5, 6] * 28 + [7] * 4 + [8, 9, 10, 12, 14, 16]


@pytest.mark.parametrize("kind", ["corners", "cube"])
@pytest.mark.parametrize("is_solvable", [True, False])
def test_decided_as_by_dynamic_programming(kind, is_solvable):
  for place, n in enumerate(SIZES):
    rng = np.random.default_rng([place, n, is_solvable])
    puzzle = drawn(n, is_solvable, rng)
    assert solvable(puzzle.values, puzzle.target) == is_solvable
    domain = domain_of(kind, n)
    f, g = subset_sum_networks(puzzle.values, puzzle.target, domain)
    answer = decide(f, g, domain, TOLERANCE, 60)
    if is_solvable:
      assert isinstance(answer, Different)
      assert puzzle.is_solved_by(puzzle.subset(answer.inputs))
      point = answer.inputs[None]
      assert answer.difference == abs(
          f.exact(point)[0, 0] - g.exact(point)[0, 0])
      assert isinstance(answer.difference, fractions.Fraction)
    else:
      assert isinstance(answer, Equal)
      assert answer.bound <= TOLERANCE


def test_there_are_300_of_each():
  assert 2 * len(SIZES) == 300
