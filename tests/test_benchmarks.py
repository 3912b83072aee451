"""That the benchmarks still run, at their smallest size; no times.

Processes of their own, minutes in all: `make test-benchmarks` runs them.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fixtures.source_tree import ROOT, SourceTree

_SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py")
    if SourceTree().is_program(path.stem))


@pytest.mark.slow
@pytest.mark.parametrize("name", _SCRIPTS)
def test_runs(name):
  done = subprocess.run(
      [sys.executable, f"benchmarks/{name}.py", "--quick"], cwd=ROOT,
      env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
      capture_output=True, timeout=900, stdin=subprocess.DEVNULL)
  assert done.returncode == 0, done.stderr
  assert "| --- | ---: |" in done.stdout
  assert f"`python benchmarks/{name}.py" in done.stdout


def test_there_are_some():
  assert "student_fit" in _SCRIPTS
