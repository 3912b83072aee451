"""What a query strategy is."""

from __future__ import annotations

import abc

import numpy as np


class Strategy(abc.ABC):
  """Chooses what to ask next, from what the surrogate makes of the pool."""

  @abc.abstractmethod
  def __call__(self, probabilities: np.ndarray, features: np.ndarray, n: int,
               rng: np.random.Generator) -> np.ndarray:
    """Chooses n of the m examples of a pool.

    Args:
      probabilities: [m, c], the surrogate's; uniform before there is one.
      features: [m, f], its penultimate layer's outputs; f = 0 before.
      n: How many to choose, at most m.
      rng: The source of randomness.

    Returns:
      int [n]: different positions in 0..m-1, in the order of preference.
    """
