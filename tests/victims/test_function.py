"""Functions get rows as they want them: range, channels, type, batches."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from fixtures.commands import ROOT
from wsl_extraction.data.convert import parts_of
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.function import Function

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)


def seen(images=IMAGES, **options):
  """The batches that a function gets, and its victim's answers."""
  batches = []

  def function(rows):
    batches.append(rows)
    return rows.reshape(len(rows), -1)[:, :4].astype(float)

  victim = Function(function, outputs="logits", num_classes=4, **options).load(
      parts_of(images), Runtime())
  return batches, victim.predict(images)


def test_rows_come_as_the_data_has_them():
  (rows,), _ = seen()
  assert rows.dtype == np.uint8
  np.testing.assert_array_equal(rows, IMAGES)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_the_type_is_what_is_asked_for(dtype):
  (rows,), _ = seen(dtype=dtype)
  assert rows.dtype == dtype
  np.testing.assert_array_equal(rows, IMAGES)


def test_values_are_scaled_to_the_range():
  (rows,), _ = seen(value_range=(0, 1))
  np.testing.assert_allclose(rows, IMAGES / 255, atol=1e-6)
  (rows,), _ = seen(value_range=(-1, 1), dtype="float32")
  np.testing.assert_allclose(rows, IMAGES / 127.5 - 1, atol=1e-6)
  assert rows.dtype == np.float32
  # And back, for services that take bytes: rounded, not cut off.
  (rows,), _ = seen((IMAGES / 255).astype("float32"), value_range=(0, 255),
                    dtype="uint8")
  np.testing.assert_array_equal(rows, IMAGES)


def test_channels_come_first_and_in_order():
  (rows,), _ = seen(channels_first=True)
  np.testing.assert_array_equal(rows, np.moveaxis(IMAGES, 3, 1))
  assert rows.flags["C_CONTIGUOUS"]


def test_no_batch_is_larger_than_it_may_be():
  batches, whole = seen(batch_size=4)
  assert [len(rows) for rows in batches] == [4, 4, 2]
  np.testing.assert_array_equal(whole, seen()[1])


def test_what_changes_answers_changes_the_fingerprint():
  def fingerprint(**options):
    return Function(seen, num_classes=4, **options).load(
        parts_of(IMAGES), Runtime()).fingerprint

  changes = [{}, {"dtype": "float32"}, {"value_range": (0, 1)},
             {"channels_first": True}, {"class_names": tuple("abcd")}]
  assert len({fingerprint(**one) for one in changes}) == len(changes)
  assert fingerprint(batch_size=2, decimals=3) == fingerprint()


TORCH = """
import numpy as np, torch
import wsl_extraction as wsl

torch.manual_seed(0)
module = torch.nn.Sequential(
    torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    torch.nn.Linear(4 * 4 * 3, 5))
images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), np.uint8)

victim = wsl.Function(
    lambda rows: module(torch.from_numpy(rows)), outputs="logits",
    dtype="float32", value_range=(0, 1), channels_first=True, num_classes=5)

copy = wsl.extract(victim, images, budget=20, reveal="logits", test=images)
from wsl_extraction.data.convert import parts_of
answers = victim.load(parts_of(images), wsl.Runtime()).predict(images)
x = torch.from_numpy(np.moveaxis(images / 255, 3, 1).astype("float32"))
np.testing.assert_allclose(
    answers, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
half = wsl.Function(
    lambda rows: torch.softmax(module(torch.from_numpy(rows)), 1).bfloat16(),
    dtype="float32", value_range=(0, 1), channels_first=True, num_classes=5)
assert wsl.extract(half, images, budget=20).queries == 20
print(copy.queries)
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None,
                    reason="torch is not installed")
def test_a_torch_module_by_two_lines():
  done = subprocess.run(
      [sys.executable, "-W", "ignore", "-c", TORCH], capture_output=True,
      text=True, check=False, env={
          **os.environ, "KERAS_BACKEND": "tensorflow",
          "PYTHONPATH": os.pathsep.join(
              [str(ROOT), os.environ.get("PYTHONPATH", "")])})
  assert (done.returncode, done.stdout) == (0, "20\n"), done.stderr
