"""The command `hardness`: its folder, resuming, shipped files, bad input."""

from __future__ import annotations

import csv
import io
import json
import os

import gin
import pytest

from fixtures import commands
from fixtures.gin_files import ROOT, THEOREMS
from wsl_extraction import cli
from wsl_extraction.evaluation.metrics import Estimate
from wsl_extraction.report import curves, json_text, text_tables
from wsl_extraction.report.panels import Panel, Series
from wsl_extraction.theorems.theorem import Hardness, number

# The smallest of each.
SMALL = {
    "gin/theorem1.gin": (
        "theorem1.Theorem1.cells = ((2, 2), (3, 1))",
        "theorem1.Theorem1.needles = 20",
        "theorem1.Theorem1.learned = ((2, 2),)",
        "theorem1.Theorem1.budgets = (8,)", "theorem1.Theorem1.steps = 2",
        "theorem1.Theorem1.tests = 100"),
    "gin/theorem2.gin": (
        "theorem2.Theorem2.checked = 4", "theorem2.Theorem2.checked_up_to = 4",
        "theorem2.Theorem2.corner_sizes = (4, 5)",
        "theorem2.Theorem2.cube_sizes = (3,)"),
    "gin/theorem3.gin": (
        "theorem3.Theorem3.correlations = (0.5,)",
        "theorem3.Theorem3.networks = 3", "theorem3.Theorem3.width = 16",
        "theorem3.Theorem3.depths = (1,)", "theorem3.Theorem3.samples = (16,)",
        "theorem3.Theorem3.seeds = (0, 1)", "theorem3.Theorem3.steps = 2",
        "theorem3.Theorem3.tests = 50"),
    "gin/tables/nondeterminism.gin": (
        "Nondeterminism.private = 40", "Nondeterminism.pool = 40",
        "Nondeterminism.tests = 50", "Nondeterminism.uniform = 400",
        "Nondeterminism.steps = 30", "Nondeterminism.seeds = (0,)"),
}


def hardness(name, folder, *more):
  words = commands.command(
      "hardness", f"--gin_file={ROOT / name}", "--workdir=run",
      *(f"--gin_bindings={binding}" for binding in SMALL[name]), *more)
  return commands.run(words, folder, commands.environment(folder))


def interrupted(run):
  """As if the command had been stopped before its last part was done."""
  content = json.loads((run / "result.json").read_text())
  last = list(content["parts"])[-1]
  del content["parts"][last]
  # What a finished part says must not be measured again.
  for rows in content["parts"][next(iter(content["parts"]))].values():
    for row in rows:
      row.update(oracle="from the file", domain="from the file",
                 activation="from the file")
  (run / "result.json").write_text(json.dumps(content))
  return last


def test_leaves_tables_and_plots_and_goes_on(tmp_path):
  name, run = "gin/theorem2.gin", tmp_path / "run"
  first = hardness(name, tmp_path)
  assert first.status == 0, first.stderr
  assert first.stdout.startswith("# Theorem 2")
  held = {path.name for path in run.iterdir()}
  assert {"checked.csv", "hard.csv", "seconds.png", "seconds.pdf", "table.md",
          "config.gin", "result.json"} <= held
  for path in run.glob("*.csv"):
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert rows
    assert all(None not in row.values() for row in rows)
  last = interrupted(run)
  again = hardness(name, tmp_path)
  assert again.status == 0, again.stderr
  assert (run / "table.md").read_text().strip() in again.stdout
  assert "from the file" in again.stdout
  assert last in json.loads((run / "result.json").read_text())["parts"]
  # It counts what was there before as done.
  assert "8/8 parts" in again.stderr


@pytest.mark.parametrize("name", [
    "gin/theorem1.gin", "gin/theorem3.gin", "gin/tables/nondeterminism.gin"])
