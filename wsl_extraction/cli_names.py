"""Names of this package in gin files, checked against its sources.

Nothing is imported: the syntax trees of the modules that a gin file imports
tell which classes and functions there are, and which parameters they have. What
the trees do not tell (a class that inherits from another package's, a function
that takes `**kwargs`) is left to gin.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import wsl_extraction
from wsl_extraction import cli_hints
from wsl_extraction.errors import InputError

_PACKAGE = pathlib.Path(wsl_extraction.__file__).parent
# Bases without fields of their own.
_BARE = frozenset({"ABC", "Protocol", "Generic"})
# The name of the statement after which files name what they import.
_DYNAMIC = "dynamic_registration"
_Defined = ast.ClassDef | ast.FunctionDef


@dataclasses.dataclass(frozen=True)
class Selector:
  """A name in a gin file, with the parameter that is bound, if any.

  Attributes:
    where: The file or binding.
    line: In that file.
    name: Without scopes, such as "learning.Learning".
    parameter: Such as "rounds"; empty where the name is referred to.
    value: What is bound to it.
  """

  where: str
  line: int
  name: str
  parameter: str = ""
  value: object = None


def check(selector: Selector, modules: Mapping[str, str]) -> None:
  """Makes sure that a name of this package exists, as far as that is known.

  Args:
    selector: The name.
    modules: What the file imports: the name in the file -> the module.

  Raises:
    InputError: It does not, or has no such parameter.
  """
  first, *parts = selector.name.split(".")
  module = modules.get(first)
  if module is None and parts and first != "gin" and _DYNAMIC in modules:
    raise _refusal(selector, f"'{first}' was not provided by an import "
                   "statement", cli_hints.did_you_mean(first, modules))
  if module is None or not parts or not _is_ours(module):
    return
  while len(parts) > 1 and (_file(f"{module}.{parts[0]}")
                            or _folder(f"{module}.{parts[0]}").is_dir()):
    module = f"{module}.{parts.pop(0)}"
  tree = _tree(module)
  if tree is None or len(parts) != 1:
    return
  names = _top_names(tree)
  if parts[0] not in names:
    if "*" not in names:
      raise _refusal(selector, f"<module '{module}'> has no attribute "
                     f"{parts[0]}",
                     cli_hints.did_you_mean(parts[0], names))
    return
  parameters = _parameters(module, parts[0]) if selector.parameter else None
  if parameters is not None and selector.parameter not in parameters:
    raise _refusal(
        selector, f"Configurable '{selector.name}' doesn't have a parameter "
        f"named '{selector.parameter}'",
        cli_hints.did_you_mean(selector.parameter, parameters))


def _refusal(selector: Selector, said: str, meant: str) -> InputError:
  return cli_hints.gin_error(
      selector.where, f"{said}\n  In file \"\", line {selector.line}\n"
      f"    {selector.name}.{selector.parameter} = {selector.value!r}",
      meant=meant)


def _is_ours(module: str) -> bool:
  return module.split(".")[0] == _PACKAGE.name


def _folder(module: str) -> pathlib.Path:
  return _PACKAGE.joinpath(*module.split(".")[1:])


def _file(module: str) -> pathlib.Path | None:
  path = _folder(module)
  for candidate in (path.with_suffix(".py"), path / "__init__.py"):
    if candidate.is_file():
      return candidate
  return None


@functools.cache
def _tree(module: str) -> ast.Module | None:
  path = _file(module)
  return path and ast.parse(path.read_text(encoding="utf-8"))


def _top_names(tree: ast.Module) -> set[str]:
  """The names that a module binds; "*" if it does so in a way not seen here."""
  names = set()
  for node in tree.body:
    match node:
      case ast.ClassDef() | ast.FunctionDef():
        names.add(node.name)
      case ast.Import() | ast.ImportFrom():
        names |= {alias.asname or alias.name.split(".")[0]
                  for alias in node.names}
      case ast.Assign() | ast.AnnAssign():
        names |= {part.id for part in ast.walk(node)
                  if isinstance(part, ast.Name)
                  and isinstance(part.ctx, ast.Store)}
      case ast.Expr():
        pass
      case ast.If() if ast.unparse(node.test) == "TYPE_CHECKING":
        pass
      case _:
        names.add("*")
  if "__getattr__" in names:
    names.add("*")
  return names


def _parameters(module: str, name: str) -> Sequence[str] | None:
  """The parameters of a class or function; None where that is not known."""
  tree = _tree(module)
  for node in tree.body if tree else ():
    if isinstance(node, _Defined) and node.name == name:
      return _class_fields(module, node) if isinstance(
          node, ast.ClassDef) else _arguments(node)
    if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
      for alias in node.names:
        if (alias.asname or alias.name) == name:
          return _parameters(node.module or "", alias.name)
  return None


def _arguments(function: ast.FunctionDef) -> Sequence[str] | None:
  if function.args.kwarg or function.decorator_list:
    return None
  arguments = function.args
  return [one.arg for one in (
      *arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _class_fields(module: str, node: ast.ClassDef) -> Sequence[str] | None:
  for part in node.body:
    if isinstance(part, ast.FunctionDef) and part.name in (
        "__init__", "__new__"):
      return _arguments(part)
  if not all("dataclass" in ast.unparse(one) for one in node.decorator_list):
    return None
  fields = [part.target.id for part in node.body
            if isinstance(part, ast.AnnAssign)
            and isinstance(part.target, ast.Name)]
  for base in node.bases:
    last = ast.unparse(base).split("[")[0].split(".")[-1]
    if last in _BARE:
      continue
    inherited = _parameters(module, last) if isinstance(
        base, ast.Name) else None
    if inherited is None:
      return None
    fields += inherited
  return fields
