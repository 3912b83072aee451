"""A training goes on with other devices and processes than it began with."""

from __future__ import annotations

import pytest

from fixtures import host_commands as hosts

TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.mark.slow
def test_one_process_then_two_then_two_devices(tmp_path):
  """Killed in between, with the losses of one that was left alone."""
  hosts.prepare(tmp_path)
  (end,) = hosts.finish(hosts.start(tmp_path, "whole"))
  assert end[0] == 0, end

  hosts.kill_after(4, tmp_path, "moved", hosts.start(tmp_path, "moved"))
  hosts.kill_after(10, tmp_path, "moved", *hosts.start_hosts(
      tmp_path, "moved"))
  (end,) = hosts.finish(hosts.start(tmp_path, "moved", **TWO_DEVICES))
  assert end[0] == 0, end

  hosts.assert_same_training(tmp_path / "whole", tmp_path / "moved")
  # What was asked is not asked again: the pool once, the test set once.
  asked = (tmp_path / "moved.log").read_text().split()
  assert sum(map(int, asked)) == 40 + 50
