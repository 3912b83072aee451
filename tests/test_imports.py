"""Who may import whom."""

from __future__ import annotations

import pytest

from fixtures.source_tree import PACKAGE, SourceTree

# May be imported by all.
LEAVES = frozenset({"errors", "checks"})
COMMANDS = frozenset({
    "cli", "cli_engines", "cli_files", "cli_gin", "cli_hints", "cli_names",
    "cli_output", "cli_runs", "cli_sources", "cli_workers", "__main__",
    "train", "label", "evaluate", "reproduce", "hardness", "doctor"})
_STUDENTS = {"objectives", "networks", "data", "oracle", "runtime"}
_ATTACKS = {"attacks", "strategies", "training", *_STUDENTS}
_API = {"equivalence", "evaluation", "report", "victims", *_ATTACKS}
# Folder or file -> what of ours it may import besides itself and the leaves.
MAY_IMPORT = {
    "errors": set(),
    "checks": {"errors"},
    "runtime": set(),
    "networks": set(),
    "strategies": set(),
    "oracle": {"runtime"},
    "data": {"oracle", "runtime"},
    "objectives": {"networks", "oracle"},
    "training": {*_STUDENTS},
    "equivalence": {"networks"},
    "evaluation": {"oracle", "data", "equivalence", "runtime"},
    "victims": {"training", *_STUDENTS},
    "attacks": _ATTACKS - {"attacks"},
    "report": {"evaluation", "runtime"},
    "theorems": {"equivalence", "evaluation", "report", *_ATTACKS},
    "api": _API,
    "experiment": {"api", *_API},
    # The package's own __init__.py, which runs before everything else, lets
    # devices set what must be set before a backend is imported.
    "": {"runtime"},
}
BINARIES_ONLY = frozenset({"absl", "gin"})
# Who may use what engines and libraries do for all others: connections between
# processes (jax, Ray, urllib3), locks of files.
_LEFT_TO_LIBRARIES = {
    "socket": set(), "socketserver": set(),
    "fcntl": {f"{PACKAGE}.runtime.folder_lock"}}


def part(module: str) -> str:
  """The folder or file, right below the package, that holds `module`."""
  return [*module.split("."), ""][1]


def violations(tree: SourceTree) -> list[str]:
  """Imports that the table does not allow, one line each."""
  modules = [name for name in tree.modules if name.split(".")[0] == PACKAGE]
  return [
      *(line for name in modules for line in _forbidden(tree, name)),
      *_reaching_victims(tree, modules),
      *_cycles(tree, modules),
  ]


def _forbidden(tree: SourceTree, module: str) -> list[str]:
  where = tree.modules[module]
  found = [f"{where}:{line}: relative import {name}; write it out"
           for name, line in tree.relative(module).items()]
  found += [f"{where}:{line}: imports {name}, which is no file"
            for name, line in tree.dangling(module).items()]
  mine = part(module)
  found += [
      f"{where}:{line}: imports {name}, which is left to a library"
      for name, line in tree.imports(module).items()
      if module not in _LEFT_TO_LIBRARIES.get(name, {module})]
  if mine in COMMANDS:
    return found
  if mine not in MAY_IMPORT:
    return [*found, f"{where}: {mine} has no row in tests/test_imports.py"]
  # A leaf's own row is all that it may import.
  allowed = MAY_IMPORT[mine] | {mine} | (set() if mine in LEAVES else LEAVES)
  found += [
      f"{where}:{line}: {mine or PACKAGE} may not import {name}"
      for name, line in tree.first_party(module).items()
      if name != PACKAGE and part(name) not in allowed]
  found += [
      f"{where}:{line}: only binaries may import {name}"
      for name, line in tree.third_party(module).items()
      if name in BINARIES_ONLY]
  return found


def _reaching_victims(tree: SourceTree, modules: list[str]) -> list[str]:
  """Attacks must not reach victims through others' imports either."""
  return [
      f"{tree.modules[name]}: reaches {victim}, which no attack may"
      for name in modules if part(name) == "attacks"
      for victim in tree.reachable(name) if part(victim) == "victims"]


def _cycles(tree: SourceTree, modules: list[str]) -> list[str]:
  return [
      f"{tree.modules[name]}: imports itself by way of others"
      for name in modules if any(
          name in tree.reachable(imported)
          for imported in tree.first_party(name))]


