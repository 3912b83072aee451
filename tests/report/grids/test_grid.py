"""What a table file describes: rows, columns, the paper's cells."""

import pytest

from wsl_extraction.errors import InputError
from wsl_extraction.report.grids.grid import Grid
from wsl_extraction.report.grids.grid_runs import GinSettings

ROWS = {"FS": "fs.gin", "MM": ("mm.gin", "m.weight = 75")}


def grid(**changes):
  return Grid(**{"caption": "Digits.", "methods": ROWS, "seeds": (0, 1),
                 "budgets": (250, 4000)} | changes)


def test_budgets_are_columns():
  made = grid(settings=("all.gin", "s = 1"))
  assert made.rows == ("FS", "MM")
  assert made.headings == ("250 queries", "4,000 queries")
  assert made.queries == {"250 queries": 250, "4,000 queries": 4000}
  assert [cell.place for cell in made.cells] == [
      "FS/budget_250", "FS/budget_4000", "MM/budget_250", "MM/budget_4000"]
  assert made.cells[3].settings == GinSettings(
      ("all.gin", "mm.gin"),
      ("s = 1", "m.weight = 75", "Experiment.budget = 4000"))


def test_overrides_come_last():
  made = grid(settings="s = 1", overrides=("s = 2", "o = 3"))
  assert made.cells[3].settings.bindings == (
      "s = 1", "m.weight = 75", "Experiment.budget = 4000", "s = 2", "o = 3")


def test_columns_may_be_settings():
  made = grid(
      budgets=(), methods={"50, 10%": "depth = 50", "200, 10%": "depth = 200"},
      columns={"labels": "s.gin", "top-5": ("d.gin", "k = 5")},
      excluded=(("200, 10%", "labels"),))
  assert [str(cell) for cell in made.cells] == [
      "50, 10%, labels", "50, 10%, top-5", "200, 10%, top-5"]
  assert made.cells[1].settings == GinSettings(
    ("d.gin",), ("depth = 50", "k = 5")
  )
  assert made.cells[1].place == "50__10_/top_5"
  assert made.cell("200, 10%", "labels") is None
  assert made.cell("50, 10%", "labels") is made.cells[0]


def test_the_papers_cells_are_found_by_row_and_column():
  made = grid(paper={"MM": ((87.98, 88.79), None)})
  found = [made.published(cell) for cell in made.cells]
  assert found == [None, None, (87.98, 88.79), None]


def names(made):
  return [(name, str(a), str(b)) for name, a, b in made.pairs]


def test_comparisons_of_rows_columns_and_cells():
  rows = grid(comparisons=(("MM", "FS"),))
  assert names(rows) == [
      (f"MM minus FS, {column}", f"MM, {column}", f"FS, {column}")
      for column in ("250 queries", "4,000 queries")]
  columns = grid(comparisons=(("4,000 queries", "250 queries"),),
                 excluded=(("FS", 250),))
  assert names(columns) == [
      ("MM: 4,000 queries minus 250 queries", "MM, 4,000 queries",
       "MM, 250 queries")]
  cells = grid(comparisons=((("MM", 250), ("FS", "4,000 queries")),))
  assert names(cells) == [
      ("MM, 250 queries minus FS, 4,000 queries", "MM, 250 queries",
       "FS, 4,000 queries")]


@pytest.mark.parametrize("changes, said", [
    ({"caption": 3}, "Grid.caption is 3"),
    ({"methods": {}}, "Grid.methods is {}"),
    ({"methods": "a.gin"}, "Grid.methods is 'a.gin'"),
    ({"methods": {3: "a.gin"}}, "Grid.methods"),
    ({"methods": {"a b": "a.gin", "a_b": "b.gin"}}, "share the folder a_b"),
    ({"methods": {"a": "steps = 3"}}, "'a', '250 queries' has no gin file"),
    ({"methods": {"a": "steps"}}, "row 'a' has 'steps', neither"),
    ({"settings": 3}, "Grid.settings is 3"),
    ({"seeds": ()}, "Grid.seeds"),
    ({"budgets": ()}, "either Grid.budgets or Grid.columns"),
    ({"columns": {"a": "a.gin"}}, "either Grid.budgets or Grid.columns"),
    ({"budgets": (), "columns": {"a": 3}}, "column 'a' is 3"),
    ({"budgets": (0,)}, r"Grid.budgets is \(0,\)"),
    ({"budgets": (1, 1)}, "Grid.budgets"),
    ({"budgets": (2.5,)}, "Grid.budgets"),
    ({"budgets": "25"}, "Grid.budgets"),
    ({"figures": ("fidelity",)}, "Grid.figures"),
    ({"paper": ((1, 2),)}, "Grid.paper is"),
    ({"paper": {"mm": (None, None)}}, "row 'mm', which is none of FS, MM;"),
    ({"paper": {"MM": (None,)}}, "1 cells for 'MM'; give 2"),
    ({"paper": {"MM": 3}}, "no cells for 'MM'"),
    ({"paper": {"MM": (None, (87.0, 100.5))}},
     r"\(87.0, 100.5\) for 'MM', 4,000 queries; give a number from 0 to 100"),
    ({"paper": {"MM": (None, (87.0,))}}, r"\(87.0,\) for 'MM'"),
    ({"paper": {"MM": (None, ("87", 88.0))}}, "'87'"),
    ({"paper": {"MM": (None, (float("nan"), 88.0))}}, "nan"),
    ({"paper": {"MM": (None, 87.0)}}, "87.0 for 'MM'"),
    ({"comparisons": (("MM", "mm"),)}, "'MM'; give a pair .row, column."),
    ({"comparisons": (("MM", "MM"),)}, "give a pair of two rows"),
    ({"comparisons": ("MM",)}, "give a pair of two rows"),
    ({"comparisons": ((("MM", 250), ("FS", 500)),)},
     "the column '500 queries', which is none of 250 queries, 4,000 queries"),
    ({"comparisons": ((("MM", 250), ("fs", 250)),)}, "the row 'fs'"),
    ({"excluded": (("FS", 1),)}, "Grid.excluded has the column '1 query'"),
    ({"excluded": (("FS", 250),), "comparisons": ((("FS", 250), ("MM", 250)),)},
     "Grid.comparisons has the cell 'FS', 250 queries, which Grid.excluded"),
    ({"excluded": (("FS", 250),), "paper": {"FS": ((1, 2), None)}},
     "Grid.paper has the cell 'FS', 250 queries, which Grid.excluded leaves"),
    ({"overrides": 3}, "Grid.overrides is 3"),
    ({"excluded": ("FS",)}, "Grid.excluded has 'FS'; give a pair"),
    ({"excluded": tuple((r, b) for r in ROWS for b in (250, 4000))},
     "leaves no cell"),
])
def test_what_cannot_be_a_table_is_refused(changes, said):
  with pytest.raises(InputError, match=said) as refusal:
    grid(**changes)
  assert "\n" not in str(refusal.value)
