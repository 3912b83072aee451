"""Every gin file with the paper's own settings runs one step."""

from __future__ import annotations

import gin
import pytest

from gin_files import EXPERIMENTS, ROOT, one_step
from wsl_extraction import cli


@pytest.fixture(autouse=True)
def _gin(monkeypatch, tmp_path_factory):
  monkeypatch.chdir(ROOT)
  # Those that share a victim train it once.
  monkeypatch.setenv("WSL_EXTRACTION_CACHE",
                     str(tmp_path_factory.getbasetemp() / "victims"))
  if not cli.FLAGS.is_parsed():
    cli.FLAGS(["tests"])
  yield
  gin.clear_config()


@pytest.mark.parametrize(
    "name", [name for name in EXPERIMENTS if name.count("/") > 1])
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)
