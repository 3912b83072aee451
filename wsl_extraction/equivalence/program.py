"""A difference of two networks as rows of a mixed-integer linear program.

Variables are the inputs x, the outputs p of hidden units, the differences e of
twins (see `twins`) and, for each unit whose sign is not known, a binary b that
tells whether it is on. A region of the domain is a box of these variables: some
binaries are fixed. With l <= z <= u for the unit's input z, h = max(0, z) obeys

  h >= z    h <= z - l (1 - b)    h <= u b

and the difference e = q - r p of twins, with l <= D <= u for D = z_q - r z_p,
l' = min(l, 0) and u' = max(u, 0),

  l' b_p <= e <= u' b_q    D - u' (1 - b_p) <= e <= D - l' (1 - b_q)

each of which is checked in the four cases of the two signs. Right sides are
rounded outwards and hold what coefficients have lost.

Any multipliers y of the rows bound the goal c v over a region, by weak duality:

  c v = y A v + (c - y A) v <= sum_i max(y_i lower_i, y_i upper_i)
                               + sum_j max(r_j low_j, r_j high_j),  r = c - y A

with the rounding of each sum added (`bounds.gamma`). Columns and rows are
scaled by powers of two, which rounds nothing; where a number would leave the
range of float64 there is no program.

References:
  Neumaier, Shcherbina. Safe Bounds in Linear and Mixed-Integer Linear
    Programming. Mathematical Programming 99, 2004.
  Tjeng, Xiao, Tedrake. Evaluating Robustness of Neural Networks with Mixed
    Integer Programming. ICLR 2019 (the three rows of a unit).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.equivalence.bounds import TINY, gamma, underflow


@dataclasses.dataclass(frozen=True, eq=False)
class Goal:
  """A linear goal c v + constant, to be maximised, in scaled variables.

  Attributes:
    costs: c, [n].
    constant: Added to what `bounded` gives, rounded up.
    scale: What the value of c v is multiplied by, a power of two.
  """

  costs: np.ndarray
  constant: float
  scale: float

  def scaled(self, value: float) -> float:
    """The c v at which the goal has about this value."""
    return float((value - self.constant) * self.scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
  """Rows lower <= A v <= upper and a box, all scaled.

  Attributes:
    matrix: A, [m, n].
    lower: [m], minus infinity for none.
    upper: [m], infinity for none.
    low: The box, [n].
    high: [n].
    scales: What a variable has to be multiplied by to be what it stands for,
      powers of two, [n].
  """

  matrix: np.ndarray
  lower: np.ndarray
  upper: np.ndarray
  low: np.ndarray
  high: np.ndarray
  scales: np.ndarray
  absolute: np.ndarray = dataclasses.field(init=False)

  def __post_init__(self):
    object.__setattr__(self, "absolute", np.abs(self.matrix))

  def goal(self, places: np.ndarray, coefficients: np.ndarray,
           doubt: float, constant: float) -> Goal | None:
    """A goal of some variables; None where its numbers leave float64's range.

    Args:
      places: Of the variables, [k].
      coefficients: Of the variables as they are, [k].
      doubt: The most that the rounding of coefficients changes.
      constant: Is added.
    """
    costs = np.zeros(len(self.low))
    exact = coefficients * self.scales[places]
    largest = np.abs(exact).max(initial=0)
    if not np.isfinite(largest):
      return None
    scale = float(power(1 / largest)) if largest > 1e-290 else 1.0
    costs[places] = exact * scale
    if not _is_exact(coefficients, costs[places] / scale
                     / self.scales[places]):
      return None
    return Goal(costs, up(constant + doubt), scale)

  def residual(self, costs: np.ndarray, duals: np.ndarray
               ) -> tuple[np.ndarray, float]:
    """c - y A, [n], and a bound on all but what depends on the region.

    Args:
      costs: c, [n].
      duals: y, [m].
    """
    duals = np.where(duals > 0, np.where(np.isfinite(self.upper), duals, 0),
                     np.where(np.isfinite(self.lower), duals, 0))
    left = costs - duals @ self.matrix
    terms = len(duals) + 2
    lost = gamma(terms) * (np.abs(costs) + np.abs(duals) @ self.absolute)
    sides = duals * np.where(duals > 0, self.upper, np.where(
        duals < 0, self.lower, 0))
    # All scaled variables are at most 1 in size.
    value = sides.sum() + gamma(terms) * np.abs(sides).sum() + (
        lost + underflow(terms)).sum() * (1 + gamma(len(left)))
    return left, float(value)

  def bounded(self, residual: np.ndarray, value: float, low: np.ndarray,
              high: np.ndarray, goal: Goal) -> float:
    """No value of the goal in a region is above it; infinite if not known."""
    total = as_sums(residual, value, low, high)
    bound = up(total / goal.scale) + goal.constant
    return up(bound) if np.isfinite(bound) else np.inf


def as_sums(residual: np.ndarray, value: float, low: np.ndarray,
            high: np.ndarray) -> float:
  """value + residual . v is at most this for v in a box, [n] each."""
  ends = np.maximum(residual * low, residual * high)
  return float(value + ends.sum() + gamma(len(ends) + 2) * (
      abs(value) + np.abs(ends).sum()) + TINY)


class Builder:
  """Collects columns and rows; `program` scales them."""

  def __init__(self):
    self.low: list[float] = []
    self.high: list[float] = []
    self._rows: list[tuple[np.ndarray, np.ndarray, float, float]] = []

  def columns(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Adds variables; gives their places [k]."""
    start = len(self.low)
    self.low += low.tolist()
    self.high += high.tolist()
    return np.arange(start, len(self.low))

  def row(self, places: np.ndarray, values: np.ndarray,
          lower: float = -np.inf, upper: float = np.inf) -> None:
    """Adds lower <= values . v[places] <= upper; a place may occur once."""
    self._rows.append((places, values, lower, upper))

  @property
  def rows(self) -> int:
    """The number of rows so far."""
    return len(self._rows)

  @property
  def size(self) -> int:
    """The number of coefficients of the matrix."""
    return len(self._rows) * len(self.low)

  def program(self) -> Program | None:
    """All that was added; None where a number would not be exact."""
    low, high = np.array(self.low), np.array(self.high)
    sizes = np.maximum(np.abs(low), np.abs(high))
    if not np.isfinite(sizes).all() or sizes.max(initial=0) > 1e200:
      return None
    scales = power(np.where(sizes > 1e-200, sizes, 1.0))
    scales = np.where(scales < sizes, 2 * scales, scales)
    matrix = np.zeros((len(self._rows), len(low)))
    lower, upper = (np.array([row[side] for row in self._rows])
                    for side in (2, 3))
    for place, (places, values, _, _) in enumerate(self._rows):
      scaled = values * scales[places]
      largest = np.abs(scaled).max(initial=0)
      if not 1e-250 < largest < 1e250:
        return None
      factor = power(1 / largest)
      matrix[place, places] = scaled * factor
      if not _is_exact(values, matrix[place, places] / factor
                       / scales[places]):
        return None
      lower[place] = down(lower[place] * factor)
      upper[place] = up(upper[place] * factor)
    low, high = (np.where(side / scales * scales == side, side / scales,
                          np.nextafter(side / scales, way))
                 for side, way in ((low, -np.inf), (high, np.inf)))
    return Program(matrix, lower, upper, low, high, scales)


def power(number: np.ndarray | float) -> np.ndarray:
  """The largest power of two that is at most a positive number."""
  return np.ldexp(0.5, np.frexp(number)[1])


def up(number: float) -> float:
  """The next float: at least what was rounded to this one."""
  return float(np.nextafter(number, np.inf))


def down(number: float) -> float:
  """The float before."""
  return float(np.nextafter(number, -np.inf))


def _is_exact(numbers: np.ndarray, back: np.ndarray) -> bool:
  return bool((numbers == back).all())
