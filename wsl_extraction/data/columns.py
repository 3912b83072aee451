"""Files of tables, and which of their columns mean what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from wsl_extraction import checks
from wsl_extraction.errors import InputError

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")


def is_table(name: str) -> bool:
  """Returns True for the name of a CSV or Parquet file."""
  return name.lower().endswith(CSV + PARQUET)


def is_parquet(name: str) -> bool:
  """Returns True for the name of a Parquet file."""
  return name.lower().endswith(PARQUET)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
  """The columns of a table that are not plain features.

  Attributes:
    label: The column of classes.
    categorical: Columns that hold categories although they look like numbers,
      and columns of many different texts.
    ignored: Columns that are left out, such as a row's number.
  """

  label: str
  categorical: Sequence[str] = ()
  ignored: Sequence[str] = ()

  def __post_init__(self):
    checks.text("Columns.label", self.label, "the name of the column of "
                "classes")
    for name in ("categorical", "ignored"):
      names = getattr(self, name)
      if not isinstance(names, (tuple, list)) or not all(
          isinstance(one, str) for one in names):
        checks.refuse(f"Columns.{name}", names, "a list of names of columns")
      if self.label in names:
        raise InputError(f"Columns.{name} has {self.label!r}, which is "
                         "Columns.label too; take it out of one of them")
      object.__setattr__(self, name, tuple(names))

  def check(self, where: str, names: Sequence[str]) -> None:
    """Makes sure that a table has these columns.

    Args:
      where: The table.
      names: Its columns.

    Raises:
      InputError: It has not, or has no others.
    """
    for setting, wanted in (("label", (self.label,)),
                            ("categorical", self.categorical),
                            ("ignored", self.ignored)):
      for name in wanted:
        if name not in names:
          raise InputError(f"{where} has no column {name!r}, which Columns."
                           f"{setting} names; its columns are {listed(names)}")
    if not set(names) - {self.label, *self.ignored}:
      raise InputError(f"{where} has no column beside {self.label!r} to tell "
                       "classes by; give features")


def listed(names: Sequence[str]) -> str:
  """Names of columns as they are shown in a message."""
  shown = [*map(repr, names[:20]), *(["..."] if len(names) > 20 else [])]
  return checks.listed(shown)
