"""Equality of ReLU networks: proved, and by a mixed-integer program alone.

60 random pairs on the unit cube, 2 to 6 layers, 3 to 6 inputs, 1 or 2 outputs,
hidden layers of 4 to 16 units, fewer where there are more layers. A third are
strangers; of the others g is f with noise on all weights, or with one weight
moved, by 10^U(-6, -1.5). `largest_difference` bounds the largest |f - g| to
0.1%; `decide` is asked whether |f - g| is above 1% more than that, which has to
be proved, and above 1% less, which has to be found. All answers are proved
outside of the solver. Beside them HiGHS (scipy's `milp`) maximises f - g and
g - f for each output, to 0.1% as well, with big M from the same proved ranges;
what it says is floating point and proves nothing. Figures are CPU seconds of
one core.
"""

from __future__ import annotations

import dataclasses
import itertools
import time

import numpy as np
import timing

from wsl_extraction.equivalence import backward, bounds, milp
from wsl_extraction.equivalence.decide import (
    Different,
    Equal,
    decide,
    largest_difference,
)
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.networks.relu_network import ReluNetwork

_LIMIT, _GAP = 60.0, 1e-3
_WAYS = ("largest_difference", "decide equal", "decide different")
# Hidden widths, from and to, for each number of layers.
_WIDTHS = {2: (10, 16), 3: (6, 10), 4: (5, 7), 5: (4, 6), 6: (4, 5)}


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two networks, and how they were made."""

  kind: str
  layers: int
  f: ReluNetwork
  g: ReluNetwork

  @property
  def box(self) -> Box:
    return Box.unit(self.f.dimension)


def pairs(count: int) -> list[Pair]:
  """The first of the pairs, from seeds (0, 0), (0, 1) and so on."""
  return [_pair(place) for place in range(count)]


def _pair(place: int) -> Pair:
  rng = np.random.default_rng([0, place])
  layers = 2 + place % 5
  low, high = _WIDTHS[layers]
  sizes = (int(rng.integers(3, 7)),
           *rng.integers(low, high + 1, layers - 1).tolist(),
           int(rng.integers(1, 3)))
  f, size = _network(sizes, rng), 10.0 ** rng.uniform(-6, -1.5)
  kind = ("strangers", "noise", "one weight")[place // 5 % 3]
  weights = [matrix.copy() for matrix in f.weights]
  if kind == "strangers":
    return Pair(kind, layers, f, _network(sizes, rng))
  if kind == "one weight":
    moved = weights[rng.integers(layers)]
    moved.flat[rng.integers(moved.size)] += size
    return Pair(kind, layers, f, ReluNetwork(weights, f.biases))
  weights, biases = (
      [array + size * rng.normal(size=array.shape) for array in arrays]
      for arrays in (weights, f.biases))
  return Pair(kind, layers, f, ReluNetwork(weights, biases))


def _network(sizes: tuple[int, ...], rng: np.random.Generator) -> ReluNetwork:
  shapes = list(itertools.pairwise(sizes))
  return ReluNetwork(
      [1.2 * rng.normal(size=shape) / np.sqrt(shape[0]) for shape in shapes],
      [0.3 * rng.normal(size=outputs) for _, outputs in shapes])


class Contest:
  """CPU seconds of all ways on one pair, and what was not finished."""

  def __init__(self, pair: Pair):
    self.unfinished: list[str] = []
    self.seconds: dict[str, float] = {}
    f, g, box = pair.f, pair.g, pair.box
    largest = self._timed(_WAYS[0], lambda: largest_difference(
        f, g, box, _LIMIT, gap=_GAP))
    size = float(largest.lower)
    if largest.upper > max(size / (1 - _GAP), size + 1e-12):
      self.unfinished.append(_WAYS[0])
    for way, share, kind in zip(
        _WAYS[1:], (1.01, 0.99), (Equal, Different), strict=True):
      tolerance = share * (largest.upper if share > 1 else size)
      answer = self._timed(way, lambda tolerance=tolerance: decide(
          f, g, box, tolerance, _LIMIT))
      # Networks that are equal cannot be told to differ.
      if not isinstance(answer, kind) and size > 0:
        self.unfinished.append(way)
    claims = self._timed("HiGHS", lambda: self._claims(pair))
    if not all(claim.is_optimal for claim in claims):
      self.unfinished.append("HiGHS")
    claimed = max(claim.bound for claim in claims)
    self.is_off = not (size * (1 - _GAP) <= claimed
                       <= largest.upper * (1 + _GAP))

  def _timed(self, way, work):
    start = time.process_time()
    result = work()
    self.seconds[way] = time.process_time() - start
    return result

  def _claims(self, pair: Pair) -> list[milp.Claim]:
    both, box = bounds.Pair.of(pair.f, pair.g), pair.box
    ranges = backward.tightened(both, box.low, box.high)
    rows = milp.Rows.of(both)
    return [milp.maximise(
        both, rows, ranges, box, sign * both.readout[:, output],
        float(sign * both.offset[output]), _LIMIT, _GAP)
        for output in range(pair.f.outputs) for sign in (1.0, -1.0)]


def _row(name: str, contests: list[Contest]) -> list[str]:
  alone = np.array([contest.seconds["HiGHS"] for contest in contests])
  cells = [name, str(len(contests)), f"{alone.sum():.3g}"]
  for way in _WAYS:
    own = np.array([contest.seconds[way] for contest in contests])
    cells.append(f"{own.sum() / alone.sum():.2f} ("
                 f"{np.median(own / alone):.2f}, {(own / alone).max():.2f})")
  return cells


def main() -> None:
  args = timing.arguments(__doc__, rounds=1)
  chosen = pairs(3 if args.quick else 60)
  Contest(chosen[0])  # imports are no part of the figures
  contests = [Contest(pair) for pair in chosen]
  header = ["", "pairs", "HiGHS alone, s", *(f"{way}, ratio" for way in _WAYS)]
  rows = []
  for name, label in (
      *((kind, lambda pair: pair.kind)
        for kind in ("strangers", "noise", "one weight")),
      *((f"{layers} layers", lambda pair: f"{pair.layers} layers")
        for layers in _WIDTHS), ("all", lambda pair: "all")):
    own = [contest for contest, pair in zip(contests, chosen, strict=True)
           if label(pair) == name]
    if own:
      rows.append(_row(name, own))
  unfinished = [f"{way}: {sum(way in one.unfinished for one in contests)}"
                for way in (*_WAYS, "HiGHS")]
  off = sum(contest.is_off for contest in contests)
  args.folder = "results"
  args.figures = ("CPU seconds of one run; ratios to HiGHS alone: of the sums "
                  "(median over pairs, largest)")
  timing.publish(
      args, "Equality of ReLU networks", timing.table(header, rows),
      f"Not finished within {_LIMIT:g} s: {', '.join(unfinished)}. The value "
      "that HiGHS alone claims lies outside of the proved bounds, by more than "
      f"0.1%, for {off} of {len(contests)} pairs.")


if __name__ == "__main__":
  main()
