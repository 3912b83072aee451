"""Random ReLU networks, and copies of them, for tests."""

from __future__ import annotations

import itertools

import numpy as np

from wsl_extraction.networks.relu_network import ReluNetwork


def network(sizes, rng):
  """Weights N(0, 1 / inputs), biases N(0, 0.09)."""
  return ReluNetwork(
      [rng.normal(size=(a, b)) / np.sqrt(a)
       for a, b in itertools.pairwise(sizes)],
      [0.3 * rng.normal(size=b) for b in sizes[1:]])


def moved(f, layer, rng, by=1e-3):
  """A copy with one weight of a layer moved, one that matters at 1/2."""
  weights = [matrix.copy() for matrix in f.weights]
  values, alive = np.full(f.dimension, 0.5), np.ones(f.dimension, bool)
  for place in range(layer + 1):
    values = values @ f.weights[place] + f.biases[place]
    below, alive = alive, values > 0
    values = np.maximum(values, 0)
  if layer + 1 == len(weights):
    alive[:] = True
  weights[layer][rng.choice(np.flatnonzero(below)),
                 rng.choice(np.flatnonzero(alive))] += by
  return ReluNetwork(weights, f.biases, f.is_rectified)


def shuffled(f, rng, noise=0.0, largest=10.0):
  """A copy with hidden units exchanged and scaled, and weights disturbed."""
  weights = [matrix.copy() for matrix in f.weights]
  biases = [bias.copy() for bias in f.biases]
  for layer, width in enumerate(f.hidden):
    order = rng.permutation(width)
    scale = np.exp(rng.uniform(-np.log(largest), np.log(largest), width))
    weights[layer] = weights[layer][:, order] * scale
    biases[layer] = biases[layer][order] * scale
    weights[layer + 1] = weights[layer + 1][order] / scale[:, None]
  disturbed = [
      [array + noise * rng.normal(size=array.shape) for array in arrays]
      for arrays in (weights, biases)]
  return ReluNetwork(*disturbed, f.is_rectified)
