"""A student's steps are the same on other backends and on several devices."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from fixtures import students


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
  """Four steps of each objective on another backend, in one process."""
  other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
  return students.run_elsewhere(
      "import sys\nfrom fixtures import students\n"
      "students.save_four_steps(sys.argv[1])", other,
      tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("name", students.OBJECTIVES)
def test_four_steps_agree_across_backends(name, elsewhere):
  """Copied weights, no randomness: the same steps to 1e-5 (rounding)."""
  losses, weights = students.four_steps(name)
  np.testing.assert_allclose(losses, elsewhere[f"{name} losses"], rtol=1e-5)
  np.testing.assert_allclose(
      weights, elsewhere[f"{name} weights"], rtol=1e-5, atol=1e-5)


TWO_LOGICAL_CPUS = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from fixtures import students
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
students.save_fits(sys.argv[1], strategy.scope)
"""

FOUR_JAX_DEVICES = """
import contextlib, sys, jax, keras
assert len(jax.devices()) == 4
keras.distribution.set_distribution(keras.distribution.DataParallel())
from fixtures import students
students.save_fits(sys.argv[1], contextlib.nullcontext)
"""


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def several_devices(request, tmp_path_factory):
  code = {"tensorflow": TWO_LOGICAL_CPUS, "jax": FOUR_JAX_DEVICES}
  return students.run_elsewhere(
      code[request.param], request.param, tmp_path_factory.mktemp("several"),
      XLA_FLAGS="--xla_force_host_platform_device_count=4")


@functools.cache
def one_device(name):
  """The fit of an objective in this process."""
  made = students.plain_student(name)
  return students.outcome(made, students.plain_fit(made))


@pytest.mark.parametrize("name", students.OBJECTIVES)
def test_one_device_and_several_give_the_same(name, several_devices):
  """Two logical CPUs on tensorflow, four on jax: same loss, terms, weights."""
  for figure, value in one_device(name).items():
    np.testing.assert_allclose(
        several_devices[f"{name} {figure}"], value, rtol=2e-5, atol=1e-6,
        err_msg=figure)
