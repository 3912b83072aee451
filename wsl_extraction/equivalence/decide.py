"""Decision of the equality of two ReLU networks, with proof.

What is proved is a statement on two functions of real numbers, those with the
stored float64 weights in exact arithmetic. The answers that a device computes
with these weights differ from them by its own rounding, which is not bounded
here.

What is trusted, and nothing else: `ReluNetwork.exact`, which evaluates in whole
numbers of any size; `bounds`, `backward`, `matching`, `twins` and the error of
`enumeration`, which bound the rounding of all they compute; the rows of a
`program` and the bound that it makes of multipliers; and the bookkeeping of
`branch_and_bound`. The linear programs of HiGHS propose inputs, which are then
evaluated exactly, and multipliers, of which any give a bound. Numbers beyond
float64, which overflow somewhere on the way, leave a bound infinite.

References:
  Jagielski et al. 2020, section 3.3, Theorem 2 (NP-hard, so time may run out).
  Tjeng, Xiao, Tedrake. Evaluating Robustness of Neural Networks with Mixed
    Integer Programming. ICLR 2019 (the program, and tight big M).
"""

from __future__ import annotations

import dataclasses
import fractions
import math

import numpy as np

from wsl_extraction.equivalence.clock import Clock, Report, as_float
from wsl_extraction.equivalence.comparison import Comparison
from wsl_extraction.equivalence.domains import Domain
from wsl_extraction.errors import InputError
from wsl_extraction.networks.relu_network import ReluNetwork

# What overflows is no error: it ends in an infinite bound.
quiet = np.errstate(over="ignore", under="ignore", invalid="ignore",
                    divide="ignore")


@dataclasses.dataclass(frozen=True)
class Equal:
  """The networks are equal up to the tolerance.

  Attributes:
    bound: Proved: no |f - g| on the domain is above it.
    seconds: What it took.
  """

  bound: float
  seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Different:
  """The networks differ by more than the tolerance.

  Attributes:
    inputs: Where, [d]; the best that was met, mostly not the best there is.
    difference: |f - g| there, the largest of all outputs, exactly.
    seconds: What it took.
  """

  inputs: np.ndarray
  difference: fractions.Fraction
  seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Undecided:
  """Time ran out, or the tolerance is finer than float64's rounding.

  Attributes:
    inputs: The best input met, [d].
    lower: |f - g| there, exactly; at most the tolerance.
    upper: Proved: no |f - g| is above it; infinite if nothing is known.
    seconds: What it took.
  """

  inputs: np.ndarray
  lower: fractions.Fraction
  upper: float
  seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Largest:
  """The largest |f - g| of all outputs on the domain.

  Attributes:
    inputs: Where it is at least `lower`, [d].
    lower: |f - g| there, exactly.
    upper: Proved: it is at most this; infinite if nothing is known.
    seconds: What it took.
  """

  inputs: np.ndarray
  lower: fractions.Fraction
  upper: float
  seconds: float


@quiet
def decide(f: ReluNetwork, g: ReluNetwork, domain: Domain,
           tolerance: float = 0.0, time_limit: float = 60.0, *,
           seed: int = 0, report: Report | None = None
           ) -> Equal | Different | Undecided:
  """Decides whether |f - g| <= tolerance everywhere on the domain.

  Networks that are one up to the order of their hidden units are equal with
  bound 0, those that are scaled too, with one near float64's rounding, at once
  and however large. What else is equal takes exponential time in general, as it
  must.

  Args:
    f: A network.
    g: Another of the same input and output sizes.
    domain: A box, or the corners of the unit cube.
    tolerance: 0 or more. What is finer than float64 tells the outputs apart,
      2^-46 of the largest, is mostly left undecided.
    time_limit: Seconds; kept to within the slowest single step, for networks of
      a million weights an exact evaluation of half a second.
    seed: Of the samples with which the search for a difference begins.
    report: Called with the best lower and upper bound, about once a second.

  Raises:
    InputError: The sizes differ, or the tolerance or the limit cannot be.
  """
  if not (isinstance(tolerance, (int, float, fractions.Fraction))
          and 0 <= tolerance < math.inf):
    raise InputError(f"the tolerance is {tolerance!r}; give 0 or more")
  clock = Clock(time_limit, report)
  limit = as_float(fractions.Fraction(tolerance))
  known = Comparison(f, g, domain, clock)
  if known.upper.max() > tolerance:
    known.glance(seed)
    if known.lower > tolerance:
      known.climb(seed)  # for a difference worth showing
    else:
      known.prove(lambda _: limit, limit)
  known.check()
  if known.lower > tolerance:
    return Different(known.best_inputs, known.lower, clock.seconds)
  if known.upper.max() <= tolerance:
    return Equal(float(known.upper.max()), clock.seconds)
  return Undecided(known.best_inputs, known.lower, float(known.upper.max()),
                   clock.seconds)


@quiet
def largest_difference(f: ReluNetwork, g: ReluNetwork, domain: Domain,
                       time_limit: float = 60.0, *, gap: float = 1e-3,
                       enough: float = 0.0, seed: int = 0,
                       report: Report | None = None) -> Largest:
  """Bounds the largest |f - g| of all outputs on the domain from both sides.

  Args:
    f: A network.
    g: Another of the same input and output sizes.
    domain: A box, or the corners of the unit cube.
    time_limit: Seconds; kept to within the slowest single step.
    gap: Stops when the bounds are this close, relative to the upper one, or
      closer than float64 tells the outputs apart.
    enough: An upper bound that needs no improvement: 1e-9, say, for copies up
      to rounding.
    seed: Of the samples with which the search begins.
    report: Called with the best lower and upper bound, about once a second.

  Raises:
    InputError: The sizes differ, or gap or limit cannot be.
  """
  if not 0 <= gap < 1 or not 0 <= enough < math.inf:
    raise InputError(f"gap is {gap!r} and enough {enough!r}; give a share from "
                     "0 to below 1, and a difference, 0 or more")
  clock = Clock(time_limit, report)
  known = Comparison(f, g, domain, clock)

  def good_enough(value: float) -> float:
    return max(value / (1 - gap), enough)

  # An input is wanted in any case; a good one only if it decides something.
  known.glance(seed)
  if known.upper.max() > good_enough(known.value):
    known.climb(seed, samples=4_000, rounds=10)
    known.prove(good_enough, math.inf)
  known.check()
  return Largest(known.best_inputs, known.lower, float(known.upper.max()),
                 clock.seconds)
