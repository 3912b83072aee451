"""The unit of each input feature, taken from the adversary's examples."""

from __future__ import annotations

import numpy as np

from wsl_extraction.oracle.spaces import Images, Space

# Pixels of one data set share a unit. Where their spreads differ by more than
# this, rows of other features were declared to be images.
_ALIKE = 100.0


def half_ranges(space: Space, examples: np.ndarray) -> np.ndarray:
  """Half of the range that each feature fills, as far as examples tell.

  A network trained on features of different units has weights of different
  sizes, and steps of one length would be too long for some features and lost in
  the rounding of others.

  Args:
    space: The inputs. Pixels have the range of the space.
    examples: float64 [n, d] of the pool.

  Returns:
    float64 [d], above 0: for a uniform feature half its range. A feature that
    does not vary has the range of the space, or the mean unit of the others.
  """
  spread = np.sqrt(3) * examples.std(axis=0)
  # What is left by rounding of a constant is no spread.
  varies = spread > 1e-12 * np.abs(examples).max(axis=0, initial=0)
  mean = float(np.exp(np.log(spread[varies]).mean())) if varies.any() else 0.0
  shared = _shared(space, examples)
  if isinstance(space, Images) and spread.max() <= _ALIKE * mean:
    return np.full(len(spread), shared)
  return np.where(varies, spread, mean or shared)


def _shared(space: Space, examples: np.ndarray) -> float:
  """Half the range of all features: the space's, or the examples'."""
  low, high = space.value_range if space.has_range else (
      float(examples.min()), float(examples.max()))
  return (high - low) / 2 if low < high else 1.0
