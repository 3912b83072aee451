"""The blocks of docs/guide/tables.md, tables.md, run as they stand."""

from __future__ import annotations

import json
import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fixtures import commands, guide
from fixtures.gin_files import at_root  # noqa: F401
from wsl_extraction.attacks import defaults

PAGE = "tables.md"


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  """Has the guide's table, with what it says of it, and its gin file."""
  rng = np.random.default_rng(0)
  table = pd.DataFrame({
      "id": np.arange(1200), "branch": rng.choice([3, 17, 204], 1200),
      "job": rng.choice(["cook", "nurse", "?"], 1200),
      "income": rng.normal(4e4, 1e4, 1200).round(2)})
  table["pays"] = np.where(
      table["income"] + 9e3 * (table["branch"] == 17) > 42_000, "yes", "no")
  table.loc[::7, "income"] = np.nan
  table.to_csv(tmp_path / "clients.csv", index=False)
  (tmp_path / "clients.gin").write_text(
      guide.block(PAGE, "# clients.gin").text)
  return tmp_path


def train(folder, *more, status=0, script=None):
  words = shlex.split(script or guide.block(
      PAGE, "python -m wsl_extraction.train --gin_file=clients.gin").text)
  assert words[:2] == ["python", "-m"]
  done = commands.run(
      commands.command(words[2].split(".")[1], *words[3:], *more), folder,
      commands.environment(folder))
  assert done.status == status, done.stderr
  return done


def test_a_pipeline_on_a_frame_is_copied(monkeypatch):
  monkeypatch.setattr(defaults, "_STEPS", 150)
  names: dict[str, Any] = {}
  exec(guide.block(PAGE, "import numpy as np").text, names)
  assert names["copy"].queries == 200
  assert names["copy"].fidelity > 0.85
  assert names["model"].score(names["clients"], names["pays"]) > 0.95


def test_a_file_is_a_pool(folder, monkeypatch):
  monkeypatch.chdir(folder)
  monkeypatch.setattr(defaults, "_STEPS", 2)
  names: dict[str, Any] = {}
  exec("import wsl_extraction as wsl\nfrom sklearn import ensemble\n"
       + guide.block(PAGE, "from wsl_extraction.data").text, names)
  assert [column.name for column in names["parts"].space.columns] == [
      "branch", "job", "income"]
  assert names["copy"].result["oracle"]["accuracy_top1"]["value"] > 0.8


@pytest.mark.slow
def test_the_gin_file_trains_and_copies_a_victim(folder):
  train(folder)
  result = json.loads((folder / "runs/clients/result.json").read_text())
  assert result["oracle"]["accuracy_top1"]["value"] > 0.8
  # Rows of equal values are charged once.
  assert 90 <= result["queries"] <= 100
  assert result["surrogate"]["fidelity_top1"]["value"] > 0.8


def test_a_damaged_table_is_one_line(folder):
  text = (folder / "clients.csv").read_text().splitlines()
  text[40] = text[40].replace(text[40].split(",")[3], "4o,000")
  (folder / "clients.csv").write_text("\n".join(text))
  done = train(folder, "--workdir=new", status=2)
  assert done.stderr.strip().splitlines()[-1].startswith(
      "error: clients.csv, line 41: 6 values for 5 columns; mend the line")
  assert not (folder / "new").exists()


def test_augmentation_is_refused_before_anything_is_paid(folder):
  (folder / "augmented.gin").write_text(
      "from __gin__ import dynamic_registration\n"
      "from wsl_extraction.training import augment\n"
      "from wsl_extraction.training import recipe\n"
      'include "clients.gin"\n'
      "surrogate/recipe.Recipe.augment = @augment.Augment\n")
  done = train(folder, "--gin_file=augmented.gin", "--workdir=new", status=2)
  assert "Recipe.augment moves and mirrors images" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
  assert not (folder / "new").exists()
