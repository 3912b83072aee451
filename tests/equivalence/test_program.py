"""The rows hold at every input, and any multipliers bound what they should.

Held against fractions: no float64 is computed on the way to what is expected.
"""

from __future__ import annotations

import fractions

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fixtures.relu_networks import network, shuffled
from wsl_extraction.equivalence import backward, bounds
from wsl_extraction.equivalence.branch_and_bound import Tree
from wsl_extraction.equivalence.domains import Box
from wsl_extraction.equivalence.encoding import Encoder, Encoding
from wsl_extraction.equivalence.simplex import Simplex, Solved
from wsl_extraction.networks.relu_network import ReluNetwork

SEEDS = st.integers(0, 2**32 - 1)
SCALES = [1.0, 1e-6, 1e5]
_as_fractions = np.vectorize(fractions.Fraction, otypes=[object])


def pair_of(rng, noise, scale=1.0):
  """Two networks that are strangers, or one and a noisy copy; and a box."""
  sizes = [(2, 4, 1), (3, 5, 4, 2), (1, 3, 3, 3, 1)][rng.integers(3)]
  f = network(sizes, rng)
  f = ReluNetwork([w * scale for w in f.weights], f.biases)
  g = network(sizes, rng) if noise is None else shuffled(
      f, rng, noise, rng.choice([1.0, 10.0]))
  corner = rng.normal(size=sizes[0])
  return bounds.Pair.of(f, g), Box(corner, corner + rng.uniform(
      0, 2, sizes[0]))


def encoded(pair, box, seconds=5.0) -> Encoding:
  ranges = backward.tightened(pair, box.low, box.high)
  encoding = Encoder(pair, ranges, box.low, box.high,
                     lambda: seconds).encoding()
  assert encoding is not None
  return encoding


def exact_variables(pair, encoding, row):
  """What each variable of the program is at an input, scaled; and f - g."""
  program = encoding.program
  values = np.full(len(program.low), fractions.Fraction(0), object)
  known = np.zeros(len(values), bool)
  hidden = _as_fractions(row)
  values[encoding.inputs], known[encoding.inputs] = hidden, True
  for matrix, bias, (layer, units) in zip(
      pair.weights, pair.biases, encoding.layers, strict=True):
    z = hidden @ _as_fractions(matrix) + _as_fractions(bias)
    hidden = np.where(z > 0, z, 0)
    for unit, place in enumerate(units.places):
      own, partner = hidden[unit], layer.partner[unit]
      if partner >= 0:
        own = own - fractions.Fraction(layer.ratio[unit]) * hidden[partner]
      if place >= 0:
        values[place], known[place] = own, True
      else:
        assert own == 0
      on = units.on[unit]
      if on >= 0:
        values[on], known[on] = fractions.Fraction(int(z[unit] > 0)), True
      else:
        assert (z[unit] >= 0) if units.is_on[unit] else (z[unit] <= 0)
  assert known.all()
  apart = hidden @ _as_fractions(pair.readout) + _as_fractions(pair.offset)
  return values / _as_fractions(program.scales), apart


@settings(max_examples=40)
@given(SEEDS, st.sampled_from([None, 0.0, 1e-9, 1e-2]),
       st.sampled_from(SCALES))
def test_rows_hold_and_multipliers_bound(seed, noise, scale):
  rng = np.random.default_rng(seed)
  pair, box = pair_of(rng, noise, scale)
  encoding = encoded(pair, box)
  program, matrix = encoding.program, _as_fractions(encoding.program.matrix)
  for row in np.vstack([box.sample(3, rng), box.low]):
    values, apart = exact_variables(pair, encoding, row)
    assert (values >= program.low).all()
    assert (values <= program.high).all()
    sums = matrix @ values
    assert (sums >= program.lower).all()
    assert (sums <= program.upper).all()
    # A region that holds the point, and multipliers that nobody computed.
    low, high = program.low.copy(), program.high.copy()
    fixed = encoding.binaries[rng.uniform(size=len(encoding.binaries)) < 0.5]
    low[fixed] = high[fixed] = values[fixed].astype(float)
    duals = rng.normal(size=len(matrix)) * 10.0 ** rng.integers(-3, 3)
    for output in range(pair.readout.shape[1]):
      for sign in (1, -1):
        goal = encoding.goal(output, float(sign))
        assert goal is not None
        bound = program.bounded(*program.residual(goal.costs, duals), low,
                                high, goal)
        assert sign * apart[output] <= bound


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([None, 1e-3]))
def test_tightened_ranges_contain_what_units_get(seed, noise):
  """Ranges are in the box: time for linear programs only makes it smaller."""
  rng = np.random.default_rng(seed)
  pair, box = pair_of(rng, noise)
  loose, tight = encoded(pair, box, 0.0), encoded(pair, box)
  for (_, wide), (_, narrow) in zip(loose.layers, tight.layers, strict=True):
    assert (narrow.low >= wide.low).all()
    assert (narrow.high <= wide.high).all()


