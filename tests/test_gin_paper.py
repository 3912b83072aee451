"""Every gin file with the paper's own settings runs one step."""

from __future__ import annotations

import pytest

from gin_files import (
    EXPERIMENTS,
    at_root,  # noqa: F401
    one_step,
)


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if name.count("/") > 1])
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)
