"""Domains of a comparison: a box, or the corners of the unit cube."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from wsl_extraction import checks
from wsl_extraction.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Box:
  """All real inputs between two corners.

  Attributes:
    low: The least value of each input, float64 [d].
    high: The largest, [d].
  """

  low: np.ndarray
  high: np.ndarray

  def __init__(self, low: ArrayLike, high: ArrayLike):
    """Takes two corners: lists of d numbers, or numbers for d = 1.

    Raises:
      InputError: Their shapes differ, a bound is not finite, or a range is
        empty.
    """
    low, high = (np.atleast_1d(np.asarray(side, np.float64))
                 for side in (low, high))
    if low.ndim != 1 or low.shape != high.shape:
      raise InputError(f"a box has corners of shape {list(low.shape)} and "
                       f"{list(high.shape)}; give two lists of d numbers")
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
      place = int(np.argmin(np.isfinite(low) & np.isfinite(high)))
      raise InputError(f"the domain is unbounded: input {place} ranges from "
                       f"{low[place]} to {high[place]}; give finite bounds")
    if (low > high).any():
      place = int(np.argmax(low > high))
      raise InputError(f"input {place} ranges from {low[place]} down to "
                       f"{high[place]}; exchange the two")
    object.__setattr__(self, "low", low)
    object.__setattr__(self, "high", high)

  @classmethod
  def unit(cls, dimension: int) -> Box:
    """The cube [0, 1]^d."""
    return cls(np.zeros(dimension), np.ones(dimension))

  @property
  def dimension(self) -> int:
    """The number of inputs, d."""
    return len(self.low)

  def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform inputs [n, d]."""
    with np.errstate(over="ignore"):
      is_wide = not np.isfinite(self.high - self.low).all()
    if is_wide:  # wider than any float64
      share = rng.uniform(size=(n, self.dimension))
      drawn = self.low * (1 - share) + self.high * share
    else:
      drawn = rng.uniform(self.low, self.high, (n, self.dimension))
    return np.clip(drawn, self.low, self.high)

  def holds(self, inputs: np.ndarray) -> bool:
    """True if all inputs [n, d] lie in it."""
    return bool(((inputs >= self.low) & (inputs <= self.high)).all())


@dataclasses.dataclass(frozen=True)
class Corners:
  """The 2^d inputs {0, 1}^d."""

  dimension: int

  def __post_init__(self):
    object.__setattr__(self, "dimension", checks.whole(
        "Corners.dimension", self.dimension, 1))

  @property
  def low(self) -> np.ndarray:
    """Zeros [d]."""
    return np.zeros(self.dimension)

  @property
  def high(self) -> np.ndarray:
    """Ones [d]."""
    return np.ones(self.dimension)

  def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform inputs [n, d]."""
    return rng.integers(0, 2, (n, self.dimension)).astype(np.float64)

  def holds(self, inputs: np.ndarray) -> bool:
    """True if all inputs [n, d] are among them."""
    return bool(np.isin(inputs, (0.0, 1.0)).all())


Domain = Box | Corners
