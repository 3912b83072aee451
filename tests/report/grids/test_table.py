"""Tables from made-up runs: text, LaTeX, CSV."""

import csv
import io
import json

import numpy as np
import pytest
import scipy.stats

from fixtures import stand_in_runs
from wsl_extraction.errors import InputError
from wsl_extraction.report import text_tables
from wsl_extraction.report.grids import grid_report, grid_runs
from wsl_extraction.report.grids.grid import Grid
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.text_tables import TextTable

GRID = Grid(
    caption="Digits, 100% & more_of them.", seeds=(0, 1, 2),
    methods={"FS": "fs.gin", "M|M": "mm.gin"}, budgets=(25, 400),
    paper={"M|M": ((87.98, 88.79), (93.29, 93.99)),
           "FS": (None, (86.51, 87.37))},
    comparisons=(("M|M", "FS"), (("M|M", 25), ("FS", 400))))
# Accuracies; fidelity is a point higher.
MADE = {("FS", 25): (0.60, 0.64, 0.62), ("FS", 400): (0.95, 0.96),
        ("M|M", 25): (0.90, 0.95, 0.94)}


def write(grid, root, made=MADE, seconds=600):
  for run in grid_runs.runs(grid.cells, grid.seeds):
    budget = grid.queries[run.cell.column]
    values = made.get((run.cell.row, budget), ())
    if run.seed < len(values):
      value = values[run.seed]
      stand_in_runs.write(run, root, stand_in_runs.result(
          {"accuracy_top1": value, "fidelity_top1": value + 0.01}, seconds))


@pytest.fixture(name="report")
def fixture_report(tmp_path):
  write(GRID, tmp_path)
  return grid_report.report(GRID, read(GRID, tmp_path))


def test_plots_show_the_accuracy_of_the_victims(tmp_path):
  for run in grid_runs.runs(GRID.cells, (0, 1)):
    oracle = {"accuracy_top1": {"value": 0.97 + 0.01 * run.seed, "low": None,
                                "high": None}}
    stand_in_runs.write(run, tmp_path, stand_in_runs.result(
        {"accuracy_top1": 0.9, "fidelity_top1": 0.91}, oracle=oracle))
  accuracy, fidelity = grid_report.report(
      GRID, read(GRID, tmp_path)).plot.panels
  assert accuracy.victim == (97, 98) and fidelity.victim is None
  assert (accuracy.label, fidelity.label) == (
      "Top-1 accuracy (%)", "Top-1 fidelity (%)")


def read(grid, root):
  return GridResults.read(grid_runs.runs(grid.cells, grid.seeds), root)


def test_the_table_holds_paper_means_intervals_seeds_and_hours(report):
  caption, table, total, differences, compared = report.text.split("\n\n")
  assert caption.startswith(GRID.caption) and "over 3 seeds" in caption
  head, rule, *rows = table.splitlines()
  assert set(rule) <= set("|-: ")
  assert len({len(line) for line in (head, rule, *rows)}) == 1
  assert [cell.strip() for cell in head.split("|")[3:-1]] == [
      "paper", "top-1 accuracy, %", "top-1 fidelity, %", "seeds", "hours"]
  half = scipy.stats.t.ppf(0.975, 2) * 2 / np.sqrt(3)  # deviation 2 points
  assert rows[0].split() == (
      f"| FS | 25 queries | - | 62.00 ± {half:.2f} | 63.00 ± {half:.2f} | 3 | "
      "0.50 |").split()
  assert "| 86.51 / 87.37 |      95.50 ± 6.35 |" in rows[1]
  assert rows[1].endswith("| 2 of 3 |  0.33 |")
  assert rows[2].startswith("| M\\|M | 25 queries  | 87.98 / 88.79 |")
  assert rows[3].split("|")[4:] == [
      " 93.29 / 93.99 ", "           not run ", "           not run ",
      " 0 of 3 ", "       ", ""]
  assert total == "8 of 12 runs, 1.33 hours in all."
  assert "Student's t" in differences
  assert len(compared.splitlines()) == 5


