"""Asking about examples drawn at random: what the paper's attacks do."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from wsl_extraction.strategies.strategy import Strategy, unasked


@dataclasses.dataclass(frozen=True)
class Random(Strategy):
  """Uniform, without replacement.

  With equal generators a smaller choice is the beginning of a larger one, so
  that budgets are compared on nested transfer sets.
  """

  needs_surrogate: ClassVar[bool] = False

  def choose(self, probabilities, features, n, rng, asked):
    del features
    return unasked(len(probabilities), asked, rng)[:n]
