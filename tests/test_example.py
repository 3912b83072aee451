"""An attack is added with three files, as CONTRIBUTING.md says."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np

from fixtures import commands

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLE = ROOT / "tests" / "example"


def test_the_example_of_the_guide_is_the_one_that_is_tested():
  guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
  module = (EXAMPLE / "least_squares.py").read_text(encoding="utf-8")
  assert f"```python\n{module}```" in guide


def test_its_gin_file_runs(tmp_path):
  rng = np.random.default_rng(0)
  np.savez(tmp_path / "vectors.npz", x=rng.normal(size=(300, 6)),
           y=rng.integers(0, 3, 300))
  done = commands.run(
      commands.command("train", f"--gin_file={EXAMPLE / 'least_squares.gin'}",
                       "--workdir=run"), tmp_path, {
          **commands.environment(tmp_path, PYTHONWARNINGS=""),
          "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])})
  assert (done.status, done.stderr) == (0, "")
  assert "attack     least squares" in done.stdout
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["queries"] == 500
  assert result["surrogate"]["fidelity_top1"]["value"] > 0.85


def test_nothing_else_knows_of_it():
  for path in [*(ROOT / "wsl_extraction").rglob("*"), ROOT / "BUILD"]:
    if path.is_file() and path.suffix in ("", ".py", ".pyi"):
      text = path.read_text(encoding="utf-8").lower()
      assert "least_squares" not in text and "leastsquares" not in text
