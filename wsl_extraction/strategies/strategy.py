"""The interface of query strategies."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError


class Strategy(abc.ABC):
  """Chooses what to ask next, from what the surrogate makes of the pool.

  Authors write `choose`; the call does the checks, once for all.

  Attributes:
    needs_surrogate: Whether it chooses at random where there is none.
    reads: The features that it is called with: "features", or "perturbations",
      the length [m, 1] of the shortest one that changes the surrogate's class.
  """

  needs_surrogate: ClassVar[bool] = True
  reads: ClassVar[str] = "features"

  @final
  def __call__(self, probabilities: np.ndarray, features: np.ndarray, n: int,
               rng: np.random.Generator,
               asked: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """Chooses n of the m examples of a pool.

    Args:
      probabilities: [m, c], the surrogate's; uniform before there is one.
      features: [m, f], its penultimate layer's outputs, or what `reads` names;
        f = 0 before.
      n: How many to choose, at most what is left.
      rng: The source of randomness, which breaks all ties.
      asked: int [a], different positions in 0..m-1 that were asked about
        already and are not to be chosen again.

    Returns:
      int [n]: different positions in 0..m-1, none of them asked about, in the
      order of preference.

    Raises:
      InputError: n is more than what is left of the pool, or an argument does
        not fit the others or is not finite.
    """
    probabilities, features = np.asarray(probabilities), np.asarray(features)
    _check_arrays(probabilities, features)
    asked = _checked_positions(asked, len(probabilities))
    name = type(self).__name__
    _check_count(n, len(probabilities), len(asked), name)
    if not n:
      return np.zeros(0, np.int64)
    chosen = np.asarray(
        self.choose(probabilities, features, int(n), rng, asked))
    _check_chosen(chosen, n, len(probabilities), asked, name)
    return chosen

  @abc.abstractmethod
  def choose(self, probabilities: np.ndarray, features: np.ndarray, n: int,
             rng: np.random.Generator, asked: np.ndarray) -> np.ndarray:
    """The algorithm; see `__call__`. All arguments are checked, n is >= 1."""


def unasked(m: int, asked: np.ndarray,
            rng: np.random.Generator) -> np.ndarray:
  """The positions in 0..m-1 that are not in `asked`, in random order.

  A strategy that prefers the earlier among equals breaks ties at random.
  """
  left = np.ones(m, bool)
  left[asked] = False
  order = rng.permutation(m)
  return order[left[order]]


def _check_arrays(probabilities: np.ndarray, features: np.ndarray) -> None:
  if probabilities.ndim != 2 or features.ndim != 2 or (
      len(probabilities) != len(features)) or not probabilities.shape[1]:
    raise InputError(
        f"probabilities have shape {probabilities.shape} and features "
        f"{features.shape}; give a strategy [m, c] and [m, f]")
  for name, values in (("probabilities", probabilities),
                       ("features", features)):
    if not _finite(values):
      raise InputError(f"the surrogate's {name} are not all finite: its "
                       "training diverged; lower the learning rate")
  if np.min(probabilities, initial=0) < 0 or (
      np.max(probabilities, initial=0) > 1.01):
    raise InputError("probabilities are not all in 0..1; take the softmax of "
                     "logits before they go to a strategy")


def _finite(values: np.ndarray) -> bool:
  # The extremes, as isfinite would need an array as long as the pool's.
  with np.errstate(invalid="ignore"):
    return bool(np.isfinite(np.min(values, initial=0))
                and np.isfinite(np.max(values, initial=0)))


def _checked_positions(asked: Sequence[int] | np.ndarray,
                       m: int) -> np.ndarray:
  positions = np.asarray(asked)
  if not positions.size:
    return np.zeros(0, np.int64)
  if positions.ndim != 1 or not np.issubdtype(positions.dtype, np.integer):
    raise InputError(
        f"asked has shape {positions.shape} and type {positions.dtype}; give "
        "whole numbers [a], the positions that were asked about")
  low, high = positions.min(), positions.max()
  if low < 0 or high >= m:
    raise InputError(f"asked holds {low if low < 0 else high}; give positions "
                     f"in the pool, from 0 to {m - 1}")
  times = np.bincount(positions.astype(np.int64))
  if times.max() > 1:
    raise InputError(f"asked holds {times.argmax()} more than once; give each "
                     "position once")
  return positions.astype(np.int64)


def _check_count(n: int, m: int, asked: int, name: str) -> None:
  checks.whole(f"n of {name}", n)
  if n > m - asked:
    raise InputError(
        f"{name} asks for {n - (m - asked)} more examples than the pool holds: "
        f"{n} of {m}, {asked} of which were asked about already; lower the "
        "budget or enlarge the pool")


def _check_chosen(chosen: np.ndarray, n: int, m: int, asked: np.ndarray,
                  name: str) -> None:
  # Not the user's input: the strategy is at fault, so with a traceback.
  if chosen.shape != (n,) or not np.issubdtype(chosen.dtype, np.integer):
    raise ValueError(f"{name}.choose gave {chosen.dtype} {chosen.shape} "
                     f"instead of whole numbers ({n},)")
  if chosen.min() < 0 or chosen.max() >= m:
    raise ValueError(f"{name}.choose gave positions outside of 0..{m - 1}")
  if len(np.unique(np.concatenate([chosen, asked]))) < n + len(asked):
    raise ValueError(f"{name}.choose gave a position twice, or one that was "
                     "asked about already")
