"""Defences: what an oracle does to answers before it cuts them down."""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction import checks
from wsl_extraction.oracle.response import Response


class Defence:
  """A perturbation of answers, or a detector, between victim and reveal.

  Its text, by default that of a dataclass, tells oracles apart in a store.
  """

  @property
  def resolution(self) -> float:
    """The distance of neighbouring values, 0 where they are not rounded."""
    return 0.0

  def perturb(self, rows: np.ndarray, values: np.ndarray,
              rng: np.random.Generator) -> np.ndarray:
    """The values [n, c] that take the place of the victim's.

    Args:
      rows: What was asked, [n, ...].
      values: The victim's probabilities or logits, [n, c].
      rng: Of this batch.
    """
    del rows, rng
    return values

  def watch(self, rows: np.ndarray, response: Response) -> None:
    """Looks at a query and its response; may raise `Refused`."""
    del rows, response


@dataclasses.dataclass(frozen=True)
class Rounded(Defence):
  """Rounds values to so many decimals, half to even."""

  decimals: int

  def __post_init__(self):
    object.__setattr__(
        self, "decimals", checks.whole("Rounded.decimals", self.decimals, 0))

  @property
  def resolution(self) -> float:
    return 10.0**-self.decimals

  def perturb(self, rows, values, rng):
    return np.round(values, self.decimals)
