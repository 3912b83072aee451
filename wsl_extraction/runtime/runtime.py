"""Folder, devices and displays: what a caller offers an attack or a victim."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsl_extraction.runtime import files
from wsl_extraction.runtime.placement import ONE_DEVICE, Placement

if TYPE_CHECKING:
  import keras


def cache_folder(chosen: str | os.PathLike | None = None) -> pathlib.Path:
  """The folder of trained victims: `chosen`, else the environment's choice."""
  path = chosen or os.environ.get("WSL_EXTRACTION_CACHE")
  return files.expanded(path) if path else files.in_home(
      ".cache", "wsl_extraction")


def _no_callbacks(name: str, steps: int,
                  rows: int) -> Sequence[keras.callbacks.Callback]:
  del name, steps, rows
  return ()


@dataclasses.dataclass(frozen=True)
class Runtime:
  """Folder, devices and callbacks that a caller provides.

  Attributes:
    folder: Where a checkpoint may be kept, so that a call after an
      interruption goes on; None keeps nothing.
    cache: The folder of what is made once and used again.
    placement: The devices and processes that train; see
      `distribution.place`. All processes run the attack. The main one alone
      asks and writes; the others have an oracle that gives the responses which
      the main one got.
    compile_options: For Keras' `compile`, beside the optimizer; see
      `devices.compile_options`.
    adapt: Called with a network before it is trained; see `devices.adapt`.
    training_callbacks: Called with the name of a training ("surrogate" for the
      last one), its steps and the rows that it learns from in each, gives
      Keras callbacks for it.
    stage: Called by attacks that train nothing with what they are doing and
      the rows that were asked so far.
    read_batches: Gives the elements of a grain `MapDataset` of batches whose
      images are files still; None reads in this process.
  """

  folder: pathlib.Path | None = None
  cache: pathlib.Path = dataclasses.field(default_factory=cache_folder)
  placement: Placement = ONE_DEVICE
  compile_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  adapt: Callable[[keras.Model], None] = lambda network: None
  training_callbacks: Callable[
      [str, int, int], Sequence[keras.callbacks.Callback]] = _no_callbacks
  stage: Callable[[str, int], None] = lambda name, rows: None
  read_batches: Callable[[Any], Iterable[Any]] | None = None