def test_only_allowed_imports():
  found = violations(SourceTree())
  assert not found, "\n".join(found)


def test_gin_folder_does_not_shadow_gin_config():
  root = SourceTree().root
  assert not list((root / "gin").rglob("*.py")), (
      "a folder gin/ with Python files in it hides the package gin")


@pytest.fixture(name="tree_of")
def fixture_tree_of(tmp_path):
  def make(files: dict[str, str]) -> SourceTree:
    for name, text in files.items():
      path = tmp_path / PACKAGE / f"{name.replace('.', '/')}.py"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding="utf-8")
    return SourceTree(tmp_path)
  return make


def test_allowed_imports_of_a_made_up_tree(tree_of):
  tree = tree_of({
      "errors": "",
      "runtime.files": "from wsl_extraction.errors import InputError\n",
      "oracle.oracle": "from wsl_extraction.runtime import files\n",
      "attacks.one": "from wsl_extraction.oracle.oracle import Oracle\n",
      "attacks.two": "from wsl_extraction.attacks import one\n",
      "victims.net": "",
      "cli": (
          "import gin\nfrom absl import app\n"
          "import wsl_extraction.victims.net\n"),
      "train": "from wsl_extraction import cli\n",
  })
  assert not violations(tree)


@pytest.mark.parametrize("module", sorted(
    name for name in MAY_IMPORT if name and "victims" not in MAY_IMPORT[name]
    and name != "victims"))
def test_each_row_refuses_what_it_does_not_list(tree_of, module):
  tree = tree_of({
      f"{module}.some": "def f():\n  import wsl_extraction.victims.net\n",
      "victims.net": ""})
  assert f"{module} may not import wsl_extraction.victims.net" in "\n".join(
      violations(tree))


@pytest.mark.parametrize("line", [
    "from wsl_extraction import train",
    "import wsl_extraction.train as t",
    "from wsl_extraction.train import main",
    "import importlib\nimportlib.import_module('wsl_extraction.train')",
    "def f():\n  from wsl_extraction import train",
    "if TYPE_CHECKING:\n  from wsl_extraction import train",
])
def test_every_way_to_import_is_seen(tree_of, line):
  tree = tree_of({"victims.net": line + "\n", "train": ""})
  assert "victims may not import wsl_extraction.train" in "\n".join(
      violations(tree))


@pytest.mark.parametrize(("line", "message"), [
    *((line, "only binaries may import") for line in (
        "import gin", "import gin.config", "from absl import logging",
        "def f():\n  import absl.flags")),
    *((line, "is left to a library") for line in (
        "import socket", "from socket import create_server", "import fcntl",
        "def f():\n  import socketserver")),
])
def test_what_few_may_import_is_seen_anywhere(tree_of, line, message):
  assert message in "\n".join(
      violations(tree_of({"runtime.hosts": line + "\n"})))


def test_attack_that_reaches_a_victim_through_data(tree_of):
  tree = tree_of({
      "attacks.one": "from wsl_extraction.data import pool\n",
      "data.pool": "from wsl_extraction.victims import net\n",
      "victims.net": ""})
  assert "one.py: reaches wsl_extraction.victims.net" in "\n".join(
      violations(tree))


def test_cycles_are_found(tree_of):
  tree = tree_of({
      "data.one": "from wsl_extraction.data import two\n",
      "data.two": "def f():\n  from wsl_extraction.data import one\n"})
  assert len([line for line in violations(tree)
              if "imports itself" in line]) == 2


@pytest.mark.parametrize(("files", "message"), [
    ({"novelty": ""}, "novelty has no row"),
    ({"data.one": "from . import two\n"}, "relative import"),
    ({"data.one": "import wsl_extraction.data.two\n"}, "which is no file"),
    ({"__init__": "from wsl_extraction import cli\n", "cli": ""},
     "wsl_extraction may not import wsl_extraction.cli"),
    ({"errors": "from wsl_extraction import checks\n", "checks": ""},
     "errors may not import"),
])
def test_other_rules_can_fail(tree_of, files, message):
  assert message in "\n".join(violations(tree_of(files)))
