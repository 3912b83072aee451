"""Theorem 2 measured: deciding equality decides subset-sum puzzles."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsl_extraction import checks
from wsl_extraction.equivalence.decide import Different, Equal, decide
from wsl_extraction.equivalence.domains import Box, Corners, Domain
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report.panels import Panel, Series
from wsl_extraction.report.text_tables import TextTable
from wsl_extraction.theorems.subset_sum import (
    SubsetSum,
    solvable,
    subset_sum_networks,
)
from wsl_extraction.theorems.theorem import (
    Rows,
    Theorem,
    TheoremReport,
    check_whole,
    number,
)

# Half of the one difference that there can be.
TOLERANCE = 0.5
_DOMAINS = ("corners", "cube")


def domain_of(kind: str, n: int) -> Domain:
  """{0, 1}^n or [0, 1]^n."""
  return Corners(n) if kind == "corners" else Box.unit(n)


def drawn(n: int, is_solvable: bool, rng: np.random.Generator) -> SubsetSum:
  """A puzzle of density 1, values up to 2^n, with or without a solution.

  With: the target is the sum of a random half of the values. Without: targets
  are drawn near half the total until one is not reached. That is decided by
  dynamic programming, so n is at most about 24 there.
  """
  while True:
    values = tuple(rng.integers(1, 2**n, n, endpoint=True).tolist())
    if is_solvable:
      chosen = rng.permutation(n)[:max(1, n // 2)]
      return SubsetSum(values, sum(values[i] for i in chosen))
    total = sum(values)
    for _ in range(50):
      target = int(rng.integers(total // 4, 3 * total // 4, endpoint=True))
      if not solvable(values, target):
        return SubsetSum(values, target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theorem2(Theorem):
  """Random puzzles that are checked, and hard ones that are timed.

  Attributes:
    checked: Puzzles of each domain that are compared with dynamic programming,
      half of them with a solution.
    checked_up_to: Their sizes n are 2 to this, in turn.
    corner_sizes: Sizes of hard puzzles on {0, 1}^n.
    cube_sizes: Sizes of hard puzzles on [0, 1]^n.
    repeats: Hard puzzles of each size, with and without a solution in turn.
    time_limit: Seconds for each.
    seed: Of all that is random.
  """

  checked: int = 40
  checked_up_to: int = 10
  corner_sizes: Sequence[int] = (16, 18, 20, 22)
  cube_sizes: Sequence[int] = (6, 8, 10, 12)
  repeats: int = 2
  time_limit: float = 20.0
  seed: int = 0

  def __post_init__(self):
    check_whole("Theorem2's checked, checked_up_to and repeats",
                (self.checked, self.checked_up_to, self.repeats), 2)
    for name in ("corner_sizes", "cube_sizes"):
      check_whole(f"Theorem2.{name}", tuple(getattr(self, name)), 1)
    check_whole("Theorem2.seed", (self.seed,), 0)
    checks.number("Theorem2.time_limit", self.time_limit, above=0)

  def parts(self):
    parts = {f"checked {kind}": functools.partial(self._checked, kind)
             for kind in _DOMAINS}
    for kind, sizes in (("corners", self.corner_sizes),
                        ("cube", self.cube_sizes)):
      for n in sizes:
        for repeat in range(self.repeats):
          parts[f"hard {kind} {n} {repeat}"] = functools.partial(
              self._hard, kind, n, repeat)
    return parts

  def _checked(self, kind: str) -> Rows:
    agreed, witnesses = 0, 0
    for place in range(self.checked):
      rng = np.random.default_rng([self.seed, place])
      n = 2 + place // 2 % (self.checked_up_to - 1)
      puzzle = drawn(n, place % 2 == 0, rng)
      answer = _decided(puzzle, kind, self.time_limit)
      truth = solvable(puzzle.values, puzzle.target)
      agreed += isinstance(answer, Different if truth else Equal)
      witnesses += isinstance(answer, Different) and puzzle.is_solved_by(
          puzzle.subset(answer.inputs))
    return {"checked": [{
        "domain": kind, "puzzles": self.checked, "agreed": agreed,
        "solvable": (self.checked + 1) // 2, "witnesses": witnesses}]}

  def _hard(self, kind: str, n: int, repeat: int) -> Rows:
    rng = np.random.default_rng([self.seed, n, repeat, 7])
    has_solution = repeat % 2 == 0
    if has_solution or n <= 20:
      puzzle = drawn(n, has_solution, rng)
    else:
      # Even values and an odd target: no solution, and nothing tells so.
      values = tuple((2 * rng.integers(1, 2**(n - 1), n)).tolist())
      puzzle = SubsetSum(values, sum(values) // 4 * 2 + 1)
    answer = _decided(puzzle, kind, self.time_limit)
    is_right = isinstance(answer, Different) and puzzle.is_solved_by(
        puzzle.subset(answer.inputs))
    return {"hard": [{
        "domain": kind, "n": n, "solvable": has_solution,
        "answer": type(answer).__name__.lower(), "seconds": answer.seconds,
        "witness": is_right}]}

  def findings(self, rows):
    checked, hard = rows["checked"], rows["hard"]
    return TheoremReport(
        "Theorem 2: subset sums decided as equality of networks",
        {"Checked": TextTable(
            ("domain", "puzzles", "as dynamic programming", "solvable",
             "witnesses that solve"),
            [(row["domain"], *(str(row[name]) for name in (
                "puzzles", "agreed", "solvable", "witnesses")))
             for row in checked]),
         "Hard": TextTable(
             ("domain", "n", "solution", "answer", "seconds"),
             [(row["domain"], str(row["n"]),
               "yes" if row["solvable"] else "no",
               row["answer"], number(row["seconds"], 3)) for row in hard])},
        {"seconds": [self._panel(hard, kind) for kind in _DOMAINS]},
        "Values are uniform up to 2^n, density 1. Equal is claimed with proof "
        f"only; undecided after {self.time_limit:g} s is what it says.")

  def _panel(self, rows: Sequence[Mapping[str, Any]], kind: str) -> Panel:
    curves = []
    for look, (name, holds) in enumerate((
        ("solution found", lambda row: row["answer"] == "different"),
        ("proved that there is none", lambda row: row["answer"] == "equal"),
        ("undecided at the limit", lambda row: row["answer"] == "undecided"))):
      points = [(row["n"], Estimate(*[row["seconds"]] * 3)) for row in rows
                if row["domain"] == kind and holds(row)]
      if points:
        curves.append(Series(name, points, look=look))
    proved = [row for row in rows if row["domain"] == kind
              and row["answer"] == "equal"]
    if proved:
      last = max(proved, key=lambda row: row["n"])
      curves.append(Series("doubling with n", [
          (row["n"], Estimate(
              last["seconds"] * 2.0**(row["n"] - last["n"]), 0, 0))
          for row in sorted(proved, key=lambda row: row["n"])
          if row["n"] >= last["n"] - 6],
          is_theory=True, look=3))
    where = "{0, 1}^n" if kind == "corners" else "[0, 1]^n"
    return Panel("Time (s)", curves, f"on {where}", "Values of the puzzle, n",
                 log="y")


def _decided(puzzle: SubsetSum, kind: str, seconds: float) -> Any:
  domain = domain_of(kind, len(puzzle.values))
  f, g = subset_sum_networks(puzzle.values, puzzle.target, domain)
  return decide(f, g, domain, TOLERANCE, seconds)