def test_shipped_files_run(name, monkeypatch):
  monkeypatch.chdir(ROOT)
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  try:
    cli.configure([name], SMALL[name])
    theorem = cli.built(Hardness).theorem
  finally:
    gin.clear_config()
  rows = {}
  for part in theorem.parts().values():
    for table, found in part().items():
      rows.setdefault(table, []).extend(found)
  # As files keep them.
  findings = theorem.findings(json.loads(json_text.json_text(rows)))
  for sheet in findings.sheets.values():
    assert sheet.rows
    assert text_tables.markdown(sheet)
  for panels in findings.plots.values():
    assert all(len(curve.points) for panel in panels
               for curve in panel.series)
  if name == "gin/theorem1.gin":
    adversarial = [row for row in rows["queries"]
                   if row["oracle"] == "adversarial"]
    assert len(adversarial) == 6
    assert all(row["queries"] == row["predicted"] for row in adversarial)
    assert all(row["queries"] == 8 for row in rows["fidelity"])
  if name == "gin/tables/nondeterminism.gin":
    assert len(rows["agreement"]) == 4 * 3
    for row in rows["agreement"]:
      is_equal = row["copies"] == "same weights, same order"
      assert (row["largest_difference"] == 0) == is_equal
      if row["inputs"] == "uniform" and row["copies"] == "both different":
        assert row["agreement"] < 0.9


def test_every_theorem_is_tried():
  assert set(SMALL) == set(THEOREMS)


@pytest.mark.parametrize(("binding", "said"), [
    ("theorem1.Theorem1.cells = ((1, 2),)", "precision is 1"),
    ("theorem1.Theorem1.cells = ((256, 3),)", "2^20 at most"),
    ("theorem1.Theorem1.budgets = (0,)", "Theorem1.budgets is (0,)"),
    ("theorem2.Theorem2.corner_sizes = (0,)", "corner_sizes is (0,)"),
    ("theorem2.Theorem2.time_limit = 0", "time_limit is 0"),
    ("theorem3.Theorem3.correlations = (0.33,)", "no two inputs"),
    ("theorem3.Theorem3.seeds = (-1,)", "Theorem3.seeds is (-1,)"),
    ("tables/nondeterminism.Nondeterminism.steps = 0", "sizes is"),
    ("tables/nondeterminism.Nondeterminism.epsilon = 0", "epsilon is 0"),
    ("theorem.Hardness.theorem = 3", "Hardness.theorem is 3"),
])
def test_bad_settings(binding, said, monkeypatch):
  monkeypatch.chdir(ROOT)
  kind = binding.split(".")[0]
  name = f"gin/{kind if kind != 'theorem' else 'theorem1'}.gin"
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  try:
    cli.configure([name], [binding.removeprefix("tables/")])
    with pytest.raises(cli.InputError) as error:
      cli.built(Hardness)
  finally:
    gin.clear_config()
  assert said in str(error.value)


@pytest.mark.parametrize(("words", "said"), [
    ((), "--gin_file"),
    (("--gin_file=gin/theorem1.gin", "--seed=1"), "--seed is for"),
    (("--gin_file=gin/theorem2.gin",
      "--gin_bindings=theorem2.Theorem2.time_limit = 0"), "time_limit is 0"),
])
def test_refused_in_one_line(words, said, tmp_path):
  (tmp_path / "gin").symlink_to(ROOT / "gin")
  outcome = commands.run(
      [*commands.command("hardness"), *words], tmp_path,
      commands.environment(tmp_path))
  assert outcome.status == 2, outcome.stderr
  lines = outcome.stderr.splitlines()
  assert len(lines) == 1
  assert lines[0].startswith("error: ")
  assert said in lines[0]
  assert not os.path.exists(tmp_path / "runs")


def test_curves_are_drawn_the_same_twice():
  panel = Panel("y", [
      Series("m", [(1, Estimate(1, 0.5, 2)), (2, Estimate(3, 2, 4))]),
      Series("t", [(1, Estimate(1, 0, 0)), (2, Estimate(4, 0, 0))],
             is_theory=True)], "a", "x", log="y")
  one, two = (dict(curves.drawn("c", "title", [panel, panel]))
              for _ in range(2))
  assert one == two
  assert set(one) == {"c.png", "c.pdf"}
  assert one["c.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(("value", "said"), [
    (65535, "65,535"), (128.5, "128.5"), (0.01234567, "0.01235"), (2.0, "2")])
def test_numbers(value, said):
  assert number(value) == said


