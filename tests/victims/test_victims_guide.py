"""The blocks of docs/guide/victims.md run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from fixtures import guide
from fixtures.commands import ROOT

LABELS = guide.block("victims.md", "import numpy as np").text
MODULE = guide.block("victims.md", "import torch").text


def run(source):
  done = subprocess.run(
      [sys.executable, "-W", "error::UserWarning", "-c", source],
      capture_output=True, text=True, check=False, env={
          **os.environ, "PYTHONPATH": os.pathsep.join(
              [str(ROOT), os.environ.get("PYTHONPATH", "")])})
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_a_service_of_names_is_copied():
  assert "fidelity" in run(LABELS)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None,
                    reason="torch is not installed")
def test_a_module_of_torch_is_copied():
  said = run(MODULE)
  assert "queries    300 charged of a budget of 300" in said
  (fidelity,) = re.findall(r"surrogate +(?:[\d.]+% +){2}([\d.]+)%", said)
  (printed,) = re.findall(r"agrees with the module on\s+([\d.]+)%", (
      ROOT / "docs" / "guide" / "victims.md").read_text(encoding="utf-8"))
  # Backends and processors round in other ways.
  assert float(fidelity) == pytest.approx(float(printed), abs=5)
