"""Gin files as text: found, decoded and parsed before anything is imported.

A file that is missing, that includes itself, or that has a wrong syntax is
refused before Keras and its backend are imported, which takes seconds. So is an
import of a module that is not there, and a macro that nothing defines.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
import tokenize
from collections.abc import Iterator, Sequence
from typing import Any

from gin import config_parser

import wsl_extraction
from wsl_extraction import cli_files, cli_hints, cli_names
from wsl_extraction.errors import InputError

_PACKAGE = pathlib.Path(wsl_extraction.__file__).parent


@dataclasses.dataclass(frozen=True)
class Statement:
  """A statement of a gin file or binding, and where it is."""

  where: str
  line: int
  content: Any
  macros: tuple[str, ...]
  references: tuple[str, ...] = ()


class _Delegate(config_parser.ParserDelegate):
  """Takes note of macros; references are left to gin."""

  def __init__(self):
    self.macros: list[str] = []
    self.references: list[str] = []

  def configurable_reference(self, scoped_configurable_name, evaluate):
    self.references.append(scoped_configurable_name)
    return "@" + scoped_configurable_name

  def macro(self, macro_name):
    self.macros.append(macro_name)
    return "%" + macro_name


def check(names: Sequence[str],
          bindings: Sequence[str] = ()) -> list[Statement]:
  """Refuses what can be told to be wrong without importing anything.

  Args:
    names: The gin files.
    bindings: As of --gin_bindings.

  Returns:
    The statements of all of them.

  Raises:
    InputError: A file or an include of it is missing or no UTF-8, includes
      itself, or has a wrong syntax; an imported module is missing.
  """
  statements = []
  for name in names:
    path = cli_files.find(name)
    if path is None:
      raise InputError(f"there is no gin file {name}; give the path of one, "
                       f"such as --gin_file=gin/rotation.gin{_similar(name)}")
    statements += _statements(path, ())
  for binding in bindings:
    statements += _parsed(f"--gin_bindings={binding}", binding)
  for statement in statements:
    if isinstance(statement.content, config_parser.ImportStatement):
      _check_import(statement, statement.content.module)
  _check_names(statements)
  return statements


def _similar(name: str) -> str:
  """The gin file that may be meant, as the end of a message."""
  there = {str(path.relative_to(folder))
           for folder in (pathlib.Path(), *cli_files.SEARCH_PATH)
           for pattern in ("*.gin", "gin/**/*.gin")
           for path in folder.glob(pattern)}
  return cli_hints.did_you_mean(name, there)


def _statements(path: str, including: tuple[str, ...]) -> Iterator[Statement]:
  """The statements of a file and of all that it includes."""
  real = os.path.realpath(path)
  trail = [*including, path]
  if real in map(os.path.realpath, including):
    raise InputError(f"gin file {path} includes itself ("
                     f"{' > '.join(trail)}); take one of the includes out")
  for statement in _parsed(f"gin file {path}", cli_files.read(path)):
    yield statement
    if isinstance(statement.content, config_parser.IncludeStatement):
      name = statement.content.filename
      included = cli_files.find(name, path)
      if included is None:
        raise InputError(
            f"gin file {path}, line {statement.line}: there is no gin file "
            f"{name} to include; give a path that starts here or beside that "
            f"file{_similar(name)}")
      yield from _statements(included, (*including, path))


def _parsed(where: str, text: str) -> list[Statement]:
  delegate = _Delegate()
  statements = []
  try:
    for content in config_parser.ConfigParser(text, delegate):
      statements.append(Statement(
          where, content.location.line_num, content, tuple(delegate.macros),
          tuple(delegate.references)))
      delegate.macros.clear()
      delegate.references.clear()
  except (SyntaxError, tokenize.TokenError) as error:
    raise cli_hints.syntax_error(where, error) from error
  except (ValueError, IndexError) as error:  # a malformed name
    raise InputError(f"{where}: {error}; mend the syntax") from error
  return statements


def _check_import(statement: Statement, module: str) -> None:
  """Refuses an import of what is not there; nothing is imported."""
  first, *parts = module.split(".")
  if first == "__gin__":
    return
  missing, near = "", []
  if first != "wsl_extraction":
    try:
      is_there = importlib.util.find_spec(first) is not None
    except (ValueError, ImportError):
      is_there = True  # Python itself may say more
    if not is_there:
      missing, near = first, [path.stem for path in pathlib.Path().glob("*.py")]
  else:
    folder, done = _PACKAGE, first
    for part in parts:
      done += f".{part}"
      if (folder / part).is_dir():
        folder /= part
        continue
      if not (folder / f"{part}.py").is_file():
        missing, near = done, [
            f"{done.rpartition('.')[0]}.{path.stem}"
            for path in folder.iterdir()]
      break
  if missing:
    raise cli_hints.gin_error(
        statement.where, f"No module named '{missing}'\n  In file \"\", line "
        f"{statement.line}\n", cli_hints.did_you_mean(missing, near))


def _check_names(statements: Sequence[Statement]) -> None:
  """Refuses names of this package that its sources do not have."""
  imported: dict[str, dict[str, str]] = {}
  for one in statements:
    # A binding may use what any file imports.
    place = "" if one.where.startswith("--") else one.where
    if isinstance(one.content, config_parser.ImportStatement):
      module = one.content.module
      imported.setdefault(place, {})[one.content.bound_name()] = (
          module if one.content.is_from or one.content.alias
          else module.split(".")[0])
  everywhere = {name: module for names in imported.values()
                for name, module in names.items()
                if name != "dynamic_registration"}
  for one in statements:
    modules = everywhere if one.where.startswith("--") else (
        imported.get(one.where, {}))
    for name in one.references:
      cli_names.check(cli_names.Selector(
          one.where, one.line, name.split("/")[-1]), modules)
    if isinstance(one.content, config_parser.BindingStatement):
      cli_names.check(cli_names.Selector(
          one.where, one.line, one.content.selector,
          one.content.arg_name or "", one.content.value), modules)


def check_macros(statements: Sequence[Statement]) -> None:
  """Raises InputError if a macro is used that no statement defines."""
  modules = [one.content.module.split(".")[0] for one in statements
             if isinstance(one.content, config_parser.ImportStatement)]
  # Others may define constants of gin, which look like macros.
  if not set(modules) <= {"__gin__", "wsl_extraction", "keras", "sklearn"}:
    return
  defined = {"/".join(filter(None, (one.content.scope, one.content.selector)))
             for one in statements
             if isinstance(one.content, config_parser.BindingStatement)}
  for one in statements:
    for name in one.macros:
      if name not in defined and f"{name}/macro" not in defined:
        raise InputError(
            f"{one.where}, line {one.line}: no gin file or binding defines "
            f"%{name}; write {name} = 1, say"
            f"{cli_hints.did_you_mean(name, defined)}")


