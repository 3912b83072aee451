"""Prints the BUILD file: `python tests/build_targets.py > BUILD`."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

from source_tree import PACKAGE, SourceTree

# What a package that is imported under one name is called in requirements.txt.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl_py",
    "gin": "gin_config",
    "google": "protobuf",
    "sklearn": "scikit_learn",
}
# What is needed at run time beside the package that is imported.
COMPANIONS = {
    # Keras runs on a backend that it imports by name.
    "keras": ("tensorflow",),
    # It imports this on Python 3.11 without saying so.
    "tensorflow_datasets": ("importlib_resources",),
}
# Imported only where the user installed them, so in no requirements.txt.
OPTIONAL = frozenset({
    "art", "cv2", "cykooz_resizer", "onnx", "onnxruntime", "simplejpeg",
    "tensorboard", "tf2onnx", "torch", "torchvision",
})
_RUNNER = "tests/run_pytest.py"
_HEADER = '''\
"""Targets of this repository; `python tests/build_targets.py` prints them."""

load("@rules_python//python:py_binary.bzl", "py_binary")
load("@rules_python//python:py_library.bzl", "py_library")
load("@rules_python//python:py_test.bzl", "py_test")

package(default_visibility = ["//visibility:private"])

# Tests that read the checkout itself depend on it.
filegroup(
    name = "tree",
    srcs = glob(
        ["**"],
        exclude = [
            "**/__pycache__/**",
            ".git/**",
            ".venv/**",
            "build/**",
            "dist/**",
            "docs/_build/**",
            "runs/**",
        ],
    ),
)
'''


@dataclasses.dataclass(frozen=True)
class Glob:
  """A call of `glob` with these patterns."""

  patterns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Target:
  """One rule of BUILD: its kind, name and other attributes."""

  kind: str
  name: str
  attributes: dict[str, Any]

  def __str__(self) -> str:
    lines = [f"    {key} = {_starlark(value)},"
             for key, value in self.attributes.items() if value]
    return "\n".join(
        [f"{self.kind}(", f'    name = "{self.name}",', *lines, ")"])


class Targets:
  """The targets that the files of `tree` call for."""

  def __init__(self, tree: SourceTree):
    self._tree = tree
    self._programs = {
        module for module in tree.modules if tree.is_program(module)}

  def __iter__(self):
    yield self._gin_files()
    for module, path in self._tree.modules.items():
      if path != _RUNNER:
        yield self._target(module, path)

  def _target(self, module: str, path: str) -> Target:
    name = target_name(path)
    if path.startswith("tests/test_"):
      return Target("py_test", name, {
          "srcs": [_RUNNER, path],
          "args": [f"$(rootpath {path})"],
          "data": ["pyproject.toml"],
          "imports": [".", "tests"],
          "main": _RUNNER,
          "deps": self._deps(module, "@pypi//pytest"),
      })
    return Target(
        "py_binary" if module in self._programs else "py_library", name, {
            "testonly": path.startswith(("tests/", "benchmarks/")),
            "srcs": [path],
            "data": self._data(path),
            "imports": ["."] if path.startswith(PACKAGE) else [
                ".", path.split("/")[0]],
            "main": path if module in self._programs else "",
            "visibility": ["//visibility:public"] if path.startswith(
                PACKAGE) else [],
            "deps": self._deps(module),
        })

  def _data(self, path: str) -> list[str]:
    if path == f"{PACKAGE}/__init__.py":
      return [f"{PACKAGE}/py.typed"]
    return [":tree"] if path == "tests/source_tree.py" else []

  def _deps(self, module: str, *more: str) -> list[str]:
    ours = self._first_party(module)
    labels = {f":{target_name(self._tree.modules[name])}" for name in ours}
    labels |= _requirements(self._tree.third_party(module))
    if self._reads_gin_files(module):
      labels.add(":gin_files")
    return sorted({*labels, *more}, key=_label_order)

  def _first_party(self, module: str) -> set[str]:
    tree = self._tree
    ours = set(tree.first_party(module)) | self._parents(module)
    path = tree.modules[module]
    if path.startswith("tests/"):
      if path.startswith("tests/test_") and "conftest" in tree.modules:
        ours.add("conftest")
      strings = tree.strings(module)
      # A test that starts a program names its module in a string.
      ours |= {name for name in tree.modules
               if name in strings and name.startswith(f"{PACKAGE}.")}
      if f"{PACKAGE}." in strings:
        ours |= {name for name in self._programs if name.startswith(PACKAGE)}
    return ours - {module}

  def _parents(self, module: str) -> set[str]:
    """The nearest `__init__.py`, which Python runs before the module.

    What an `__init__.py` itself imports cannot depend on it: Bazel refuses a
    circle of targets.
    """
    for parent in self._ancestors(module):
      if module not in self._closure(parent):
        return {parent}
    return set()

  def _ancestors(self, module: str) -> list[str]:
    """The `__init__.py` of each folder around the module, nearest first."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return [name for name in names if name in self._tree.modules]

  def _closure(self, module: str) -> set[str]:
    """All that runs when `module` is imported, itself included."""
    return self._tree.reachable(module, self._ancestors)

  def _reads_gin_files(self, module: str) -> bool:
    if self._tree.modules[module].startswith(PACKAGE):
      return module in self._programs and self._reaches_gin(module)
    return any(".gin" in text for text in self._tree.strings(module))

  def _reaches_gin(self, module: str) -> bool:
    return any("gin" in self._tree.third_party(name)
               for name in self._closure(module))

  def _gin_files(self) -> Target:
    ours, foreign = self._tree.gin_imports()
    labels = {f":{target_name(self._tree.modules[name])}"
              for name in ours - self._programs}
    return Target("py_library", "gin_files", {
        "data": Glob(("gin/**/*.gin",)),
        "visibility": ["//visibility:public"],
        "deps": sorted(
            labels | _requirements(foreign), key=_label_order),
    })


