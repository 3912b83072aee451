"""Every small gin file runs one step; every gin file says what it is."""

from __future__ import annotations

import gin
import keras
import numpy as np
import pytest

from fixtures.gin_files import (
    EXPERIMENTS,
    FILES,
    LEARNING,
    ROOT,
    SHARED,
    at_root,  # noqa: F401
    one_step,
)
from wsl_extraction import cli


@pytest.mark.parametrize(
    "name", [name for name in LEARNING if name.count("/") == 1])
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)


def test_functional_extraction_is_exact(tmp_path):
  from wsl_extraction import experiment as experiments
  from wsl_extraction.attacks.attack import Status, Surroundings
  from wsl_extraction.equivalence import certify, domains
  from wsl_extraction.victims import victim as victims

  # Surrogates are kept in single precision on jax.
  bound = 1e-8 if keras.backend.backend() != "jax" else 1e-1
  cli.configure(["gin/functional.gin"], [])
  experiment = cli.built(experiments.Experiment)
  dataset, parts = experiment.data()
  experiment.check(dataset, parts)
  victim = experiment.victim(
      dataset, parts, victims.Surroundings(cli.cache_folder()))
  with experiment.attacked(tmp_path / "r.sqlite", victim, dataset) as oracle:
    extraction = experiment.attack(
        oracle, parts.pool, 0, Surroundings(value_range=dataset.value_range))
  figures = experiments.examine(extraction.surrogate, victim, parts.test)
  assert extraction.status is Status.DONE
  assert extraction.notes["queries_per_bound"] < 3
  assert figures["surrogate"]["fidelity_top1"].value == 1
  low, high = map(float, dataset.value_range)
  proof = certify.certify(victim.weights, extraction.weights, domains.Box(
      np.full(64, low), np.full(64, high)))
  assert 0 <= proof.lower <= proof.upper < bound


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
