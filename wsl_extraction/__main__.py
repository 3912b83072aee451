"""Model extraction under an explicit threat model: all commands.

wsl-extraction train gin/rotation.gin
"""

from __future__ import annotations

import ast
import importlib
import pathlib
import sys
import textwrap

import wsl_extraction
from wsl_extraction import cli, cli_hints
from wsl_extraction.errors import InputError

COMMANDS = ("train", "evaluate", "label", "reproduce", "hardness", "doctor")


def main() -> int:
  """Runs the command that the first argument names, or lists them.

  Returns:
    The exit status.
  """
  # As with "python -m": modules of the user's are beside their gin files.
  if "" not in sys.path and str(pathlib.Path.cwd()) not in sys.path:
    sys.path.insert(0, "")
  name, *arguments = sys.argv[1:] or ["--help"]
  try:
    if name in ("--help", "-h", "help"):
      cli.show(_overview())
      return 0
    if name == "--version":
      cli.show(f"wsl_extraction {wsl_extraction.__version__}")
      return 0
    if name not in COMMANDS:
      raise InputError(
          f"there is no command {name!r}; give one of {', '.join(COMMANDS)}"
          f"{cli_hints.did_you_mean(name, COMMANDS)}")
  except InputError as error:
    cli.say(f"error: {error}")
    return 2
  sys.argv = [f"wsl-extraction {name}", *arguments]
  return importlib.import_module(f"wsl_extraction.{name}").launch()


def _overview() -> str:
  """The commands, a line each; none of them is imported."""
  lines = [(__doc__ or "").strip(), "", "Commands:"]
  for name in COMMANDS:
    source = pathlib.Path(__file__).with_name(f"{name}.py").read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    lines.append(textwrap.fill(
        docstring.splitlines()[0], 80, initial_indent=f"  {name:11}",
        subsequent_indent=" " * 13))
  return "\n".join([*lines, "", "wsl-extraction COMMAND --help lists flags; "
                    "python -m wsl_extraction\ndoes the same."])


if __name__ == "__main__":
  sys.exit(main())
