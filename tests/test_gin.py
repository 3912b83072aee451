"""Every small gin file runs one step; every gin file says what it is."""

from __future__ import annotations

import gin
import pytest

from gin_files import (
    EXPERIMENTS,
    FILES,
    ROOT,
    SHARED,
    at_root,  # noqa: F401
    one_step,
)
from wsl_extraction import cli


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if name.count("/") == 1])
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)


def test_configurations_do_not_depend_on_what_was_read_before():
  """Else a table would refuse its own runs, which are read alone."""
  before = {}
  for name in EXPERIMENTS:
    cli.configure([name], [])
    before[name] = gin.config_str()
  for name in reversed(EXPERIMENTS):
    cli.configure([name], [])
    assert gin.config_str() == before[name]


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is(name):
  """The header of a config: what it runs, by which command."""
  first = (ROOT / name).read_text().splitlines()[0]
  assert first.startswith("# ")
  if name not in SHARED:
    assert f"--gin_file={name}" in (ROOT / name).read_text()
