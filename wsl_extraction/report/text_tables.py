"""Tables of text, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class TextTable:
  """A table of text.

  Attributes:
    header: The names of the columns.
    rows: As many texts each.
    left: How many columns, the first ones, are aligned to the left; in LaTeX
      they show only where they change.
  """

  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  left: int = 1


def markdown(sheet: TextTable) -> str:
  """Draws a table that reads well unrendered; no newline at the end."""
  rows = [[cell.replace("|", "\\|") for cell in row]
          for row in (sheet.header, *sheet.rows)]
  widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
  rule = ["-" * width if place < sheet.left else "-" * (width - 1) + ":"
          for place, width in enumerate(widths)]

  def drawn(cells: Sequence[str]) -> str:
    padded = [
        cell.ljust(width) if place < sheet.left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))]
    return f"| {' | '.join(padded)} |"

  return "\n".join([drawn(rows[0]), drawn(rule), *map(drawn, rows[1:])])


def latex(sheet: TextTable, caption: str) -> str:
  """Sets a table for LaTeX and its package booktabs; ends in a newline."""
  import pandas  # slow to import

  left = sheet.left
  frame = pandas.DataFrame(
      [list(row[left:]) for row in sheet.rows],
      index=pandas.MultiIndex.from_tuples([row[:left] for row in sheet.rows]),
      columns=list(sheet.header[left:]))
  style = frame.style.format(escape="latex")
  for axis in ("index", "columns"):
    style = style.format_index(escape="latex", axis=axis)
  return style.to_latex(
      column_format="l" * left + "r" * frame.shape[1],
      position_float="centering", hrules=True, multirow_align="naive",
      caption=_escaped(" ".join(caption.split())))


def _escaped(text: str) -> str:
  import pandas

  # As pandas escapes what is in a table: as a table of one cell.
  style = pandas.DataFrame([text]).style.format(escape="latex")
  lines = style.hide(axis="index").hide(axis="columns").to_latex().splitlines()
  return lines[1].removesuffix(r"\\").strip()


def csv_text(fields: Sequence[str],
             records: Iterable[Mapping[str, Any]]) -> str:
  """Writes records as CSV with a header; None is an empty field."""
  stream = io.StringIO()
  writer = csv.DictWriter(stream, fields, lineterminator="\n")
  writer.writeheader()
  writer.writerows(records)
  return stream.getvalue()