def test_differences_are_paired_over_the_seeds_that_both_have(report):
  rows = report.text.split("\n\n")[-1].splitlines()[2:]
  by_name = {row.split(" | ")[0].strip("| "): row for row in rows}
  a, b = (np.array(MADE[row, 25]) * 100 for row in ("M|M", "FS"))
  assert paired(a, b) in by_name["M\\|M minus FS, 25 queries"]
  assert by_name["M\\|M minus FS, 25 queries"].endswith("|     3 |")
  headline = by_name["M\\|M, 25 queries minus FS, 400 queries"]
  # The paper's own difference, then ours.
  assert "| +1.47 / +1.42 |" in headline
  assert paired(a[:2], np.array(MADE["FS", 400]) * 100) in headline
  assert headline.endswith("|     2 |")
  assert "not run" in by_name["M\\|M minus FS, 400 queries"]


def paired(a, b):
  interval = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
  return (f" {np.mean(a - b):+.2f} [{interval.low:+.2f}, "
          f"{interval.high:+.2f}] |")


def test_csv_holds_the_raw_numbers(report):
  files = {name: text.decode() for name, text in report.files()
           if name.endswith(".csv")}
  table = list(csv.DictReader(io.StringIO(files["table.csv"])))
  assert [(row["row"], row["queries"], row["runs"]) for row in table] == [
      ("FS", "25", "3"), ("FS", "400", "2"), ("M|M", "25", "3"),
      ("M|M", "400", "0")]
  for row, (key, values) in zip(table, MADE.items(), strict=False):
    assert (row["row"], int(row["queries"])) == key
    values = np.array(values) * 100
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, values.mean(), scipy.stats.sem(values))
    np.testing.assert_allclose(
        [float(row[f"accuracy_top1_{part}"])
         for part in ("mean", "low", "high")],
        [values.mean(), low, high], atol=1e-5)
    assert int(row["accuracy_top1_seeds"]) == len(values)
    assert float(row["hours"]) == pytest.approx(len(values) / 6, abs=1e-6)
  assert [row["fidelity_top1_paper"] for row in table] == [
      "", "87.37", "88.79", "93.99"]
  assert table[3]["accuracy_top1_mean"] == ""
  runs = list(csv.DictReader(io.StringIO(files["runs.csv"])))
  assert len(runs) == 8
  assert runs[0] == {
      "row": "FS", "column": "25 queries", "seed": "0",
      "folder": "FS/budget_25/seed_0", "status": "DONE", "seconds": "600.0",
      "accuracy_top1": "60.0", "accuracy_top5": "", "fidelity_top1": "61.0",
      "fidelity_top5": "", "victim": "", "backend": "", "data": ""}
  compared = list(csv.DictReader(io.StringIO(files["differences.csv"])))
  assert [row["comparison"] for row in compared] == [
      "M|M minus FS, 25 queries", "M|M minus FS, 400 queries",
      "M|M, 25 queries minus FS, 400 queries"]
  a, b = (np.array(MADE[row, 25]) * 100 for row in ("M|M", "FS"))
  interval = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
  np.testing.assert_allclose(
      [float(compared[0][f"accuracy_top1_{part}"])
       for part in ("mean", "low", "high")],
      [np.mean(a - b), *interval], atol=1e-5)
  assert compared[2]["fidelity_top1_paper"] == "1.42"
  assert [row["fidelity_top1_seeds"] for row in compared] == ["3", "0", "2"]


def test_latex_is_escaped_and_ruled(report):
  text = dict(report.files())["table.tex"].decode()
  first, second = text.split("\\begin{table}\n")[1:]
  assert "\\caption{Digits, 100\\% \\& more\\_of them. " in first
  assert "\\begin{tabular}{llrrrrr}" in first
  for line in ("\\toprule", "\\midrule", "\\bottomrule", "\\end{table}"):
    assert first.count(line) == second.count(line) == 1
  assert "FS & 25 queries & - & 62.00 ± 4.97 & 63.00 ± 4.97 & 3 & 0.50 \\\\"\
      in first
  # A row's name shows once.
  assert "\n & 400 queries & 86.51 / 87.37 & 95.50 ± 6.35" in first
  assert "M|M minus FS, 25 queries & - & +31.00" in second
  for line in text.splitlines():
    assert line.count("{") == line.count("}")


