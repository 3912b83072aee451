"""The command `hardness`: its folder, resuming, shipped files, bad input."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import os

import gin
import pytest

import commands
from gin_files import ROOT, THEOREMS
from wsl_extraction import cli
from wsl_extraction.metrics import Estimate
from wsl_extraction.report import curves
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
}
FILES = {"gin/theorem1.gin": {"queries.csv", "fidelity.csv", "queries.png"},
         "gin/theorem2.gin": {"checked.csv", "hard.csv", "seconds.png"},
         "gin/theorem3.gin": {"correlation.csv", "fidelity.csv",
                              "correlation.png", "fidelity.pdf"}}


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


def try_out(name, folder):
  first = hardness(name, folder)
  last = interrupted(folder / "run") if not first.status else None
  return first, last, hardness(name, folder)


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(tmp_path_factory):
  folders = {name: tmp_path_factory.mktemp("theorem") for name in SMALL}
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    found = {name: threads.submit(try_out, name, folder)
             for name, folder in folders.items()}
    yield {name: (*future.result(), folders[name] / "run")
           for name, future in found.items()}


@pytest.mark.parametrize("name", SMALL)
def test_leaves_tables_and_plots_and_goes_on(name, outcomes):
  first, last, again, run = outcomes[name]
  assert first.status == 0, first.stderr
  assert first.stdout.startswith("# Theorem ")
  held = {path.name for path in run.iterdir()}
  assert FILES[name] | {"config.gin", "result.json", "table.md"} <= held
  assert (run / "table.md").read_text().strip() in again.stdout
  for path in run.glob("*.csv"):
    rows = list(csv.DictReader(path.open()))
    assert rows
    assert all(None not in row.values() for row in rows)
  assert again.status == 0, again.stderr
  parts = json.loads((run / "result.json").read_text())["parts"]
  assert last in parts
  assert "from the file" in json.dumps(parts)
  # A finished run has nothing to say on the way.
  assert "parts" not in hardness(name, run.parent).stderr


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
    ("theorem.Hardness.theorem = 3", "Hardness.theorem is 3"),
])
def test_bad_settings(binding, said, monkeypatch):
  monkeypatch.chdir(ROOT)
  kind = binding.split(".")[0]
  name = f"gin/{kind if kind != 'theorem' else 'theorem1'}.gin"
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  try:
    cli.configure([name], [binding])
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
  panel = curves.Panel("a", "x", "y", [
      curves.Curve("m", [(1, Estimate(1, 0.5, 2)), (2, Estimate(3, 2, 4))]),
      curves.Curve("t", [(1, Estimate(1, 0, 0)), (2, Estimate(4, 0, 0))],
                   is_theory=True)], log="y")
  one, two = (dict(curves.drawn("c", "title", [panel, panel]))
              for _ in range(2))
  assert one == two
  assert set(one) == {"c.png", "c.pdf"}
  assert one["c.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(("value", "said"), [
    (65535, "65,535"), (128.5, "128.5"), (0.01234567, "0.01235"), (2.0, "2")])
def test_numbers(value, said):
  assert number(value) == said


