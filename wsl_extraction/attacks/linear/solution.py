"""A classifier that was solved for, and what it was solved from."""

from __future__ import annotations

import dataclasses

from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork

TEXTS = {"softmax": "softmax of linear functions",
         "one_vs_rest": "linear model of each class against the rest",
         "perceptron": "perceptron"}


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
  """A classifier that was solved for.

  Attributes:
    name: Its kind.
    weights: It, as a function of rows.
    unknowns: The number of its weights that scores determine.
    wanted: The rows that suffice.
    used: The rows that it was solved from.
    error: On fresh rows; infinite without any.
    unsolvable: What was wrong with the scores; empty if nothing.
  """

  name: str
  weights: LinearWeights | ReluNetwork
  unknowns: int
  wanted: int
  used: int
  error: float
  unsolvable: str = ""

  @property
  def text(self) -> str:
    """Its kind in words."""
    return TEXTS[self.name]

  @property
  def has_all_rows(self) -> bool:
    """True if the budget sufficed."""
    return self.used >= self.wanted
