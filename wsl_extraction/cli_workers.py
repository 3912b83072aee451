"""Victims that workers of an engine hold, and whole runs that they do.

The owner of a store or a table, a command, never loads a victim that others
hold: it learns its facts from them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
import numpy as np

from wsl_extraction import cli
from wsl_extraction.errors import InputError

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.data.split import Parts
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.oracle.responders import Live
  from wsl_extraction.oracle.response_codec import Packed
  from wsl_extraction.oracle.rows import LazyRows
  from wsl_extraction.victims.victim import Victim

_TEST_ROWS = 128  # of the owner, by which a victim is looked at


class VictimWorker:
  """A victim that answers batches of the owner of a store."""

  def __init__(self, experiment: Experiment, parts: Parts):
    """Loads the victim.

    Args:
      experiment: What is asked, and how.
      parts: The data that the victim may see, and the owner's rows.

    Raises:
      InputError: It cannot be had.
    """
    from wsl_extraction.oracle.responders import victim_resolution
    from wsl_extraction.oracle.response_codec import ResponseCodec

    self._parts, settings = parts, experiment.oracle
    self.victim: Victim = cli.load_victim(experiment, parts)
    self._live = settings.live(self.victim)
    self._codec = ResponseCodec(
        settings.reveal, self.victim.outputs, settings.response_dtype,
        max(settings.resolution, victim_resolution(self.victim)))
    self._lock = threading.Lock()

  def facts(self) -> Mapping[str, Any]:
    """What the owner has to know of the victim."""
    from wsl_extraction.oracle.responders import victim_resolution

    victim = self.victim
    return {"outputs": victim.outputs, "fingerprint": victim.fingerprint,
            "resolution": victim_resolution(victim), "remote": victim.remote,
            "linked": victim.link is not None, "licence": victim.licence}

  def doubts(self) -> list[str]:
    """Doubts about the victim; see `inspection.check_victim`."""
    from wsl_extraction.victims import inspection

    doubts: list[str] = []
    inspection.check_victim(self.victim, self._parts, doubts.append)
    return doubts

  def responder(self) -> Live:
    """The victim behind an oracle of this process."""
    return self._live

  def answer(self, rows: np.ndarray | LazyRows,
             keys: Sequence[bytes]) -> Packed:
    """The responses to checked rows that are charged, encoded."""
    rows = np.asarray(rows)  # decodes files, while another batch is answered
    with self._lock:
      response = self._live(rows, keys)
    return self._codec.pack(response)


class FactsAgree:
  """Refuses workers whose victim is not that of the first one."""

  def __init__(self):
    self._first: Mapping[str, Any] | None = None

  def __call__(self, facts: Mapping[str, Any]) -> None:
    """Compares the facts of a worker.

    Raises:
      InputError: They differ.
    """
    first = self._first = self._first or facts
    for name, value in facts.items():
      if value != first[name]:
        raise InputError(
            f"its victim has the {name} {value!r}, that of the first worker "
            f"{first[name]!r}; give all hosts the same files, and a cache of "
            "trained victims that they share")


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """The surroundings of a command, for its workers.

  Attributes:
    folder: Its current folder, which they take too where it is there.
    path: Where it finds modules.
    words: Flags that they read as well.
  """

  folder: str
  path: tuple[str, ...]
  words: tuple[str, ...]

  @classmethod
  def of_this(cls) -> Surroundings:
    """That of this process."""
    words = [f"--{name}={cli.FLAGS[name].value}"
             for name in ("data_dir", "cache_dir") if cli.FLAGS[name].value]
    return cls(os.getcwd(), tuple(path or os.getcwd() for path in sys.path),
               tuple(words))

  def take_on(self) -> None:
    """Makes a worker's surroundings those of the command."""
    if os.path.isdir(self.folder):
      os.chdir(self.folder)
    sys.path += [path for path in self.path if path not in sys.path]
    cli.FLAGS(["worker", *self.words])


def victim_worker(config: str, parts: Parts, is_remote: bool,
                  experiment: Experiment) -> functools.partial[VictimWorker]:
  """A function that makes a `VictimWorker`, here or in a worker of an engine.

  Args:
    config: The configuration as gin writes it.
    parts: The data; a worker elsewhere gets no pool, and of the test set as
      many rows as it looks at.
    is_remote: Whether workers are other processes.
    experiment: As it is configured here.
  """
  if not is_remote:
    return functools.partial(VictimWorker, experiment, parts)
  parts = dataclasses.replace(
      parts, pool=_first(parts.pool, 0), test=_first(parts.test, _TEST_ROWS),
      private=parts.private if len(parts.private) else _first(parts.private, 0))
  return functools.partial(_elsewhere, config, parts, Surroundings.of_this())


def _first(examples: Examples, count: int) -> Examples:
  """The first few examples, without a way to the files of others."""
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.rows import LazyRows

  some = examples.take(np.arange(min(len(examples), count)))
  rows = some.rows
  return Examples(rows.fetched() if isinstance(rows, LazyRows) else rows,
                  some.labels)


def _elsewhere(config: str, parts: Parts,
               surroundings: Surroundings) -> VictimWorker:
  from wsl_extraction.runtime import devices

  surroundings.take_on()
  cli.load_backend()
  with _as_input_errors():
    gin.clear_config()
    gin.parse_config(config)
  from wsl_extraction.experiment import Experiment

  experiment = cli.built(Experiment)
  devices.set_precision(experiment.precision)
  return VictimWorker(experiment, parts)


@contextlib.contextmanager
def _as_input_errors():
  """Names modules that the host of a worker lacks, in one line."""
  try:
    yield
  except (ImportError, AttributeError, ValueError, NameError) as error:
    said = " ".join(str(error).split())[:200]
    raise InputError(
        f"the configuration cannot be read there ({said}); install what it "
        "imports on every host, or share the folder of the command") from error


def environment() -> dict[str, str]:
  """The variables of this process that its workers take over."""
  from wsl_extraction.runtime import backend

  kept = ("KERAS_", "TF_", "XLA_", "JAX_", "TFDS_", "WSL_EXTRACTION_",
          "PYTHONWARNINGS")
  return {"KERAS_BACKEND": backend.chosen(), **{
      name: value for name, value in os.environ.items()
      if name.startswith(kept)}}
