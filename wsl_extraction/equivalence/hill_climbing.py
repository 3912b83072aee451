"""Inputs where two networks differ much, by sampling and climbing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from wsl_extraction.equivalence.bounds import Pair
from wsl_extraction.equivalence.domains import Corners, Domain

# Outputs and signs that are climbed for, and climbers each.
_GOALS = 4
_CLIMBERS = 16
_STEPS = (1.0, 0.5, 0.2, 0.05, 0.01)
_MOVES = 12
# Products of one evaluation of all samples: a tenth of a second.
_PRODUCTS = 1 << 29


def climbed(pair: Pair, domain: Domain, rng: np.random.Generator,
            samples: int, rounds: int,
            is_late: Callable[[], bool] = lambda: False
            ) -> Iterator[np.ndarray]:
  """Yields the best inputs [d] found, for each output and sign in turn.

  Of many outputs those come first that differ most at the samples.

  Args:
    pair: The networks.
    domain: Where to look.
    rng: Of the samples and moves.
    samples: Inputs to begin with; half of them corners of the domain. Fewer
      for networks so large that these would take long.
    rounds: Moves of each climber.
    is_late: Called between rounds, whether to yield the best so far and stop.
  """
  products = sum(matrix.size for matrix in (*pair.weights, pair.readout))
  samples = min(samples, max(_PRODUCTS // max(products, 1), 2 * _CLIMBERS))
  corners = rng.integers(0, 2, (samples // 2, domain.dimension))
  inputs = np.vstack([
      domain.sample(samples - len(corners), rng),
      np.where(corners, domain.high, domain.low)])
  values = pair.difference(inputs)
  both = _comparable(np.hstack([values, -values]))
  for place in np.argsort(-both.max(axis=0), kind="stable")[:_GOALS]:
    best = inputs[np.argsort(-both[:, place])[:_CLIMBERS]]
    sign, output = (1.0, place) if place < values.shape[1] else (
        -1.0, place - values.shape[1])
    yield _climb(pair, domain, best, int(output), sign, rng, rounds, is_late)
    if is_late():
      return


def _climb(pair: Pair, domain: Domain, best: np.ndarray, output: int,
           sign: float, rng: np.random.Generator, rounds: int,
           is_late: Callable[[], bool]) -> np.ndarray:
  for _ in range(rounds):
    if is_late():
      break
    moves = _moved(domain, best, rng)
    if not isinstance(domain, Corners):
      moves = np.concatenate(
          [moves, _ascended(pair, domain, best, output, sign)])
    tried = np.concatenate([best[None], moves])
    values = _comparable(sign * pair.difference(
        tried.reshape(-1, domain.dimension))[:, output])
    winner = np.argmax(values.reshape(tried.shape[:2]), axis=0)
    best = tried[winner, np.arange(len(best))]
  return best[np.argmax(_comparable(
      sign * pair.difference(best)[:, output]))]


def _comparable(values: np.ndarray) -> np.ndarray:
  """NaN as the least of all: no reason to go there."""
  return np.where(np.isnan(values), -np.inf, values)


def _moved(domain: Domain, best: np.ndarray, rng: np.random.Generator
           ) -> np.ndarray:
  """Each climber with one input changed, in several ways: [k, n, d]."""
  moves = np.repeat(best[None], _MOVES, axis=0)
  place = rng.integers(0, domain.dimension, moves.shape[:2])
  low, high = domain.low[place], domain.high[place]
  share = rng.uniform(size=place.shape)
  # A third each to the lower end, the upper end, and in between.
  value = np.where(share < 1 / 3, low, np.where(
      share < 2 / 3, high, low + (high - low) * rng.uniform(size=place.shape)))
  if isinstance(domain, Corners):
    value = 1 - np.take_along_axis(moves, place[..., None], 2)[..., 0]
  np.put_along_axis(moves, place[..., None], value[..., None], axis=2)
  return np.clip(moves, domain.low, domain.high)


def _ascended(pair: Pair, domain: Domain, best: np.ndarray, output: int,
              sign: float) -> np.ndarray:
  """Each climber moved towards the corner that its gradient points to."""
  masks, hidden = [], best
  for matrix, bias in zip(pair.weights, pair.biases, strict=True):
    hidden = hidden @ matrix + bias
    masks.append(hidden > 0)
    hidden = np.maximum(hidden, 0)
  gradient = sign * pair.readout[:, output]
  for mask, matrix in zip(masks[::-1], pair.weights[::-1], strict=True):
    gradient = (mask * gradient) @ matrix.T
  corner = np.where(gradient > 0, domain.high, domain.low)
  return np.clip(np.stack([best + step * (corner - best) for step in _STEPS]),
                 domain.low, domain.high)