def root(encoding, goal) -> Solved:
  simplex = Simplex(encoding.program)
  simplex.aim(goal.costs)
  solved = simplex.solve(10.0)
  assert solved is not None
  return solved


@pytest.mark.parametrize("noise", [None, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_the_value_of_the_program_by_scipy(seed, noise):
  rng = np.random.default_rng(seed)
  pair, box = pair_of(rng, noise)
  encoding = encoded(pair, box)
  program, goal = encoding.program, encoding.goal(0, 1.0)
  assert goal is not None
  solved = root(encoding, goal)
  bound = program.bounded(
      *program.residual(goal.costs, solved.duals), program.low, program.high,
      goal)
  limits = np.hstack([program.upper, -program.lower])
  is_limit = np.isfinite(limits)
  expected = optimize.linprog(
      -goal.costs, np.vstack([program.matrix, -program.matrix])[is_limit],
      limits[is_limit], bounds=np.column_stack([program.low, program.high]))
  value = -expected.fun / goal.scale + goal.constant
  assert bound == pytest.approx(value, rel=1e-7, abs=1e-9 / goal.scale)


def test_a_noisy_copy_is_close_at_the_root():
  """Side by side, without twins, the first bound is hundreds of times more."""
  rng = np.random.default_rng(0)
  f = network((4, 8, 8, 1), rng)
  pair = bounds.Pair.of(f, shuffled(f, rng, 1e-6, 1.0))
  encoding = encoded(pair, Box.unit(4))
  points = np.random.default_rng(1).uniform(size=(10_000, 4))
  largest = np.abs(pair.difference(points)).max()
  for sign in (1.0, -1.0):
    goal = encoding.goal(0, sign)
    assert goal is not None
    bound = encoding.program.bounded(
        *encoding.program.residual(goal.costs, root(encoding, goal).duals),
        encoding.program.low, encoding.program.high, goal)
    assert bound < 30 * largest


def test_a_solver_that_lies_does_no_harm(monkeypatch):
  """It costs time, never a wrong bound."""
  rng = np.random.default_rng(3)
  f, g = network((2, 5, 1), rng), network((2, 5, 1), rng)
  pair, box = bounds.Pair.of(f, g), Box.unit(2)
  points = rng.uniform(size=(10_000, 2))
  values = pair.difference(points)[:, 0]
  encoding = encoded(pair, box)
  rows, columns = encoding.program.matrix.shape
  lies = iter(range(10**9))

  def solve(*_):
    return Solved(
        [None, rng.uniform(size=columns)][next(lies) % 2],
        rng.normal(size=rows) * 100, bool(rng.integers(2)))

  monkeypatch.setattr(Simplex, "solve", solve)
  goal = encoding.goal(0, 1.0)
  assert goal is not None
  tree = Tree(encoding, Simplex(encoding.program), goal,
              lambda inputs: values.max())
  turns = iter(range(400))
  tree.run(lambda value: value + 1e-3, values.max(),
           lambda: float(next(turns, None) is not None))
  assert tree.upper >= values.max()


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_numbers_near_the_ends_of_float64_leave_no_program(scale):
  rng = np.random.default_rng(0)
  f = network((2, 3, 3, 1), rng)
  big = ReluNetwork([f.weights[0] * scale, *f.weights[1:]], f.biases)
  pair, box = bounds.Pair.of(f, big), Box([-1e9, -1e9], [1e9, 1e9])
  with np.errstate(all="ignore"):
    ranges = backward.tightened(pair, box.low, box.high)
    encoding = Encoder(
        pair, ranges, box.low, box.high, lambda: 1.0).encoding()
  # None, or one that holds; never an error.
  if encoding is not None:
    values, _ = exact_variables(pair, encoding, box.low)
    assert (_as_fractions(encoding.program.matrix) @ values
            <= encoding.program.upper).all()
