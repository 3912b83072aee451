"""A random search for one number: what gives the highest figure."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
import re
from collections.abc import Sequence
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid_runs
from wsl_extraction.report.grids.grid_runs import Cell, GinSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
  """Trials of one parameter at random values, each under several seeds.

  Attributes:
    caption: Says what was run on what.
    settings: Of all runs: gin files and bindings, as in `grid.Grid`.
    parameter: What is bound, a name of gin.
    low: The least value.
    high: The greatest.
    trials: How many values. More of them keep the earlier ones.
    seeds: Every trial is the mean over these.
    log: Whether values are uniform in their logarithm.
    seed: Of the draws.
    figure: What is maximised, such as fidelity_top1.
    paper: The value that the paper came to, if any.
    overrides: Settings of all runs, read after all others but the seed.

  References:
    J. Bergstra, Y. Bengio, "Random Search for Hyper-Parameter Optimization",
    Journal of Machine Learning Research 13, 2012.
  """

  caption: str
  settings: Any
  parameter: str
  low: float
  high: float
  trials: int
  seeds: Sequence[int]
  log: bool = True
  seed: int = 0
  figure: str = "fidelity_top1"
  paper: float | None = None
  overrides: Any = ()

  def __post_init__(self):
    if not isinstance(self.caption, str):
      raise InputError(f"Search.caption is {self.caption!r}; give a sentence")
    grid_runs.checked_seeds("Search.seeds", self.seeds)
    grid_runs.checked_figures("Search.figure", [self.figure])
    GinSettings.parse("Search.overrides", self.overrides)
    if not GinSettings.parse("Search.settings", self.settings).files:
      raise InputError("Search.settings names no gin file; name one")
    if not isinstance(self.parameter, str) or not _NAME.fullmatch(
        self.parameter):
      raise InputError(f"Search.parameter is {self.parameter!r}; give a name "
                       "of gin, such as distillation.Distillation.temperature")
    for name, least in (("trials", 1), ("seed", 0)):
      value = getattr(self, name)
      if type(value) is not int or value < least:
        raise InputError(f"Search.{name} is {value!r}; give a whole number, "
                         f"{least} or more")
    self._check_range()

  def _check_range(self):
    numbers = {"low": self.low, "high": self.high}
    if self.paper is not None:
      numbers["paper"] = self.paper
    for name, value in numbers.items():
      if type(value) not in (int, float) or not math.isfinite(value) or (
          self.log and value <= 0):
        kind = "number above 0" if self.log else "number"
        raise InputError(f"Search.{name} is {value!r}; give a {kind}")
    if not self.low < self.high:
      raise InputError(f"Search.low is {self.low!r} and Search.high "
                       f"{self.high!r}; give a greater Search.high")

  @property
  def figures(self) -> tuple[str, ...]:
    """The contents of the report."""
    return (self.figure,)

  @functools.cached_property
  def values(self) -> tuple[float, ...]:
    """The value of each trial, to four digits, in the order drawn."""
    # Of Python's own generator: its `random()` gives the same numbers in every
    # version, and machines that share a search must agree.
    draws = random.Random(self.seed)
    return tuple(self._value(draws.random()) for _ in range(self.trials))

  @functools.cached_property
  def cells(self) -> tuple[Cell, ...]:
    """One a trial, in the order drawn."""
    common = GinSettings.parse("Search.settings", self.settings)
    last = GinSettings.parse("Search.overrides", self.overrides)
    return tuple(
        Cell("trial", f"{self.parameter} = {value}",
             common + GinSettings(bindings=(f"{self.parameter} = {value}",))
             + last,
             f"trial_{number:03d}")
        for number, value in enumerate(self.values, 1))

  def _value(self, share: float) -> float:
    """The value below which that share of draws falls."""
    if self.log:
      value = self.low * (self.high / self.low)**share
    else:
      value = self.low + share * (self.high - self.low)
    return min(max(float(f"{value:.4g}"), self.low), self.high)


_NAME = re.compile(r"([\w/]+\.)*\w+\.\w+")
