"""Measurements of theorems, and their reports."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.report.panels import Panel
from wsl_extraction.report.text_tables import TextTable

# Rows of tables, by the table's name; a row is a dictionary of plain values.
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class TheoremReport:
  """Tables and plots of a measurement.

  Attributes:
    title: A line.
    sheets: Tables, by the name of what they show.
    plots: Panels side by side, by the name of their file.
    notes: What the reader has to know, a paragraph.
  """

  title: str
  sheets: Mapping[str, TextTable]
  plots: Mapping[str, Sequence[Panel]]
  notes: str


class Theorem(abc.ABC):
  """A measurement; fields of the classes below are its sizes."""

  @abc.abstractmethod
  def parts(self) -> Mapping[str, Callable[[], Rows]]:
    """The parts to run, by name; independent of one another, and seeded."""

  @abc.abstractmethod
  def findings(self, rows: Rows) -> TheoremReport:
    """The report on the rows of all parts."""


@dataclasses.dataclass(frozen=True)
class Hardness:
  """Settings of the command `hardness`.

  Attributes:
    theorem: Of `theorem1`, `theorem2` or `theorem3`.
  """

  theorem: Theorem

  def __post_init__(self):
    if not isinstance(self.theorem, Theorem):
      raise InputError(f"Hardness.theorem is {self.theorem!r}; give one, such "
                       "as @theorem1.Theorem1()")


def check_whole(where: str, values: Any, least: int) -> tuple[int, ...]:
  """Whole numbers as a tuple.

  Raises:
    InputError: There are none, or one is no whole number or below `least`.
  """
  if not isinstance(values, Sequence) or not values or not all(
      type(value) is int and value >= least for value in values):
    raise InputError(f"{where} is {values!r}; give a list of whole numbers, "
                     f"{least} or more each")
  return tuple(values)


def number(value: float, digits: int = 4) -> str:
  """A figure with thousands separated; small ones keep so many digits."""
  return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
