"""Lines on the standard error, tables on the standard output, and --help."""

from __future__ import annotations

import os
import sys
import textwrap
import warnings
from collections.abc import Iterable

from absl import flags

from wsl_extraction.errors import DataWarning, InputError
from wsl_extraction.report import notices


def say(text: str) -> None:
  """Prints a line to the standard error."""
  print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
  """Prints to the standard output, of which `| head` may have seen enough.

  Raises:
    InputError: It is a file on a full disk, say.
  """
  try:
    print(text, flush=True)
  except OSError as error:
    # Else Python tries once more when it ends, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
      raise InputError("cannot write to the standard output: "
                       f"{error.strerror}; send it elsewhere") from error


def show_warnings() -> None:
  """From now on, warnings of this package are lines of its own.

  Those of Pillow, of odd metadata in images, mean nothing here.
  """
  others = warnings.showwarning

  def shown(message, category, *where, **more):
    if issubclass(category, DataWarning):
      notices.warn(str(message))
    else:
      others(message, category, *where, **more)

  warnings.showwarning = shown
  warnings.filterwarnings("ignore", module=r"PIL\.")


def usage(description: str, names: Iterable[str]) -> str:
  """The text of --help: what the command does, and its flags."""
  lines = [description.strip(), "", "Flags:"]
  for name in names:
    flag = flags.FLAGS[name]
    if flag.help.startswith("Gone"):
      continue
    value = "" if flag.boolean else f"={name.upper()}"
    text = textwrap.fill(flag.help.split(";\n")[0], 72)
    lines += [f"  --{name}{value}", textwrap.indent(text, " " * 6)]
  return "\n".join(lines)
