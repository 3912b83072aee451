"""Warnings of commands: loud, on standard error, and on their own lines."""

from __future__ import annotations

import sys


def warn(text: str) -> None:
  """Prints a warning, one line between two empty ones."""
  is_terminal = sys.stderr.isatty()
  bold, plain = ("\x1b[1;31m", "\x1b[0m") if is_terminal else ("", "")
  print(f"\n{bold}WARNING: {text}{plain}\n", file=sys.stderr, flush=True)
