"""Messages on gin files: the cause in one line, and what may be meant."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import tokenize
from collections.abc import Iterable

from gin import config

from wsl_extraction.errors import InputError
from wsl_extraction.report import gin_moves

# What gin adds to messages, and the short form of it.
_GINS_WORDS = (
    (r"\s+No values supplied by Gin .*?Caller supplied values for: \[.*?\]",
     ""),
    (r"\s+In call to configurable '([^']+)' \(<[^\n]*>\)"
     r"(?: in scope '([^']+)')?",
     lambda call: f" (in {'/'.join(filter(None, call.group(2, 1)))})"),
    (r"(?:Couldn't resolve selector [\w.]+; )?<module '([\w.]+)'[^>]*>",
     r"\1"),
    # The line is one of the imports that a binding is parsed with.
    (r"\s+In bindings string line \d+\s.*", ""),
    (r"\.?\s+In file \"([^\"]*)\", (line \d+)\s.*", r" (\2 of \1)"),
    (r" \(line (\d+) of \)", r" (line \1)"),
)
_TOKEN = re.compile(r"Failed to parse token '(\w+)'")
_CONSTANTS = {"true": "True", "false": "False", "none": "None", "null": "None"}


def one_line(error: BaseException | str) -> str:
  """Returns a message of gin or Python as one line without its places."""
  text = str(error)
  for pattern, short in _GINS_WORDS:
    text = re.sub(pattern, short, text, flags=re.DOTALL)
  return re.sub(r"\s+", " ", text).strip().rstrip(".") or type(error).__name__


def did_you_mean(name: str, names: Iterable[str]) -> str:
  """The name that is most like a misspelt one, as the end of a message."""
  near = difflib.get_close_matches(name, sorted(set(names)), 1, 0.75)
  return f"; did you mean {near[0]}?" if near else ""


def syntax_error(where: str,
                 error: SyntaxError | tokenize.TokenError) -> InputError:
  """Says where gin's syntax is wrong, and what to write.

  Args:
    where: The file or binding.
    error: As gin's parser or Python's tokenizer raises it.
  """
  if not isinstance(error, SyntaxError):
    return InputError(f"{where}, near line {error.args[1][0]}: a bracket or "
                      "quotation mark is not closed; close it")
  token = _TOKEN.search(error.msg)
  said = f"{token[1]} is no value" if token else one_line(
      str(error.msg).split("\n")[0])
  remedy = _remedy(error.msg, error.text or "")
  if where.startswith("--"):  # one line, after some that the user has not seen
    return InputError(f"{where}: {said}; {remedy}")
  place = f"line {error.lineno}"
  same = (None, where.removeprefix("gin file "), "<tokenize>")
  if error.filename not in same:
    place += f" of {error.filename}"
  return InputError(f"{where}: {said} ({place}); {remedy}")


def _remedy(said: str, line: str) -> str:
  """The text to write instead of a line that gin cannot parse."""
  statement = re.match(r"\s*(?:[^=]*?=|include\b)\s*(.*?)\s*(?:#.*)?$", line)
  value = statement[1] if statement else ""
  token = _TOKEN.search(said)
  if token and token[1] in _CONSTANTS:
    return f"write {_CONSTANTS[token[1]]}"
  if not value or ("parse" not in said and "newline" not in said):
    return "mend the syntax"
  if value[0] in "'\"":
    return ("mend the syntax" if value.count(value[0]) % 2 == 0 else
            "a quotation mark is not closed; close it")
  if re.match(r"\w+(\.\w+)*\(\)?$", value):
    return f"for an object write @{value.rstrip('()')}()"
  if re.match(r"[A-Za-z_./~\\][^'\"@%(){}\[\]]*$", value):
    return f"text needs quotation marks: write '{value}'"
  if token and not token[1].isdigit():
    return f"text needs quotation marks: write '{token[1]}'"
  return "mend the syntax"


def gin_error(where: str, said: str, meant: str | None = None) -> InputError:
  """Says what gin does not know, what may be meant, or what it has become.

  Args:
    where: The file or binding.
    said: Gin's message: a line with the reason, then the place, then the
      statement.
    meant: As of `did_you_mean`; by default for the name in the message, if it
      tells of one that was imported.
  """
  text, remedy = gin_moves.explained(said)
  if text == said:
    remedy += did_you_mean(*_misspelt(said.split("\n")[0])) if (
        meant is None) else meant
  # The file of the line is named where it is another, an included one.
  short = one_line(text).replace(
      f" of {where.removeprefix('gin file ')})", ")")
  return InputError(f"{where}: {short}; {remedy}")


def _misspelt(reason: str) -> tuple[str, Iterable[str]]:
  """The name that a message of gin complains of, and those that there are."""
  if match := re.search(
      r"'([\w.]+)' doesn't have a parameter named '(\w+)'", reason):
    return match[2], _parameters(match[1])
  if match := re.search(r"<module '([\w.]+)'.* has no attribute (\w+)", reason):
    return match[2], [name for name in dir(sys.modules.get(match[1]))
                      if not name.startswith("_")]
  if match := re.search(r"'(\w+)' was not provided by an import", reason):
    return match[1], {one.bound_name() for one in config._IMPORTS}
  if match := re.search(r"No configurable matching '([\w.]+)'", reason):
    return match[1], {part for name in _known()
                      for part in (name, name.rpartition(".")[2])}
  return "", ()


def _known() -> list[str]:
  """The full names of all that gin can configure so far."""
  return [name for name, _ in config._REGISTRY.items()]


def _parameters(name: str) -> list[str]:
  """The parameters of a class or function that gin knows by this name."""
  try:
    thing = config._REGISTRY.get_match(name)
    return list(inspect.signature(thing.wrapped).parameters) if thing else []
  except (KeyError, TypeError, ValueError):  # several, or not written in Python
    return []
