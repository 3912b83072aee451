"""That the benchmarks still run, at their smallest size; no times.

Processes of their own, minutes in all: `make test-benchmarks` runs them.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

from fixtures.source_tree import ROOT, SourceTree

_SCRIPTS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py")
    if SourceTree().is_program(path.stem))
_SESSION = (ROOT / "benchmarks" / "gpu_session.sh").read_text(encoding="utf-8")


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


def test_the_gpu_session_measures_what_there_is():
  measured = re.findall(r"^measure (\w+)", _SESSION, re.MULTILINE)
  assert measured
  assert set(measured) <= set(_SCRIPTS)


@pytest.mark.parametrize("package", ["grain", "keras"])
def test_the_gpu_session_installs_what_a_package_needs(package):
  listed = re.search(r"for pair in (.*?); do", _SESSION, re.DOTALL)
  assert listed
  installed = {pair.split("=")[0] for pair in listed[1].split() if "=" in pair}
  needed = {name.lower()
            for line in importlib.metadata.requires(package) or ()
            if "extra ==" not in line
            for name in re.findall(r"^[\w-]+", line)}
  assert needed
  assert {package, *needed} <= installed
