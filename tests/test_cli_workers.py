"""What a command hands to its workers, and what it asks of them."""

from __future__ import annotations

import pickle
import types
from typing import Any

import cloudpickle
import numpy as np
import pytest

from wsl_extraction import cli, cli_workers
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.runtime import backend

FACTS = {"outputs": 10, "fingerprint": "a", "licence": ""}


def test_workers_whose_victims_differ_are_refused():
  agree = cli_workers.FactsAgree()
  agree(FACTS)
  agree(dict(FACTS))
  with pytest.raises(InputError, match=(
      "its victim has the fingerprint 'b', that of the first worker 'a'; give "
      "all hosts the same files")):
    agree({**FACTS, "fingerprint": "b"})


def test_a_worker_elsewhere_gets_no_pool_and_few_rows_of_the_test_set(
    monkeypatch):
  monkeypatch.setattr(cli_workers.Surroundings, "of_this", lambda: None)

  def examples(count):
    return Examples(np.zeros((count, 8, 8, 1), np.uint8),
                    np.arange(count) % 3)

  parts = Parts(private=examples(5), pool=examples(9000), test=examples(9000),
                overlap=0, space=Images(8, 8, 1), class_names=tuple("abc"))
  assert len(parts.pool.keys) == 9000  # are kept once they are computed
  unused: Any = None
  make = cli_workers.victim_worker("a = 1", parts, True, unused)
  sent: Parts = make.args[1]
  assert [len(part) for part in (sent.private, sent.pool, sent.test)] == [
      5, 0, 128]
  assert len(cloudpickle.dumps(make)) < 40_000
  assert pickle.loads(pickle.dumps(sent)).num_classes == 3


def test_workers_have_those_flags_of_the_command_that_were_given(monkeypatch):
  flags = {name: types.SimpleNamespace(value=None)
           for name in ("data_dir", "cache_dir")}
  monkeypatch.setattr(cli, "FLAGS", flags)
  assert cli_workers.Surroundings.of_this().words == ()
  flags["data_dir"].value, flags["cache_dir"].value = "my data", "cache"
  assert cli_workers.Surroundings.of_this().words == (
      "--data_dir=my data", "--cache_dir=cache")


def test_workers_have_the_backend_of_the_command(monkeypatch):
  monkeypatch.setenv("KERAS_BACKEND", "torch")
  monkeypatch.setenv("TF_SOMETHING", "1")
  monkeypatch.setenv("SECRET", "2")
  variables = cli_workers.environment()
  assert variables["KERAS_BACKEND"] == backend.chosen() == "torch"
  assert variables["TF_SOMETHING"] == "1"
  assert "SECRET" not in variables
