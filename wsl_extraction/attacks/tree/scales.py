"""Sizes of features, by which thresholds are searched."""

from __future__ import annotations

import numpy as np

from wsl_extraction.networks.regions import Domain

_ENDLESS = 1e30  # half a range beyond which there is none
_MOST = 2**13  # distances in the range of a feature; with more, none is seen
_OFF = 0.05  # of a distance, for numbers of single precision


def are_endless(domain: Domain) -> np.ndarray:
  """bool [d]: features whose numbers have no range."""
  return (domain.categories == 0) & (
      domain.high / 2 - domain.low / 2 > _ENDLESS)


def scales(domain: Domain, pool: np.ndarray) -> np.ndarray:
  """Half the range of each feature [d]: of the domain, else of the pool [n, d].

  1 where neither has one.
  """
  scale = domain.high / 2 - domain.low / 2
  if len(pool):
    seen = (np.fmax.reduce(pool) - np.fmin.reduce(pool)) / 2
    scale = np.where(are_endless(domain), seen, scale)
  known = np.isfinite(scale) & (scale > 0) & (scale < _ENDLESS)
  return np.where(known, scale, 1.0)


def grids(domain: Domain, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The numbers at which thresholds are expected: offsets and steps, [d] each.

  Thresholds lie in the middle between two numbers of the data. If those of the
  pool are equally spaced, as numbers of few decimals are even after scaling,
  a threshold is a multiple of half their distance from the first one. The step
  is 0 where they are not, which costs rows and nothing else.
  """
  offsets, distances = np.zeros(domain.features), np.zeros(domain.features)
  for feature in np.flatnonzero(domain.categories == 0):
    values = np.unique(pool[:, feature][np.isfinite(pool[:, feature])])
    if len(values) < 2:
      continue
    places = (values - values[0]) / np.diff(values).min()
    if places[-1] <= _MOST and (
        np.abs(places - np.round(places)) < _OFF).all():
      offsets[feature] = values[0]
      distances[feature] = (values[-1] - values[0]) / np.round(places[-1]) / 2
  return offsets, distances


def ranges(domain: Domain, pool: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
  """Ends [d] from which rows are drawn: of the pool, where none are known."""
  scale = scales(domain, pool)
  wide = are_endless(domain)
  middle = np.zeros(domain.features) if not len(pool) else (
      np.fmax.reduce(pool) + np.fmin.reduce(pool)) / 2
  middle = np.where(np.isfinite(middle), middle, 0.0)
  return (np.where(wide, middle - 1.5 * scale, domain.low),
          np.where(wide, middle + 1.5 * scale, domain.high))
