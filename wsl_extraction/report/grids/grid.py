"""A grid of runs: rows by columns by seeds, one run folder each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid_runs
from wsl_extraction.report.grids.grid_runs import Cell, GinSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
  """The rows, columns, seeds and comparisons of a table.

  Settings are a string or a list of strings: what ends in ".gin" is a gin
  file, anything else a binding. A cell reads the files of the grid, of its row
  and of its column, then the bindings in the same order, then the seed. Later
  ones win.

  Attributes:
    caption: Says what was run on what.
    methods: The name of each row and its settings.
    seeds: Every cell is the mean over these.
    budgets: The columns: queries, which bind Experiment.budget.
    columns: In their place: the name of each column and its settings.
    settings: Of all runs.
    figures: What is shown: accuracy_top1, accuracy_top5, fidelity_top1,
      fidelity_top5.
    paper: For each row, or for some, the published figures: a cell in the
      order of the columns is a number in % for each of `figures`, or None.
    comparisons: Pairs to be subtracted seed by seed. Two rows are compared in
      every column, two columns in every row, and of two pairs (row, column),
      or (row, budget), the cells.
    excluded: Pairs (row, column) that are left out, as the paper leaves them.
    overrides: Settings of all runs, read after all others but the seed.
    fidelity_goal: The top-1 fidelity, in %, that counts as copied. The table
      ends with the budget at which each row reaches it.
  """

  caption: str
  methods: Mapping[str, Any]
  seeds: Sequence[int]
  budgets: Sequence[int] = ()
  columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  settings: Any = ()
  figures: Sequence[str] = ("accuracy_top1", "fidelity_top1")
  paper: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
  comparisons: Sequence[Any] = ()
  excluded: Sequence[Any] = ()
  overrides: Any = ()
  fidelity_goal: float | None = None

  def __post_init__(self):
    if not isinstance(self.caption, str):
      raise InputError(f"Grid.caption is {self.caption!r}; give a sentence")
    grid_runs.checked_seeds("Grid.seeds", self.seeds)
    grid_runs.checked_figures("Grid.figures", self.figures)
    _check_names("Grid.methods", self.methods)
    self._check_columns()
    if not self.cells:
      raise InputError("Grid.excluded leaves no cell; give fewer")
    _check_paper(self)
    _ = self.pairs
    checks.number("Grid.fidelity_goal", self.fidelity_goal, 0, 100,
                  optional=True)
    if self.fidelity_goal is not None and not (
        self.budgets and "fidelity_top1" in self.figures):
      raise InputError(
          f"Grid.fidelity_goal is {self.fidelity_goal:g}, which asks for a "
          "budget: give Grid.budgets in place of columns, and fidelity_top1 "
          "among Grid.figures")

  def _check_columns(self):
    if bool(self.budgets) == bool(self.columns):
      raise InputError("a grid has either Grid.budgets or Grid.columns; give "
                       "one of them")
    _check_names("Grid.columns", self.columns, least=0)
    budgets = self.budgets
    if not isinstance(budgets, Sequence) or (
        len(set(budgets)) != len(budgets)) or not all(
            type(number) is int and number >= 1 for number in budgets):
      raise InputError(f"Grid.budgets is {budgets!r}; give a list of whole "
                       "numbers from 1 on, each once")

  @functools.cached_property
  def rows(self) -> tuple[str, ...]:
    """The names of the rows."""
    return tuple(self.methods)

  @functools.cached_property
  def queries(self) -> dict[str, int]:
    """The budget of each column, {} where columns are something else."""
    return {_queries(budget): budget for budget in self.budgets}

  @functools.cached_property
  def headings(self) -> tuple[str, ...]:
    """The names of the columns."""
    return tuple(self.queries or self.columns)

  @functools.cached_property
  def left_out(self) -> frozenset[tuple[str, str]]:
    """The pairs (row, column) that are no cells."""
    return frozenset(
        self._place("Grid.excluded", pair) for pair in self.excluded)

  @functools.cached_property
  def cells(self) -> tuple[Cell, ...]:
    """The cells that there are, row by row."""
    return tuple(
        self._cell(row, column) for row in self.rows for column in self.headings
        if (row, column) not in self.left_out)

  def cell(self, row: str, column: str) -> Cell | None:
    """The cell at a place, None where it is left out."""
    return self._at.get((row, column))

  @functools.cached_property
  def _at(self) -> dict[tuple[str, str], Cell]:
    return {(cell.row, cell.column): cell for cell in self.cells}

  def published(self, cell: Cell) -> tuple[float, ...] | None:
    """The paper's figures for a cell, in % and in the order of `figures`."""
    if cell.row not in self.paper:
      return None
    return self.paper[cell.row][self.headings.index(cell.column)]

  @functools.cached_property
  def pairs(self) -> tuple[tuple[str, Cell, Cell], ...]:
    """The comparisons: a name, the cell, and the cell to subtract."""
    return tuple(pair for comparison in self.comparisons
                 for pair in self._compared(comparison))

  def _cell(self, row: str, column: str) -> Cell:
    settings = GinSettings.parse("Grid.settings", self.settings)
    settings += GinSettings.parse(f"row {row!r}", self.methods[row])
    if column in self.queries:
      budget = self.queries[column]
      settings += GinSettings(bindings=(f"Experiment.budget = {budget}",))
      place = f"budget_{budget}"
    else:
      settings += GinSettings.parse(f"column {column!r}", self.columns[column])
      place = grid_runs.folder_name(column)
    settings += GinSettings.parse("Grid.overrides", self.overrides)
    if not settings.files:
      raise InputError(f"the cell {row!r}, {column!r} has no gin file; name "
                       "one in its row, its column or Grid.settings")
    return Cell(row, column, settings, f"{grid_runs.folder_name(row)}/{place}")

  def _compared(self, comparison: Any) -> list[tuple[str, Cell, Cell]]:
    if isinstance(comparison, str) or not isinstance(comparison, Sequence) or (
        len(comparison) != 2 or comparison[0] == comparison[1]):
      raise InputError(f"Grid.comparisons has {comparison!r}; give a pair of "
                       "two rows, two columns, or two pairs (row, column)")
    first, second = comparison
    if set(comparison) <= set(self.rows):
      places = [(f"{first} minus {second}, {column}", (first, column),
                 (second, column)) for column in self.headings]
    elif set(comparison) <= set(self.headings):
      places = [(f"{row}: {first} minus {second}", (row, first), (row, second))
                for row in self.rows]
    else:
      ends = [self._place("Grid.comparisons", end) for end in comparison]
      name = " minus ".join(f"{row}, {column}" for row, column in ends)
      for end in ends:
        self._refuse_left_out("Grid.comparisons", *end)
      places = [(name, *ends)]
    return [(name, self._at[a], self._at[b]) for name, a, b in places
            if a in self._at and b in self._at]

  def _refuse_left_out(self, where: str, row: str, column: str) -> None:
    if (row, column) in self.left_out:
      raise InputError(f"{where} has the cell {row!r}, {column}, which "
                       "Grid.excluded leaves out; mend one of them")

  def _place(self, where: str, pair: Any) -> tuple[str, str]:
    """Reads a pair (row, column), the column as a name or as a budget."""
    if isinstance(pair, str) or not isinstance(pair, Sequence) or (
        len(pair) != 2):
      raise InputError(f"{where} has {pair!r}; give a pair (row, column) with "
                       f"a row of {_listed(self.rows)}")
    row, column = pair
    column = _queries(column) if type(column) is int else column
    if row not in self.rows:
      raise InputError(f"{where} has the row {row!r}, which is none of "
                       f"{_listed(self.rows)}; mend the table file")
    if column not in self.headings:
      raise InputError(f"{where} has the column {column!r}, which is none of "
                       f"{_listed(self.headings)}; mend the table file")
    return row, column


