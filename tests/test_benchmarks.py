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


def session(tmp_path, **changes):
  """Runs the script with Python of the tests, at the smallest size."""
  return subprocess.run(
      ["sh", str(ROOT / "benchmarks" / "gpu_session.sh")], cwd=tmp_path,
      env={**os.environ, "PYTHON": sys.executable, "QUICK": "1",
           "BENCHMARK_PAGES": str(tmp_path), "KERAS_BACKEND": "jax",
           **changes}, text=True, capture_output=True, timeout=1800,
      stdin=subprocess.DEVNULL)


@pytest.mark.slow
def test_the_gpu_session_writes_its_pages(tmp_path):
  """On the CPU; the figures mean nothing."""
  done = session(tmp_path, MINUTES="30")
  assert done.returncode == 0, done.stdout + done.stderr
  pages = {path.stem: path.read_text()
           for path in (tmp_path / "speed").glob("*.md")}
  assert sorted(pages) == ["cifar10_gpu", "imagenet_step", "mixmatch_gpu"]
  for name in ("ResNet-v2-50, distillation", "rotation, rematerialised",
               "the oracle, mixed_bfloat16"):
    assert re.search(rf"^\| .*{name} \| \d", pages["imagenet_step"], re.M)
  assert re.search(r"^\| here \| \d", pages["cifar10_gpu"], re.M)


def test_the_gpu_session_ends_in_time(tmp_path):
  """What there is no time for is called so, not waited for."""
  done = session(tmp_path, MINUTES="0")
  assert done.returncode == 1
  for name in ("imagenet_step", "mixmatch_gpu", "cifar10_gpu"):
    assert f"{name}: NOT RUN, the time was up" in done.stdout
  assert not (tmp_path / "speed").exists()


@pytest.mark.parametrize("package", ["grain", "keras"])
def test_the_gpu_session_installs_what_a_package_needs(package):
  listed = re.search(r'^packages="(.*?)"', _SESSION, re.DOTALL | re.MULTILINE)
  assert listed
  installed = {pair.split("=")[0] for pair in listed[1].split() if "=" in pair}
  needed = {name.lower()
            for line in importlib.metadata.requires(package) or ()
            if "extra ==" not in line
            for name in re.findall(r"^[\w-]+", line)}
  assert needed
  assert {package, *needed} <= installed
