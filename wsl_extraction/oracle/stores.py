"""The oracles of one extraction, with their stores of responses."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from wsl_extraction.oracle import settings
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.published import Publisher
from wsl_extraction.oracle.replays import TransferSet
from wsl_extraction.oracle.responders import (
    Answering,
    Responder,
    victim_resolution,
)
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.settings import OracleSettings
from wsl_extraction.oracle.store_file import Mode

_PATIENCE = 3600.0  # seconds that runs of one table wait for each other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stores:
  """The files of responses; None keeps nothing.

  Attributes:
    responses: What the attack was answered, and what it paid.
    measured: What the victim answered to measure the surrogate; runs that share
      it ask once.
    transfer_set: Responses of `label`, which are taken instead of asking the
      victim, and charged to the attack all the same.
    published: A folder for the responses to the attack, which processes read
      that train with this one.
  """

  responses: pathlib.Path | None = None
  measured: pathlib.Path | None = None
  transfer_set: pathlib.Path | None = None
  published: pathlib.Path | None = None


NO_STORES = Stores()


@contextlib.contextmanager
def attack_oracle(victim: Answering, options: OracleSettings, stores: Stores,
                  data: str | None) -> Iterator[Oracle]:
  """The oracle that the attack gets: on a budget, remembering on disk.

  Args:
    victim: Behind it.
    options: Its reveal, defences and budget.
    stores: Where it remembers.
    data: The fingerprint of the data set.
  """
  with contextlib.ExitStack() as stack:
    def opened(path: pathlib.Path, mode: Mode) -> ResponseStore:
      return stack.enter_context(options.store(
          path, victim.outputs, victim.fingerprint, data, mode,
          resolution=victim_resolution(victim)))

    responder: Responder = options.live(victim)
    if stores.transfer_set is not None:
      responder = TransferSet(
          opened(stores.transfer_set, Mode.READER), responder)
    store = None
    if stores.responses is not None:
      store = opened(stores.responses, Mode.OWNER)
    publish = None if stores.published is None else (
        Publisher(stores.published))
    yield Oracle(responder, options.budget, store, publish=publish)


@contextlib.contextmanager
def examiner_oracle(victim: Answering, stores: Stores,
                    data: str | None) -> Iterator[Oracle]:
  """The oracle by which surrogates are measured; see `attack_oracle`."""
  options = settings.richest(victim)
  with contextlib.ExitStack() as stack:
    store = None
    if stores.measured is not None:
      store = stack.enter_context(options.store(
          stores.measured, victim.outputs, victim.fingerprint, data,
          patience=_PATIENCE, resolution=victim_resolution(victim)))
    yield Oracle(options.live(victim, is_owner=True), None, store)
