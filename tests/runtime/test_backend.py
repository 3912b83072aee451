"""The choice of a backend, and the environment that it starts in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fixtures.commands import ROOT
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import backend


@pytest.mark.parametrize("name", ["tensorflow", "torch"])
def test_several_hosts_need_jax(name, monkeypatch):
  monkeypatch.setenv("KERAS_BACKEND", name)
  monkeypatch.setattr(backend, "check_backend", lambda: None)
  with pytest.raises(InputError, match=(
      f"^several hosts train together on jax alone, this is {name}; set "
      "KERAS_BACKEND=jax$")):
    backend.check_hosts()


@pytest.mark.parametrize(("given", "kept"), [
    ({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"),
    ({"OMP_WAIT_POLICY": "active"}, None),
    ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_spin_as_the_user_says(given, kept, monkeypatch):
  """GNU OpenMP would obey the count, and no longer the policy."""
  monkeypatch.setattr(os, "environ", given.copy())
  backend.set_environment_defaults()
  assert os.environ.get("GOMP_SPINCOUNT") == kept
  assert os.environ.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")


def test_defaults_are_set_before_a_backend_is_imported():
  clean = {name: value for name, value in os.environ.items()
           if name not in backend._DEFAULTS and name != "OMP_WAIT_POLICY"}
  done = subprocess.run(
      [sys.executable, "-c", "import os, sys, wsl_extraction\n"
       "print(*(os.environ[name] for name in sys.argv[1:]))\n"
       "print({'keras', 'tensorflow', 'jax', 'torch'} & {*sys.modules})",
       *backend._DEFAULTS], check=True, capture_output=True, text=True,
      timeout=60, env={**clean, "PYTHONPATH": str(ROOT)})
  values, imported = done.stdout.splitlines()
  assert values.split() == [*backend._DEFAULTS.values()]
  assert imported == "set()"
