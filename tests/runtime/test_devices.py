"""Batches divided among devices train as on one device."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from fixtures import placed_training
from fixtures.commands import ROOT
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import distribution
from wsl_extraction.runtime.placement import Placement


@pytest.fixture(scope="module", params=["tensorflow", "jax"], name="found")
def fixture_found(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp("devices")
  subprocess.run(
      [sys.executable, "-W", "ignore", placed_training.__file__, str(folder)],
      check=True, timeout=300, env={
          **os.environ, "KERAS_BACKEND": request.param,
          "PYTHONPATH": str(ROOT),
          "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
          # Six trainings, of which some are the same to jax's compiler.
          "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
          "JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS": "0.1"})
  return np.load(folder / "found.npz")


@pytest.mark.parametrize("name", ["two", "one then two", "two then one"])
def test_two_devices_train_as_one(name, found):
  assert len(found["one losses"]) == placed_training.STEPS // 2
  np.testing.assert_allclose(
      found[f"{name} losses"], found["one losses"], rtol=1e-4)
  for part in ("logits", "statistics"):
    np.testing.assert_allclose(
        found[f"{name} {part}"], found[f"one {part}"], rtol=1e-3, atol=1e-4)


def test_two_devices_train_as_one_in_bfloat16(found):
  losses = found["two bfloat16 losses"]
  np.testing.assert_allclose(losses, found["one bfloat16 losses"], rtol=0.01)
  np.testing.assert_allclose(losses, found["one losses"], rtol=0.05)
  # It was another precision, after all.
  assert np.abs(losses - found["two losses"]).max() > 1e-6


@pytest.mark.parametrize(("size", "replicas", "count", "message"), [
    (30, 8, 1, "batch is 30, which does not divide among 8 devices; give 24 or "
               "32, or use fewer devices (--devices, CUDA_VISIBLE_DEVICES)"),
    (1, 4, 2, "batch is 1, which does not divide among 4 devices of 2 hosts; "
              "give 4, or use"),
])
def test_a_batch_that_does_not_divide(size, replicas, count, message):
  with pytest.raises(InputError) as caught:
    distribution.check_batches({"other": 0, "batch": size}, replicas, count)
  assert str(caught.value).startswith(message)


def test_batches_that_divide():
  distribution.check_batches({"batch": 24, "none": 0}, 8)
  distribution.check_batches({"batch": 7}, 1)


@pytest.mark.parametrize("limit", [0, -1, 99])
def test_more_devices_than_there_are(limit):
  backend = keras.backend.backend()
  with pytest.raises(InputError, match=(
      rf"^--devices is {limit}; this process sees \d+ on {backend}: .*; give a "
      "number up to that$")):
    distribution.place(limit)


def test_one_device_needs_nothing():
  assert distribution.place(1) == Placement()
  assert Placement().is_main
