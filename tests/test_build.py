"""BUILD, pyproject.toml and requirements.txt against what the files import."""

from __future__ import annotations

import collections
import fnmatch
import functools
import pathlib
import re
import tomllib
from collections.abc import Sequence
from typing import Any

import pytest

from fixtures.source_tree import PACKAGE, ROOT, SourceTree

# What a package that is imported under one name is called where it is pinned.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl_py",
    "gin": "gin_config",
    "google": "protobuf",
    "sklearn": "scikit_learn",
    "yaml": "pyyaml",
}
# Imported only where the user installed them.
OPTIONAL = frozenset({
    "art", "cv2", "cykooz_resizer", "jax", "onnx", "onnxruntime", "ray",
    "tensorboard", "tf2onnx", "torch", "torchvision",
})
# Not imported by name: a plug-in, and what Keras, TensorFlow's data sets and
# pandas import.
UNNAMED = frozenset({"importlib_resources", "pytest_xdist", "tensorflow"})


class Build:
  """The targets that a BUILD file makes, by evaluating it as Python.

  Starlark is a subset of Python but for what its rules do, which here is to
  note their attributes.
  """

  def __init__(self, text: str, root: pathlib.Path):
    self._root = root
    self.targets: dict[str, dict[str, Any]] = {}
    scope = {"load": lambda *_: None, "package": lambda **_: None,
             "glob": self._glob}
    for rule in ("filegroup", "py_binary", "py_library", "py_test"):
      scope[rule] = functools.partial(self._add, rule)
    self.names = scope
    exec(compile(text, "BUILD", "exec"), scope)

  def _add(self, rule: str, *, name: str, **attributes: Any) -> None:
    assert name not in self.targets, f"two targets are named {name}"
    self.targets[name] = {"rule": rule, **attributes}

  def _glob(self, include: list[str], exclude: Sequence[str] = ()) -> list[str]:
    patterns = [_pattern(one) for one in exclude]
    found = {path.relative_to(self._root).as_posix()
             for one in include for path in self._root.glob(one)
             if path.is_file()}
    return sorted(path for path in found
                  if not any(one.fullmatch(path) for one in patterns))

  def of(self, rule: str) -> dict[str, dict[str, Any]]:
    """The targets of one rule."""
    return {name: target for name, target in self.targets.items()
            if target["rule"] == rule}


def _pattern(text: str) -> re.Pattern[str]:
  """Bazel's patterns: "**/" stands for any folders, or none."""
  parts = [fnmatch.translate(part).removesuffix(r"\Z").removesuffix(r"\z")
           .replace(".*", "[^/]*") for part in text.split("**/")]
  return re.compile("(?:.*/)?".join(parts).replace(
      "[^/]*[^/]*", ".*"), re.DOTALL)


def distribution(top: str) -> str:
  """The name under which a package that is imported as `top` is pinned."""
  return DISTRIBUTIONS.get(top, top)


@functools.cache
def _tree() -> SourceTree:
  return SourceTree()


@functools.cache
def _build() -> Build:
  return Build((ROOT / "BUILD").read_text(encoding="utf-8"), ROOT)


def _imported(folder: str) -> set[str]:
  tree = _tree()
  return {distribution(top) for module, path in tree.modules.items()
          if path.startswith(f"{folder}/") for top in tree.third_party(module)
          if top not in OPTIONAL}


def test_build_has_every_file_once():
  tests = collections.Counter(
      path for target in _build().of("py_test").values()
      for path in target["srcs"] if path != "tests/run_pytest.py")
  on_disk = {path.relative_to(ROOT).as_posix()
             for path in (ROOT / "tests").rglob("test_*.py")}
  assert set(tests) == on_disk
  assert set(tests.values()) == {1}
  files = {path.relative_to(ROOT).as_posix()
           for path in (ROOT / PACKAGE).rglob("*.py")}
  assert set(_build().targets[PACKAGE]["srcs"]) == files


def test_every_command_is_a_binary():
  programs = {
      module.split(".")[1] for module, path in _tree().modules.items()
      if path.startswith(PACKAGE) and _tree().is_program(module)}
  programs.remove("__main__")  # runs one of the others
  assert programs == set(_build().names["COMMANDS"])
  for name in programs:
    assert _build().targets[name]["rule"] == "py_binary"


def test_labels_name_targets_and_pins():
  labels = {label for target in _build().targets.values()
            for key in ("deps", "data") for label in target.get(key, ())
            if label[0] in ":@"}
  for label in labels:
    if label.startswith(":"):
      assert label[1:] in _build().targets
    else:
      assert label.removeprefix("@pypi//") in _pins(), label


def test_build_depends_on_what_is_imported():
  names = _build().names
  packages = set(names["PACKAGES"])
  imported = _imported(PACKAGE) | {
      distribution(top) for top in _tree().gin_imports()[1]}
  assert packages - UNNAMED == imported - UNNAMED
  tests = set(names["TEST_PACKAGES"])
  # Imported where they are installed, and pinned, so that they are.
  pinned = {"jax", "onnx", "onnxruntime", "ray", "tf2onnx"}
  assert tests - UNNAMED - pinned == _imported("tests") - packages


def test_requirements_have_one_version_each():
  lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
  pins = [line for line in lines if line and not line.lstrip().startswith("#")]
  assert len(pins) == len(_pins())
  assert all(re.match(r"[\w.\-]+==\S+( ; .*)?$", line) for line in pins)


def test_the_package_declares_what_it_imports():
  declared = {_spelling(line) for line in _project()["dependencies"]}
  missing = _imported(PACKAGE) - declared
  assert not missing, (
      f"pyproject.toml: add {missing} to project.dependencies")


def test_declared_dependencies_are_pinned_within_their_bounds():
  specifiers = pytest.importorskip("packaging.specifiers")
  for line in _project()["dependencies"]:
    bounds = re.sub(r"^[\w.\-]+", "", line.split(";")[0]).strip()
    pin = _pins()[_spelling(line)]
    assert specifiers.SpecifierSet(bounds).contains(pin), (line, pin)


def _project() -> dict[str, Any]:
  text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
  return tomllib.loads(text)["project"]


def _pins() -> dict[str, str]:
  text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
  return {_spelling(name): version for name, version in re.findall(
      r"^([\w.\-]+)==([^\s;]+)", text, re.MULTILINE)}


def _spelling(requirement: str) -> str:
  name = re.match(r"[\w.\-]+", requirement)
  assert name is not None, requirement
  return re.sub(r"[-.]+", "_", name[0]).lower()


# That the rules above can fail, on a file made up for it.


def test_two_targets_of_one_name_are_refused(tmp_path):
  with pytest.raises(AssertionError, match="two targets are named a"):
    Build('py_library(name = "a")\npy_test(name = "a")\n', tmp_path)


def test_globs_exclude_as_bazel_does(tmp_path):
  for name in ("tests/a.py", "tests/test_a.py", "tests/deep/test_b.py",
               "tests/deep/b.py"):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
  build = Build(
      'py_library(name = "x", srcs = glob(["tests/**/*.py"],'
      ' exclude = ["tests/**/test_*.py"]))\n', tmp_path)
  assert build.targets["x"]["srcs"] == ["tests/a.py", "tests/deep/b.py"]