def _check_names(where: str, named: Any, least: int = 1) -> None:
  if not isinstance(named, Mapping) or len(named) < least or not all(
      isinstance(name, str) and name for name in named):
    raise InputError(f"{where} is {named!r}; give {{name: settings}}, at least "
                     "one")
  grid_runs.refuse_shared_folders(where, named)


def _check_paper(grid: Grid) -> None:
  """Raises InputError unless there is a cell of figures for every column."""
  if not isinstance(grid.paper, Mapping):
    raise InputError(f"Grid.paper is {grid.paper!r}; give {{row: cells}}")
  for row, published in grid.paper.items():
    if row not in grid.rows:
      raise InputError(f"Grid.paper has the row {row!r}, which is none of "
                       f"{_listed(grid.rows)}; mend the table file")
    if not isinstance(published, Sequence) or (
        len(published) != len(grid.headings)):
      count = len(published) if isinstance(published, Sequence) else "no"
      raise InputError(f"Grid.paper has {count} cells for {row!r}; give "
                       f"{len(grid.headings)}, one a column, None where the "
                       "paper has none")
    for column, cell in zip(grid.headings, published, strict=True):
      _check_published(grid, row, column, cell)


def _check_published(grid: Grid, row: str, column: str, cell: Any) -> None:
  if cell is None:
    return
  grid._refuse_left_out("Grid.paper", row, column)
  if not isinstance(cell, Sequence) or len(cell) != len(grid.figures) or any(
      type(value) not in (int, float) or not 0 <= value <= 100
      for value in cell):
    raise InputError(
        f"Grid.paper has {cell!r} for {row!r}, {column}; give a number from 0 "
        f"to 100 for each of {_listed(grid.figures)}, or None")


def _queries(budget: int) -> str:
  return f"{budget:,} {'query' if budget == 1 else 'queries'}"


def _listed(names: Sequence[str]) -> str:
  return ", ".join(names)
