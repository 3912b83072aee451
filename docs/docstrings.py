"""Google docstrings of this package, as reStructuredText that Sphinx reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator


def prepared(lines: Iterable[str]) -> list[str]:
  """Makes `this` code, as in Markdown, and References a list."""
  return [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
          for line in _listed(list(lines))]


def references(lines: list[str]) -> list[list[str]]:
  """Splits the lines of a References section into its entries.

  An entry begins where the last one has ended with a full stop, a bracket or an
  address, at the indent of the first.
  """
  entries: list[list[str]] = []
  indent = _indent(lines[0])
  for line in lines:
    if not entries or (_indent(line) == indent and re.search(
        r"(\.|\)|https?://\S+)$", entries[-1][-1])):
      entries.append([])
    entries[-1].append(line.strip())
  return entries


def _listed(lines: list[str]) -> Iterator[str]:
  place = 0
  while place < len(lines):
    line = lines[place]
    place += 1
    if line.strip() != "References:":
      yield line
      continue
    section = []
    while place < len(lines) and (
        lines[place].strip() and _indent(lines[place]) > _indent(line)):
      section.append(lines[place])
      place += 1
    margin = " " * _indent(line)
    yield f"{margin}.. rubric:: References"
    yield ""
    for entry in references(section) if section else ():
      for order, text in enumerate(entry):
        yield f"{margin}{'  ' if order else '* '}{text}"
    yield ""


def _indent(line: str) -> int:
  return len(line) - len(line.lstrip())
