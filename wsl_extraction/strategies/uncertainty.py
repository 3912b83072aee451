"""Asking about what the surrogate is least sure of."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
import scipy.special

from wsl_extraction.strategies.strategy import Strategy, unasked

# Rows whose probabilities are held in float64 at once.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Uncertainty(Strategy):
  """The most uncertain first; authors write `uncertainty`."""

  @abc.abstractmethod
  def uncertainty(self, probabilities: np.ndarray) -> np.ndarray:
    """Of each row of float64 [b, c], the higher the less sure: [b]."""

  def choose(self, probabilities, features, n, rng, asked):
    del features
    order = unasked(len(probabilities), asked, rng)
    doubts = np.concatenate([
        self.uncertainty(probabilities[start:start + _BLOCK].astype(np.float64))
        for start in range(0, len(probabilities), _BLOCK)])
    return order[np.argsort(-doubts[order], kind="stable")[:n]]


@dataclasses.dataclass(frozen=True)
class Entropy(Uncertainty):
  """The highest entropy of the surrogate's probabilities.

  References:
    Shannon 1948, "A Mathematical Theory of Communication", section 6.
    Settles 2009, "Active Learning Literature Survey", section 3.1.
    Pal et al. 2020, "ActiveThief", for its use in extraction.
  """

  def uncertainty(self, probabilities):
    return scipy.special.entr(probabilities).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Margin(Uncertainty):
  """The smallest difference between the two highest probabilities.

  References:
    Scheffer, Decomain and Wrobel 2001, "Active Hidden Markov Models for
      Information Extraction".
    Settles 2009, "Active Learning Literature Survey", section 3.1.
  """

  def uncertainty(self, probabilities):
    if probabilities.shape[1] == 1:
      return np.zeros(len(probabilities))
    second, first = np.partition(probabilities, (-2, -1), axis=1)[:, -2:].T
    return second - first


@dataclasses.dataclass(frozen=True)
class LeastConfidence(Uncertainty):
  """The lowest probability of the likeliest class.

  References:
    Lewis and Gale 1994, "A Sequential Algorithm for Training Text
      Classifiers".
    Settles 2009, "Active Learning Literature Survey", section 3.1.
  """

  def uncertainty(self, probabilities):
    return -probabilities.max(axis=1)