def test_a_grid_of_which_nothing_was_run(tmp_path):
  report = grid_report.report(GRID, read(GRID, tmp_path))
  assert report.text.count("not run") == 2 * 4 + 2 * 3
  assert "0 of 12 runs" in report.text
  files = dict(report.files())
  assert files["runs.csv"] == b"row,column,seed\n"
  assert set(files) == {"table.md", "table.tex", "table.csv", "runs.csv",
                        "differences.csv", "plot.png", "plot.pdf"}


def test_cells_that_do_not_exist_are_neither_run_nor_missing(tmp_path):
  grid = Grid(
      caption="Digits.", seeds=(0,), methods={"a": "a.gin", "b": "b.gin"},
      budgets=(5, 9), excluded=(("b", 9),))
  made = {("a", 5): [0.5], ("a", 9): [0.5], ("b", 5): [0.5]}
  write(grid, tmp_path, made)
  report = grid_report.report(grid, read(grid, tmp_path))
  assert "not run" not in report.text and "3 of 3 runs" in report.text
  last = report.text.split("\n\n")[1].splitlines()[-1]
  assert " ".join(last.split()) == "| b | 9 queries | n/a | n/a | | |"
  # One decimal, no column for a paper, no interval from one seed.
  assert "paper" not in report.text
  assert "|              50.0 |              51.0 |     1 |" in report.text


def test_runs_that_measured_nothing_are_told_apart(tmp_path):
  for run in grid_runs.runs(GRID.cells[:2], (0, 1)):
    stand_in_runs.write(run, tmp_path, {
        "status": "INCOMPLETE", "surrogate": None, "seconds": None}
        if run.seed else stand_in_runs.result(
            {"accuracy_top1": 0.5, "fidelity_top1": 0.5}))
  with pytest.raises(InputError, match="its seconds is None"):
    read(GRID, tmp_path)
  for path in tmp_path.rglob("seed_1/result.json"):
    path.write_text(json.dumps(
        {"status": "INCOMPLETE", "surrogate": None, "seconds": 3}))
  text = grid_report.report(GRID, read(GRID, tmp_path)).text
  assert "| 1 of 3 (1 not DONE, 1 without figures) |" in text


def test_failed_runs_and_seeds_of_the_scarcest_figure_are_told(tmp_path):
  runs = grid_runs.runs(GRID.cells[:1], GRID.seeds)
  for run in runs[:2]:
    stand_in_runs.write(run, tmp_path, stand_in_runs.result(
        {"accuracy_top1": 0.5, "fidelity_top1": None if run.seed else 0.5}))
  outcomes = GridResults.read(runs, tmp_path, runs[1:])
  # The second has a result by now.
  assert outcomes.failures(GRID.cells[0]) == 1
  text = grid_report.report(GRID, outcomes).text
  assert "| 1 of 3 (1 failed, 1 without figures) |" in text


def test_runs_on_several_victims_and_backends_say_so(tmp_path):
  grid = Grid(caption="Digits.", seeds=(0,), methods={"a": "a.gin"},
              budgets=(5, 9))
  for run, victim, backend in zip(grid_runs.runs(grid.cells, (0,)), "vw",
                                  ("tensorflow", "jax"), strict=True):
    stand_in_runs.write(run, tmp_path, stand_in_runs.result(
        {"accuracy_top1": 0.5, "fidelity_top1": 0.5}, victim=victim,
        backend=backend, dataset={"fingerprint": "f"}))
  report = grid_report.report(grid, read(grid, tmp_path))
  assert report.text.endswith(
      " hours in all. These runs attack 2 different victims. These runs used 2 "
      "backends: jax, tensorflow.")
  rows = csv.DictReader(io.StringIO(dict(report.files())["runs.csv"].decode()))
  assert [(row["victim"], row["backend"], row["data"]) for row in rows] == [
      ("v", "tensorflow", "f"), ("w", "jax", "f")]


