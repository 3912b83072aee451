"""The random search for one number."""

import csv
import io

import hypothesis
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st

from fixtures import stand_in_runs
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid_runs, search_report
from wsl_extraction.report.grids.grid_results import GridResults
from wsl_extraction.report.grids.search import Search


def search(**changes):
  return Search(**{
      "caption": "Temperatures.", "settings": ("a.gin", "Split.seed = 1"),
      "parameter": "d.D.temperature", "low": 0.3, "high": 10.0, "trials": 5,
      "seeds": (0, 1), "paper": 1.5} | changes)


@hypothesis.given(st.integers(0, 2**31), st.integers(1, 30),
                  st.integers(1, 30), st.booleans())
def test_more_trials_keep_the_earlier_ones(seed, fewer, more, log):
  fewer, more = sorted((fewer, more))
  first = search(seed=seed, trials=fewer, log=log).values
  assert search(seed=seed, trials=more, log=log).values[:fewer] == first
  assert all(0.3 <= value <= 10 for value in first)


def test_values_are_uniform_in_their_logarithm_or_as_they_are():
  values = search(trials=2000).values
  uniform = scipy.stats.uniform(np.log(0.3), np.log(10 / 0.3))
  assert scipy.stats.kstest(np.log(values), uniform.cdf).pvalue > 0.01
  values = search(trials=2000, low=-3, high=10, log=False, paper=None).values
  assert scipy.stats.kstest(
      values, scipy.stats.uniform(-3, 13).cdf).pvalue > 0.01
  assert search(seed=1).values != search().values


def test_draws_are_the_same_everywhere():
  # 0.3 (10 / 0.3)^u with u = 0.134364244..., 0.847433736... of seed 1.
  assert search(seed=1, trials=2).values == (0.4806, 5.857)


def test_a_trial_binds_its_value():
  made = search()
  cell = made.cells[2]
  assert cell.place == "trial_003"
  assert cell.settings.files == ("a.gin",)
  assert cell.settings.bindings == (
      "Split.seed = 1", f"d.D.temperature = {made.values[2]}")


@pytest.mark.parametrize("changes, said", [
    ({"caption": None}, "Search.caption"),
    ({"settings": "steps = 3"}, "Search.settings names no gin file"),
    ({"settings": 3}, "Search.settings is 3"),
    ({"parameter": "temperature"}, "Search.parameter is 'temperature'"),
    ({"parameter": "a.b = 1"}, "Search.parameter"),
    ({"parameter": None}, "Search.parameter"),
    ({"low": 0}, "Search.low is 0; give a number above 0"),
    ({"low": 0.3, "high": 0.3}, "give a greater Search.high"),
    ({"high": float("inf")}, "Search.high is inf"),
    ({"high": "10"}, "Search.high is '10'"),
    ({"paper": -1}, "Search.paper is -1"),
    ({"trials": 0}, "Search.trials is 0"),
    ({"trials": 2.0}, "Search.trials is 2.0"),
    ({"seed": -1}, "Search.seed is -1"),
    ({"seeds": ()}, "Search.seeds"),
    ({"figure": "loss"}, "Search.figure"),
])
def test_what_cannot_be_a_search_is_refused(changes, said):
  with pytest.raises(InputError, match=said):
    search(**changes)


def test_the_report_sorts_trials_and_names_the_best(tmp_path):
  made = search()
  runs = grid_runs.runs(made.cells, made.seeds)
  best = made.cells[1]
  for run in runs:
    if run.cell != made.cells[4]:
      value = 0.9 + 0.01 * run.seed + 0.05 * (run.cell == best)
      stand_in_runs.write(run, tmp_path, stand_in_runs.result(
          {"fidelity_top1": value}))
  report = search_report.report(made, GridResults.read(runs, tmp_path))
  _, table, total, said = report.text.split("\n\n")
  values = [float(line.split("|")[1]) for line in table.splitlines()[2:]]
  assert values == sorted(made.values)
  assert table.count("not run") == 1
  assert total.startswith("8 of 10 runs, ")
  assert said.startswith(
      "Best of 4 of 5 trials, those that have all seeds: d.D.temperature = "
      f"{made.values[1]:g}, top-1 fidelity 95.5 ± 6.4 %. "
      "That mean and its interval are optimistic")
  assert said.endswith("The paper's value: 1.5.")
  files = dict(report.files())
  rows = list(csv.DictReader(io.StringIO(files["table.csv"].decode())))
  assert [float(row["d.D.temperature"]) for row in rows] == values
  assert {row["place"] for row in rows} == {c.place for c in made.cells}
  assert files["plot.png"].startswith(b"\x89PNG")
  empty = search_report.report(made, GridResults.read(runs, tmp_path / "none"))
  assert empty.text.endswith("No trial was run.")
  assert len(dict(empty.files())) == 6


def test_trials_without_all_their_seeds_are_never_the_best(tmp_path):
  made = search(trials=3)
  runs = grid_runs.runs(made.cells, made.seeds)
  for run in runs[:3]:  # the first seed of each
    stand_in_runs.write(run, tmp_path, stand_in_runs.result(
        {"fidelity_top1": 0.9 if run.cell == made.cells[2] else 0.5}))

  def said():
    read = GridResults.read(runs, tmp_path)
    return search_report.report(made, read).text.split("\n\n")[-1]

  assert said() == "The best is not decided: 0 of 3 trials have all seeds."
  stand_in_runs.write(runs[3], tmp_path, stand_in_runs.result(
      {"fidelity_top1": 0.5}))
  assert said().startswith("Best of 1 of 3 trials, those that have all seeds: "
                           f"d.D.temperature = {made.values[0]:g}, ")


def test_overrides_win_over_the_value():
  cell = search(overrides=("STEPS = 3",)).cells[0]
  assert cell.settings.bindings[-1] == "STEPS = 3"
