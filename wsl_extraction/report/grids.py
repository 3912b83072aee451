"""A grid of runs: methods by budgets by seeds, one run folder each."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from wsl_extraction.errors import InputError


@dataclasses.dataclass(frozen=True)
class Run:
  """One cell of a grid under one seed."""

  method: str
  budget: int
  seed: int

  def folder(self, root: pathlib.Path) -> pathlib.Path:
    """Where its results are, below the folder of the grid."""
    name = "".join(c if c.isalnum() else "_" for c in self.method)
    return root / name / f"budget_{self.budget}" / f"seed_{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
  """What a table consists of.

  Attributes:
    caption: Says what was run on what.
    methods: The name of each row and the gin file that it runs.
    budgets: The columns: queries.
    seeds: Every cell is the mean over these.
  """

  caption: str
  methods: Mapping[str, str]
  budgets: Sequence[int]
  seeds: Sequence[int]

  def __post_init__(self):
    for name in ("methods", "budgets", "seeds"):
      values = list(getattr(self, name))
      if not values or len(set(values)) != len(values):
        raise InputError(f"Grid.{name} is {values}; give at least one, and "
                         "each once")

  def runs(self) -> Iterator[Run]:
    """All runs, seed by seed, so that all cells fill at the same pace."""
    for seed, budget, method in itertools.product(
        self.seeds, self.budgets, self.methods):
      yield Run(method, budget, seed)