def target_name(path: str) -> str:
  """`wsl_extraction/data/labels.py` -> `data_labels`."""
  if path == f"{PACKAGE}/__init__.py":
    return PACKAGE
  name = path.removeprefix(f"{PACKAGE}/").removesuffix(".py")
  if name.startswith("tests/test_"):
    name = name.removeprefix("tests/")
  return name.removesuffix("/__init__").replace("/", "_")


def distribution(top: str) -> str:
  """The requirement, in Bazel's spelling, that installs package `top`."""
  return DISTRIBUTIONS.get(top, re.sub(r"[-.]+", "_", top).lower())


def build_text(tree: SourceTree) -> str:
  """The whole BUILD file."""
  targets = sorted(Targets(tree), key=_target_order)
  return "\n".join([_HEADER, "\n\n".join(map(str, targets)), ""])


def _requirements(tops) -> set[str]:
  return {
      f"@pypi//{name}"
      for top in tops if top not in OPTIONAL
      for name in (distribution(top), *COMPANIONS.get(top, ()))}


def _target_order(target: Target) -> tuple[int, str]:
  kinds = ("py_library", "py_binary", "py_test")
  rank = kinds.index(target.kind)
  return (1 if target.attributes.get("testonly") and not rank else rank * 2,
          target.name)


def _label_order(label: str) -> tuple[bool, str]:
  return label.startswith("@"), label


def _starlark(value: Any) -> str:
  if value is True:
    return "True"
  if isinstance(value, str):
    return f'"{value}"'
  if isinstance(value, Glob):
    return f"glob({_starlark(list(value.patterns))}, allow_empty = True)"
  if len(value) == 1:
    return f'["{value[0]}"]'
  return "\n".join(["[", *(f'        "{item}",' for item in value), "    ]"])


if __name__ == "__main__":
  sys.stdout.write(build_text(SourceTree()))
