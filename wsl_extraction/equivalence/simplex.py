"""Linear programs that change little, solved again and again by HiGHS.

Nothing that the solver says is believed: of its answers an input is evaluated,
and multipliers go into `Program.bounded`, which makes a bound of any.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import highspy
import numpy as np

from wsl_extraction.equivalence.program import Program

_STATUS = highspy.HighsModelStatus


@dataclasses.dataclass(frozen=True)
class Solved:
  """The solver's answer.

  Attributes:
    values: The variables, [n], or None.
    duals: Multipliers of the rows, [m].
    is_ray: Whether these show that there is no solution, in any multiple.
  """

  values: np.ndarray | None
  duals: np.ndarray
  is_ray: bool = False


class _Silent(highspy.Highs):
  """A solver that never prints: enabling callbacks shows a banner."""

  def enableCallbacks(self):
    self.silent()


class Simplex:
  """One program, to be maximised in turn for several goals and regions.

  Attributes:
    solves: How many programs were solved.
  """

  def __init__(self, program: Program):
    self._program = program
    self.solves = 0
    self._every = np.arange(len(program.low), dtype=np.int32)
    self._solver = _Silent()
    for name, value in (
        ("output_flag", False), ("presolve", "off"), ("solver", "simplex"),
        ("threads", 1), ("dual_feasibility_tolerance", 1e-9),
        ("primal_feasibility_tolerance", 1e-9)):
      self._solver.setOptionValue(name, value)
    self._solver.passModel(_model(program))

  def aim(self, costs: np.ndarray) -> None:
    """Sets the goal: maximise costs . v."""
    self._solver.changeColsCost(len(self._every), self._every, -costs)

  def confine(self, places: np.ndarray, low: np.ndarray,
              high: np.ndarray) -> None:
    """Sets the box of some variables."""
    self._solver.changeColsBounds(
        len(places), places.astype(np.int32), low, high)

  def solve(self, seconds: float, cutoff: float = -np.inf) -> Solved | None:
    """Solves it as it is now.

    Args:
      seconds: When to give up.
      cutoff: A largest value that is below this need not be known exactly.

    Returns:
      None where the solver gave nothing of use.
    """
    self.solves += 1
    solver: Any = self._solver  # whose stubs leave some methods out
    solver.setOptionValue("time_limit", solver.getRunTime() + max(
        seconds, 1e-3))
    solver.setOptionValue("objective_bound", -cutoff)
    solver.run()
    status = solver.getModelStatus()
    if status == _STATUS.kInfeasible:
      # highspy's stubs do not name what it has from its C++ class.
      _, is_there, ray = solver.getDualRay()
      return Solved(None, -np.asarray(ray), True) if is_there else None
    if status not in (_STATUS.kOptimal, _STATUS.kObjectiveBound):
      return None
    solution = solver.getSolution()
    values = np.asarray(solution.col_value)
    duals = -np.asarray(solution.row_dual)
    if not (np.isfinite(duals).all() and np.isfinite(values).all()):
      return None
    return Solved(values if status == _STATUS.kOptimal else None, duals)


def _model(program: Program) -> highspy.HighsLp:
  model = highspy.HighsLp()
  rows, columns = program.matrix.shape
  model.num_row_, model.num_col_ = rows, columns
  model.col_cost_ = np.zeros(columns)
  model.col_lower_, model.col_upper_ = program.low, program.high
  model.row_lower_ = np.where(
      np.isfinite(program.lower), program.lower, -highspy.kHighsInf)
  model.row_upper_ = np.where(
      np.isfinite(program.upper), program.upper, highspy.kHighsInf)
  by_row, by_column = np.nonzero(program.matrix)
  model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
  model.a_matrix_.start_ = np.searchsorted(
      by_row, np.arange(rows + 1)).astype(np.int32)
  model.a_matrix_.index_ = by_column.astype(np.int32)
  model.a_matrix_.value_ = program.matrix[by_row, by_column]
  return model
