"""As the solver says, proved, and in no more than twice its CPU time."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from fixtures.relu_networks import network
from wsl_extraction.equivalence import backward, bounds, milp
from wsl_extraction.equivalence.decide import (
    Different,
    Equal,
    decide,
    largest_difference,
)
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.networks.relu_network import ReluNetwork

# Widths of hidden layers for each number of layers.
WIDTHS = {2: 12, 3: 8, 4: 6, 5: 5, 6: 4}
GAP = 1e-3
SLACK = 3e-6  # the solver's tolerances, 1e-6 for a difference


def pair(seed):
  """2 to 6 layers; every third pair are strangers, others nearly equal."""
  rng = np.random.default_rng([7, seed])
  layers = 2 + seed % 5
  sizes = (int(rng.integers(3, 6)), *[WIDTHS[layers]] * (layers - 1),
           int(rng.integers(1, 3)))
  f, size = network(sizes, rng), 10.0 ** rng.uniform(-6, -2)
  if seed % 3 == 0:
    return f, network(sizes, rng)
  weights, biases = (
      [array + size * rng.normal(size=array.shape) for array in arrays]
      for arrays in (f.weights, f.biases))
  return f, ReluNetwork(weights, biases)


def claimed(f, g, box):
  """Ends of the largest |f - g| by the solver alone: floating point, no proof.

  It stops where its bound is GAP above the objective that it has reached, a
  share of that objective, which `maximise` gives it without the constant.
  """
  both = bounds.Pair.of(f, g)
  ranges = backward.tightened(both, box.low, box.high)
  least, most = [], []
  for output, sign in itertools.product(range(f.outputs), (1.0, -1.0)):
    constant = float(sign * both.offset[output])
    claim = milp.maximise(
        both, milp.Rows.of(both), ranges, box, sign * both.readout[:, output],
        constant, 60, GAP)
    assert claim.is_optimal
    most.append(claim.bound)
    least.append(claim.bound - GAP / (1 - GAP) * abs(claim.bound - constant))
  return max(least), max(most)


def timed(work):
  start = time.process_time()
  result = work()
  return result, time.process_time() - start


def compared(seeds):
  """Compares both ways on pairs; CPU seconds of each, [pairs, 2]."""
  seconds = []
  largest_difference(*pair(0), Box.unit(pair(0)[0].dimension), 20)  # imports
  for seed in seeds:
    f, g = pair(seed)
    box = Box.unit(f.dimension)
    found, own = timed(lambda f=f, g=g, box=box: largest_difference(
        f, g, box, 20, gap=GAP))
    (least, most), alone = timed(lambda f=f, g=g, box=box: claimed(f, g, box))
    size = float(found.lower)
    assert found.lower <= found.upper <= size / (1 - GAP) * (1 + 1e-12)
    assert size <= most + SLACK
    assert least <= found.upper + SLACK
    assert isinstance(decide(f, g, box, 1.01 * found.upper, 20), Equal)
    assert isinstance(decide(f, g, box, 0.99 * size, 20), Different)
    seconds.append((own, alone))
  return np.array(seconds)


def test_a_few_pairs():
  own, alone = compared(range(1, 6)).sum(axis=0)
  assert own <= 2 * alone


@pytest.mark.slow
def test_sixty_pairs():
  seconds = compared(range(60))
  assert seconds[:, 0].sum() <= seconds[:, 1].sum()
  # A hundredth of a second on either side is noise.
  assert (seconds[:, 0] <= 2 * seconds[:, 1] + 0.03).all()
