"""Reading configurations in gin's normal form, and comparing two."""

from __future__ import annotations

import os
import re


def first_difference(old: str, new: str) -> tuple[str, str, str] | None:
  """Finds the first binding in which two configurations differ.

  Args:
    old: A configuration as gin writes it.
    new: Another one.

  Returns:
    The binding's name, its old and its new value, shortened around the first
    difference; None when both bind the same names to the same values.
  """
  before, after = _bindings(old), _bindings(new)
  for name in [*after, *before]:
    if before.get(name) != after.get(name):
      return name, *_excerpts(before.get(name), after.get(name))
  return None


def version(config: str) -> str | None:
  """The version in the first line, "# wsl_extraction 1.2.3", if it is there."""
  line = re.match(r"# wsl_extraction (\S+)\n", config)
  return line[1] if line else None


def _bindings(config: str) -> dict[str, str]:
  """Reads gin's normal form: a value may go on in lines that are indented."""
  held: dict[str, str] = {}
  name = ""
  for line in config.splitlines():
    start = re.match(r"([\w./]+)\s*=(.*)", line)
    if start:
      name, text = start[1], start[2]
      held[name] = ""
    elif line[:1].isspace():
      text = line
    elif not line or line.startswith("#"):
      continue
    else:
      # An import, which has no value but matters as well.
      name, text = line, "present"
      held[name] = ""
    text = text.strip().removesuffix("\\").strip()
    held[name] = f"{held.get(name, '')} {text}".strip()
  return held


def _excerpts(old: str | None, new: str | None) -> tuple[str, str]:
  if old is None or new is None:
    return _excerpt(old, 0), _excerpt(new, 0)
  # By characters, which is what is wanted of text.
  common = len(os.path.commonprefix([old, new]))  # noqa: RUF071
  start = common - 20 if common > 40 else 0
  return _excerpt(old, start), _excerpt(new, start)


def _excerpt(value: str | None, start: int) -> str:
  if value is None:
    return "not set"
  part = value[start:start + 60]
  return ("..." if start else "") + part + (
      "..." if start + 60 < len(value) else "")
