"""Limits of time hold: in CPU seconds, which other work does not lengthen."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fixtures.relu_networks import by_hand, network
from wsl_extraction.equivalence.decide import (
    Undecided,
    decide,
    largest_difference,
)
from wsl_extraction.equivalence.domains import Box, Corners

LIMIT, MORE = 0.5, 1.0


def seconds(work):
  start = time.process_time()
  result = work()
  return result, time.process_time() - start


@pytest.mark.parametrize("inputs", [36, 38])
def test_corners_of_which_most_are_closed_in_blocks(inputs):
  """Every block closes by its bound: nothing is looked into for minutes."""
  steps = 2.0 ** -np.arange(inputs)
  f = by_hand([steps[:, None], [[1.0]]], [[-0.7], [0.0]])
  g = by_hand([np.stack([steps, steps], 1), [[0.5], [0.5]]],
              [[-0.7 - 1e-3, -0.7 - 1.1e-3], [0.0]])
  answer, spent = seconds(
      lambda: decide(f, g, Corners(inputs), 1.2e-3, LIMIT))
  assert isinstance(answer, Undecided)
  assert answer.lower <= answer.upper
  assert spent < LIMIT + MORE


@pytest.mark.parametrize("sizes", [(64, 1024, 10), (784, 128, 10),
                                   (20, 40, 40, 40, 1)])
def test_large_networks(sizes):
  rng = np.random.default_rng(0)
  f, g = network(sizes, rng), network(sizes, rng)
  answer, spent = seconds(
      lambda: largest_difference(f, g, Box.unit(sizes[0]), LIMIT))
  assert answer.lower <= answer.upper
  assert spent < LIMIT + MORE
