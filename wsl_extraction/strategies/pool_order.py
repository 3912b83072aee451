"""Asking in the pool's own order."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from wsl_extraction.strategies.strategy import Strategy


@dataclasses.dataclass(frozen=True)
class PoolOrder(Strategy):
  """The first of the pool that were not asked about, whatever the seed.

  For a pool that begins with a class-balanced subset (`split.Split.balanced`),
  the "10% of ImageNet" of semi-supervised learning.

  References:
    Zhai, Oliver, Kolesnikov, Beyer. S4L: Self-Supervised Semi-Supervised
      Learning. ICCV 2019, section 5.
  """

  needs_surrogate: ClassVar[bool] = False

  def choose(self, probabilities, features, n, rng, asked):
    del features, rng
    left = np.ones(len(probabilities), bool)
    left[asked] = False
    return np.flatnonzero(left)[:n]