def test_cells_without_a_common_seed_and_captions_of_several_lines(tmp_path):
  grid = Grid(caption="Digits,\n\nmany  of them.", seeds=(0, 1),
              methods={"a": "a.gin", "b": "b.gin"}, budgets=(5,),
              comparisons=(("a", "b"),))
  for row, seed in zip(grid.cells, (0, 1), strict=True):
    stand_in_runs.write(
      grid_runs.Run(row, seed),
      tmp_path,
      stand_in_runs.result({"accuracy_top1": 0.5, "fidelity_top1": 0.5}),
    )
  report = grid_report.report(grid, read(grid, tmp_path))
  assert report.text.count("no common seed") == 2
  assert "not run" not in report.text
  latex = dict(report.files())["table.tex"].decode()
  assert "\\caption{Digits, many of them. " in latex


def test_one_seed_claims_no_interval(tmp_path):
  grid = Grid(caption="Digits.", seeds=(0,), budgets=(5,),
              methods={"a": "a.gin", "b": "b.gin"}, comparisons=(("a", "b"),))
  write(grid, tmp_path, {("a", 5): [0.5], ("b", 5): [0.4]})
  text = grid_report.report(grid, read(grid, tmp_path)).text
  assert "without intervals" in text and "95% interval" not in text
  assert " +10.0 |" in text


# Pieces of results, of which the last one is wrong.
DONE, SECONDS, MADE_UP = '{"status": "DONE"', '"seconds": 3', '"surrogate"'


@pytest.mark.parametrize("content", [
    "", '{"surro', "[]", f"{DONE}, {SECONDS}, {MADE_UP}: 3}}",
    f"{DONE}, {SECONDS}, {MADE_UP}: []}}",
    f'{DONE}, {SECONDS}, {MADE_UP}: {{"accuracy_top1": 3}}}}',
    *(f'{DONE}, {SECONDS}, {MADE_UP}: {{"accuracy_top1": {{"value": {bad}}}}}}}'
      for bad in ("7.5", '"high"', "true")),
    *(f'{DONE}, "seconds": {bad}}}'
      for bad in ("-1", "NaN", "Infinity", "null", '"3"')),
    f"{DONE}}}", f'{{"status": 3, {SECONDS}}}', f"{{{SECONDS}}}",
    pytest.param('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", id="deep"),
])
def test_a_damaged_result_is_named(tmp_path, content):
  run = grid_runs.runs(GRID.cells, GRID.seeds)[4]
  folder = stand_in_runs.write(run, tmp_path, content)
  with pytest.raises(InputError) as refusal:
    read(GRID, tmp_path)
  assert str(refusal.value).startswith(f"{folder}/result.json is damaged (")
  assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("spoil, said", [
    (lambda folder: (folder / "config.gin").write_text("made.up = 1\n"),
     "another version of wsl_extraction, which left no number"),
    (lambda folder: (folder / "config.gin").write_bytes(b"\xff\xfe"),
     "config.gin is damaged"),
    (lambda folder: (folder / "config.gin").unlink(),
     "is no run folder: it holds result.json but no config.gin"),
])
def test_a_foreign_folder_is_named(tmp_path, spoil, said):
  run = grid_runs.runs(GRID.cells, GRID.seeds)[4]
  spoil(stand_in_runs.write(run, tmp_path, stand_in_runs.result({})))
  with pytest.raises(InputError, match=said) as refusal:
    read(GRID, tmp_path)
  assert str(run.folder(tmp_path)) in str(refusal.value)


def test_markdown_escapes_bars_and_aligns():
  sheet = TextTable(["a", "b"], [["x|y", "1"], ["z", "100"]])
  assert text_tables.markdown(sheet) == (
      "| a    |   b |\n| ---- | --: |\n| x\\|y |   1 |\n| z    | 100 |")
