"""Every small gin file runs one step; every gin file says what it is."""

from __future__ import annotations

from typing import Any

import gin
import keras
import pytest

from fixtures.gin_files import (
    EXPERIMENTS,
    FILES,
    LEARNING,
    ROOT,
    SHARED,
    at_root,  # noqa: F401
    extracted,
    one_step,
)
from wsl_extraction import cli

# Their attacks run in test_attacks.py, what they include with activethief.gin.
LATER = ("gin/copycat.gin", "gin/knockoff.gin")


# After one step a victim guesses, and its owner is told.
@pytest.mark.filterwarnings("ignore::wsl_extraction.errors.VictimWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LATER))
             for name in LEARNING if name.count("/") == 1])
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)


def test_functional_extraction_is_exact(tmp_path):
  # Surrogates are kept in single precision on jax.
  bound = 1e-8 if keras.backend.backend() != "jax" else 1e-1
  cli.configure(["gin/functional.gin"], [])
  _, parts, copy = extracted(tmp_path)
  assert copy.status == "DONE"
  assert copy.extraction.figure("queries_per_bound") < 3
  assert copy.fidelity == 1
  # On all images, none of which leaves this range.
  assert parts.space.value_range == (0, 255) and parts.space.features == 64
  assert copy.evaluation
  proof: Any = copy.evaluation.certificate
  assert proof
  assert 0 <= proof.lower <= proof.upper < bound


def test_extraction_through_an_api_of_pixels_is_exact(tmp_path):
  cli.configure(["gin/functional_pixels.gin"], [])
  _, _, copy = extracted(tmp_path)
  assert copy.status == "DONE"
  assert "rounds inputs to 8 bits" in copy.extraction.figure("inputs")
  assert copy.extraction.figure("queries_per_bound") < 20
  assert copy.fidelity == 1


def test_path_finding_is_proved_on_every_row(tmp_path):
  cli.configure(["gin/path_finding.gin"], [])
  _, _, copy = extracted(tmp_path)
  assert copy.status == "DONE" and copy.queries < 1100
  assert copy.extraction.figure("leaves") == 19
  assert copy.fidelity == 1
  assert "the trees are equal on every row: all 19" in str(copy).replace(
      "\n               ", " ")


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
