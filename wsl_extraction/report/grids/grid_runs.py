"""The cells of a table, and the runs that they fall into."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from wsl_extraction.errors import InputError

# What can be measured, and what tables call it.
FIGURES = {
    "accuracy_top1": "top-1 accuracy",
    "accuracy_top5": "top-5 accuracy",
    "fidelity_top1": "top-1 fidelity",
    "fidelity_top5": "top-5 fidelity",
}


@dataclasses.dataclass(frozen=True)
class GinSettings:
  """Gin files and bindings of a run; later ones win."""

  files: tuple[str, ...] = ()
  bindings: tuple[str, ...] = ()

  @classmethod
  def parse(cls, where: str, settings: Any) -> GinSettings:
    """Reads a string or a sequence of strings.

    Args:
      where: What is read, for messages, such as "Grid.settings".
      settings: Each string is the path of a gin file if it ends in ".gin",
        else a binding or an import as gin files have them.

    Raises:
      InputError: One of them is neither.
    """
    texts = [settings] if isinstance(settings, str) else settings
    if not isinstance(texts, Sequence):
      raise InputError(f"{where} is {settings!r}; give a gin file, a binding, "
                       "or a list of them")
    for text in texts:
      if not isinstance(text, str) or not _SETTING.search(text):
        raise InputError(f"{where} has {text!r}, neither a gin file "
                         "(name.gin) nor a binding (name = value); mend it")
    return cls(tuple(t for t in texts if t.endswith(".gin")),
               tuple(t for t in texts if not t.endswith(".gin")))

  def __add__(self, other: GinSettings) -> GinSettings:
    return GinSettings(self.files + other.files, self.bindings + other.bindings)


_SETTING = re.compile(r"\.gin$|=|^(from|import)\s")


@dataclasses.dataclass(frozen=True)
class Cell:
  """One place of a table: a configuration that runs under several seeds.

  Attributes:
    row: The name of its row.
    column: The name of its column.
    settings: Its configuration, all but the seed.
    place: The folder of its runs, below that of the table.
  """

  row: str
  column: str
  settings: GinSettings
  place: str

  def __str__(self) -> str:
    return f"{self.row}, {self.column}"


@dataclasses.dataclass(frozen=True)
class Run:
  """One cell under one seed."""

  cell: Cell
  seed: int

  @property
  def settings(self) -> GinSettings:
    """Its whole configuration."""
    return self.cell.settings + GinSettings(
        bindings=(f"Experiment.seed = {self.seed}",))

  def folder(self, root: pathlib.Path) -> pathlib.Path:
    """The folder of its results, below that of the table."""
    return root / self.cell.place / f"seed_{self.seed}"

  def __str__(self) -> str:
    return f"{self.cell}, seed {self.seed}"


def runs(cells: Sequence[Cell], seeds: Sequence[int]) -> list[Run]:
  """All runs, seed by seed, so that all cells fill at the same pace."""
  return [Run(cell, seed) for seed in seeds for cell in cells]


def folder_name(name: str) -> str:
  """A name as a folder may be called everywhere."""
  return "".join(c if c.isalnum() else "_" for c in name)


def refuse_shared_folders(what: str, names: Iterable[str]) -> None:
  """Raises InputError where two names would share a folder.

  Some file systems take capitals for small letters.
  """
  by_folder = collections.defaultdict(list)
  for name in names:
    by_folder[folder_name(name).casefold()].append(name)
  for folder, sharing in by_folder.items():
    if len(sharing) > 1:
      raise InputError(f"{what} has {sharing[0]!r} and {sharing[1]!r}, which "
                       f"would share the folder {folder}; rename one")


def checked_seeds(where: str, seeds: Any) -> tuple[int, ...]:
  """Seeds as a tuple.

  Raises:
    InputError: There are none, one is twice there, or one is no seed.
  """
  if (not isinstance(seeds, Sequence) or not seeds
      or len(set(seeds)) != len(seeds)
      or not all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)):
    raise InputError(f"{where} is {seeds!r}; give a list of whole numbers from "
                     "0 on, at least one, and each once")
  return tuple(seeds)


def checked_figures(where: str, figures: Any) -> tuple[str, ...]:
  """Names of figures as a tuple.

  Raises:
    InputError: There are none, one is twice there, or one is unknown.
  """
  if (isinstance(figures, str) or not isinstance(figures, Sequence)
      or not figures or len(set(figures)) != len(figures)
      or not set(figures) <= set(FIGURES)):
    raise InputError(f"{where} is {figures!r}; choose from "
                     f"{', '.join(FIGURES)}, each once")
  return tuple(figures)
