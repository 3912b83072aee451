"""Every gin file with the paper's own settings runs one step."""

from __future__ import annotations

import pytest

from gin_files import (
    EXPERIMENTS,
    at_root,  # noqa: F401
    one_step,
)

PAPER = [name for name in EXPERIMENTS if name.count("/") > 1]
# At their own depth, where a step of all would take minutes.
DEEP = {"gin/imagenet/v2_50_100_wsl5.gin": 50,
        "gin/imagenet/v2_200_10_wsl_rotation.gin": 200}


@pytest.mark.parametrize("name", sorted(set(PAPER) - set(DEEP)))
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)


@pytest.mark.parametrize("name", DEEP)
def test_one_step_of_a_deep_and_narrow_network(name, tmp_path):
  network = "surrogate/resnet_v2.resnet_v2"
  one_step(name, tmp_path, f"{network}.depth = {DEEP[name]}",
           f"{network}.width = 2")
