"""The blocks of docs/guide/victims.md run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from fixtures.commands import ROOT

GUIDE = (ROOT / "docs" / "guide" / "victims.md").read_text(encoding="utf-8")
(LABELS,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
(MODULE,) = re.findall(r"```\{code-block\} python\n(.*?)```", GUIDE, re.DOTALL)


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
  assert run(f"""
import numpy as np, torch
import wsl_extraction as wsl
images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3))
{MODULE}
victim = __import__("dataclasses").replace(victim, num_classes=3)
print(wsl.extract(victim, images, budget=20, test=images).queries)
""").strip() == "20"
