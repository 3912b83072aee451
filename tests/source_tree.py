"""What the source files of a checkout import, read without running them.

Imports inside functions and under `TYPE_CHECKING` count like all others.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator

PACKAGE = "wsl_extraction"
ROOT = pathlib.Path(__file__).parent.parent
_GIN_IMPORT = re.compile(
    r"^(?:from\s+([\w.]+)\s+import\s+(\w+)|import\s+([\w.]+))", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class SourceTree:
  """The Python and gin files below `root`.

  A module of the package goes by its dotted name, a file of tests/ or
  benchmarks/ by its stem, as the other files there import it.
  """

  root: pathlib.Path = ROOT
  _parsed: dict[str, ast.Module] = dataclasses.field(
      default_factory=dict, compare=False, repr=False)

  @functools.cached_property
  def modules(self) -> dict[str, str]:
    """Module name -> path relative to the root, in order of the paths."""
    paths = sorted(
        path.relative_to(self.root).as_posix()
        for folder in (PACKAGE, "tests", "benchmarks")
        for path in (self.root / folder).rglob("*.py"))
    return {_module(path): path for path in paths}

  @functools.cached_property
  def folders(self) -> set[str]:
    """Dotted names of the folders that hold modules of the package."""
    return {
        ".".join(parts[:end])
        for parts in (name.split(".") for name in self.modules)
        for end in range(1, len(parts))}

  def _syntax(self, module: str) -> ast.Module:
    if module not in self._parsed:
      path = self.root / self.modules[module]
      self._parsed[module] = ast.parse(
          path.read_text(encoding="utf-8"), str(path))
    return self._parsed[module]

  def _names(self, module: str) -> Iterator[tuple[str, str, int]]:
    """Yields (module as written, module or module.member, line)."""
    for node in ast.walk(self._syntax(module)):
      if isinstance(node, ast.Import):
        for alias in node.names:
          yield alias.name, alias.name, node.lineno
      elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        for alias in node.names:
          yield base, f"{base}.{alias.name}", node.lineno
      elif isinstance(node, ast.Call) and _imports_by_name(node):
        name = ast.literal_eval(node.args[0])
        yield name, name, node.lineno

  def first_party(self, module: str) -> dict[str, int]:
    """Modules of this checkout that `module` imports, each with a line."""
    found: dict[str, int] = {}
    for _, name, line in self._names(module):
      imported = self.resolve(name)
      if imported is not None and imported != module:
        found.setdefault(imported, line)
    return found

  def reachable(
      self, module: str,
      beside: Callable[[str], Iterable[str]] = lambda module: (),
  ) -> set[str]:
    """`module` and all that it imports, directly or by way of others.

    Args:
      module: Where to begin.
      beside: Gives what else a module brings with it.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
      name = waiting.pop()
      if name not in seen:
        seen.add(name)
        waiting.extend(self.first_party(name))
        waiting.extend(beside(name))
    return seen

  def third_party(self, module: str) -> dict[str, int]:
    """Top-level names of other people's packages, each with a line."""
    found: dict[str, int] = {}
    for base, _, line in self._names(module):
      top = base.split(".")[0]
      if self._foreign(top):
        found.setdefault(top, line)
    return found

  def dangling(self, module: str) -> dict[str, int]:
    """Imports of modules of the package that no file holds."""
    return {
        base: line for base, _, line in self._names(module)
        if base.split(".")[0] == PACKAGE
        and base not in self.modules and base not in self.folders}

  def relative(self, module: str) -> dict[str, int]:
    """Relative imports."""
    return {base: line for base, _, line in self._names(module)
            if base.startswith(".")}

  def gin_imports(self) -> tuple[set[str], set[str]]:
    """(modules of this checkout, foreign packages) that gin files import."""
    ours: set[str] = set()
    foreign: set[str] = set()
    for path in sorted((self.root / "gin").rglob("*.gin")):
      for base, member, plain in _GIN_IMPORT.findall(
          path.read_text(encoding="utf-8")):
        name = plain or f"{base}.{member}"
        imported = self.resolve(name)
        if imported is not None:
          ours.add(imported)
        elif self._foreign(name.split(".")[0]):
          foreign.add(name.split(".")[0])
    return ours, foreign - {"__gin__"}

  def strings(self, module: str) -> set[str]:
    """Every string that the module's code holds."""
    return {node.value for node in ast.walk(self._syntax(module))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)}

  def is_program(self, module: str) -> bool:
    """Whether the file does something when it is run."""
    return any(
        isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        for node in self._syntax(module).body)

  def resolve(self, name: str) -> str | None:
    """The module that holds `name`, which may be one of its members."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
      if ".".join(parts[:end]) in self.modules:
        return ".".join(parts[:end])
    return None

  def _foreign(self, top: str) -> bool:
    return (bool(top) and top != PACKAGE and top not in self.modules
            and top not in sys.stdlib_module_names)


def _module(path: str) -> str:
  if not path.startswith(f"{PACKAGE}/"):
    return pathlib.PurePosixPath(path).stem
  name = path.removesuffix(".py").removesuffix("/__init__")
  return name.replace("/", ".")


def _imports_by_name(call: ast.Call) -> bool:
  return (ast.unparse(call.func) in (
      "importlib.import_module", "import_module", "__import__",
      "pytest.importorskip")
      and bool(call.args) and isinstance(call.args[0], ast.Constant))
