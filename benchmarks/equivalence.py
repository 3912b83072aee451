"""Equality of ReLU networks: proved, and by a mixed-integer program.

Networks with Gaussian weights on the unit cube; g is f with one weight of the
first layer moved by 1e-3, or with its hidden units exchanged and scaled, or
another network altogether. `decide` asks for equality up to 1e-9, and
`largest_difference` for bounds 0.1% apart, both with proof. Beside them the
solver (HiGHS) maximises f - g alone, which proves nothing: with big M as small
as could be proved, and with the largest of them for all units (naive), both
for the two networks side by side as they are. All stop after 60 seconds; what
was not finished by then counts as 60 seconds and is marked with *.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import timing

from wsl_extraction.equivalence import backward, bounds, milp, relaxation
from wsl_extraction.equivalence.decide import (
    Undecided,
    decide,
    largest_difference,
)
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.networks.relu_network import ReluNetwork

_LIMIT = 60.0


def _network(sizes: tuple[int, ...], rng: np.random.Generator) -> ReluNetwork:
  layers = list(itertools.pairwise(sizes))
  return ReluNetwork(
      [rng.normal(size=layer) / np.sqrt(layer[0]) for layer in layers],
      [0.3 * rng.normal(size=outputs) for _, outputs in layers])


def _moved(f: ReluNetwork) -> ReluNetwork:
  weights = [matrix.copy() for matrix in f.weights]
  # Of a unit that is on in the middle of the cube.
  middle = np.full(f.dimension, 0.5) @ weights[0] + f.biases[0]
  weights[0][0, np.argmax(middle)] += 1e-3
  return ReluNetwork(weights, f.biases)


def _shuffled(f: ReluNetwork, rng: np.random.Generator) -> ReluNetwork:
  weights = [matrix.copy() for matrix in f.weights]
  biases = [bias.copy() for bias in f.biases]
  for layer, width in enumerate(f.hidden):
    order, scale = rng.permutation(width), rng.uniform(0.1, 10, width)
    weights[layer] = weights[layer][:, order] * scale
    biases[layer] = biases[layer][order] * scale
    weights[layer + 1] = weights[layer + 1][order] / scale[:, None]
  return ReluNetwork(weights, biases)


class Contest:
  """Two networks, and four ways to compare them."""

  def __init__(self, f: ReluNetwork, g: ReluNetwork):
    self._f, self._g, self._box = f, g, Box.unit(f.dimension)
    self._pair = bounds.Pair.of(f, g)
    self._rows = relaxation.Rows.of(self._pair)
    self.unfinished: set[str] = set()

  def ways(self) -> dict[str, Callable[[], float]]:
    """Each gives seconds."""
    return {"decide": self._decide, "largest_difference": self._largest,
            "tight": lambda: self._solve("tight"),
            "naive": lambda: self._solve("naive")}

  def _decide(self) -> float:
    found = decide(self._f, self._g, self._box, 1e-9, _LIMIT)
    if isinstance(found, Undecided):
      self.unfinished.add("decide")
    return found.seconds

  def _largest(self) -> float:
    found = largest_difference(
        self._f, self._g, self._box, _LIMIT, enough=1e-9)
    if found.upper > max(1e-9, 1.0011 * float(found.lower)):
      self.unfinished.add("largest_difference")
    return found.seconds

  def _solve(self, way: str) -> float:
    start = time.perf_counter()
    ranges = backward.tightened(self._pair, self._box.low, self._box.high)
    if way == "tight":
      ranges = relaxation.propagated(
          self._pair, self._rows, ranges, self._box.low, self._box.high,
          lambda: time.perf_counter() - start > _LIMIT)
    else:
      ranges = milp.naive(ranges)
    claim = milp.maximise(
        self._pair, self._rows, ranges, self._box, self._pair.readout[:, 0],
        float(self._pair.offset[0]), _LIMIT - (time.perf_counter() - start))
    if not claim.is_optimal:
      self.unfinished.add(way)
    return time.perf_counter() - start


def main() -> None:
  args = timing.arguments(__doc__, rounds=3)
  sizes = [(3, 6, 1)] if args.quick else [(8, 16, 1), (10, 15, 15, 1)]
  header = ["seconds", "decide", "largest_difference", "solver, tight M",
            "solver, naive M"]
  rows = []
  for size in sizes:
    rng = np.random.default_rng(0)
    f = _network(size, rng)
    for name, g in (("one weight moved", _moved(f)),
                    ("exchanged and scaled", _shuffled(f, rng)),
                    ("another network", _network(size, rng))):
      contest = Contest(f, g)
      seconds = timing.in_turns(contest.ways(), args.rounds)
      shape = "-".join(map(str, size))
      rows.append([f"{shape}, {name}", *(
          timing.spread(figures, ".3g") + "*" * (way in contest.unfinished)
          for way, figures in seconds.items())])
  args.folder = "results"
  timing.publish(
      args, "Equality of ReLU networks", timing.table(header, rows))


if __name__ == "__main__":
  main()
