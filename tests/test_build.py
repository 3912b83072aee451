"""BUILD, pyproject.toml and requirements.txt against what the files import."""

from __future__ import annotations

import ast
import pathlib
import re
import tomllib

import pytest

import build_targets
from source_tree import PACKAGE, ROOT, SourceTree

_REMEDY = "run `python tests/build_targets.py > BUILD`"
_TREE = SourceTree()


def parse(text: str) -> dict[str, dict]:
  """BUILD's targets by name; each holds its attributes and its `kind`."""
  targets: dict[str, dict] = {}
  for node in ast.parse(text).body:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
      continue
    call = node.value
    attributes = {
        keyword.arg: _value(keyword.value) for keyword in call.keywords}
    if "name" in attributes:
      assert attributes["name"] not in targets, (
          f"BUILD: two targets are named {attributes['name']}; {_REMEDY}")
      attributes["kind"] = ast.unparse(call.func)
      targets[attributes["name"]] = attributes
  return targets


def _value(node: ast.expr):
  return ast.unparse(node) if isinstance(node, ast.Call) else (
      ast.literal_eval(node))


def drift(text: str, tree: SourceTree) -> list[str]:
  """What differs between the BUILD file `text` and the files of `tree`."""
  actual = parse(text)
  expected = parse(build_targets.build_text(tree))
  return [
      *_missing_files(actual, tree.root),
      *(f"BUILD: {' '.join(expected[name].get('srcs', ()))} has no target "
        f"{name}; {_REMEDY}" for name in expected.keys() - actual.keys()),
      *(f"BUILD: target {name} is for no file; {_REMEDY}"
        for name in actual.keys() - expected.keys()),
      *(message for name in actual.keys() & expected.keys()
        for message in _differences(name, actual[name], expected[name])),
  ]


def _missing_files(actual: dict[str, dict], root: pathlib.Path) -> list[str]:
  return [
      f"BUILD: target {name} names {label}, which is no file; {_REMEDY}"
      for name, target in actual.items()
      for key in ("srcs", "data")
      for label in (target.get(key, ()) if isinstance(
          target.get(key, ()), list) else ())
      if not label.startswith((":", "@")) and not (root / label).is_file()]


def _differences(name: str, actual: dict, expected: dict) -> list[str]:
  messages = []
  for key in actual.keys() | expected.keys():
    has, needs = actual.get(key, []), expected.get(key, [])
    if has == needs:
      continue
    if key == "deps":
      messages += [f"BUILD: target {name} lacks {label}, which its file "
                   f"imports; {_REMEDY}" for label in set(needs) - set(has)]
      messages += [f"BUILD: target {name} has {label}, which its file does not "
                   f"import; {_REMEDY}" for label in set(has) - set(needs)]
    else:
      messages.append(
          f"BUILD: {key} of target {name} is {has}, not {needs}; {_REMEDY}")
  return messages


def test_build_is_what_the_files_call_for():
  text = (ROOT / "BUILD").read_text(encoding="utf-8")
  messages = drift(text, _TREE)
  assert not messages, "\n".join(sorted(messages))


def test_every_external_dependency_is_pinned():
  targets = parse(build_targets.build_text(_TREE))
  needed = {label.removeprefix("@pypi//") for target in targets.values()
            for label in target.get("deps", ()) if label.startswith("@pypi//")}
  missing = needed - _pins().keys()
  assert not missing, (
      f"requirements.txt does not pin {sorted(missing)}: add them to "
      "requirements.in, or to OPTIONAL in tests/build_targets.py if they "
      "are imported only where they are installed")


def test_requirements_have_one_version_each():
  lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
  pins = [line for line in lines if line and not line.lstrip().startswith("#")]
  assert len(pins) == len(_pins())
  assert all(re.match(r"[\w.\-]+==\S+( ; .*)?$", line) for line in pins)


def test_the_package_declares_what_it_imports():
  project = tomllib.loads(
      (ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
  declared = {_spelling(line) for line in project["dependencies"]}
  imported = {
      build_targets.distribution(top): path
      for module, path in _TREE.modules.items() if path.startswith(PACKAGE)
      for top in _TREE.third_party(module)
      if top not in build_targets.OPTIONAL | {"jax"}}
  missing = {name: imported[name] for name in imported.keys() - declared}
  assert not missing, (
      f"pyproject.toml: add {missing} to project.dependencies")


def test_declared_dependencies_are_pinned_within_their_bounds():
  specifiers = pytest.importorskip("packaging.specifiers")
  project = tomllib.loads(
      (ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
  for line in project["dependencies"]:
    bounds = re.sub(r"^[\w.\-]+", "", line.split(";")[0]).strip()
    pin = _pins()[_spelling(line)]
    assert specifiers.SpecifierSet(bounds).contains(pin), (line, pin)


def _pins() -> dict[str, str]:
  text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
  return {_spelling(name): version for name, version in re.findall(
      r"^([\w.\-]+)==([^\s;]+)", text, re.MULTILINE)}


def _spelling(requirement: str) -> str:
  name = re.match(r"[\w.\-]+", requirement)
  assert name is not None, requirement
  return re.sub(r"[-.]+", "_", name[0]).lower()


# That each rule above can fail, on a tree made up for it.


@pytest.fixture(name="tree")
def fixture_tree(tmp_path):
  files = {
      "wsl_extraction/leaf.py": "import numpy as np\n",
      "wsl_extraction/folder/__init__.py": "",
      "wsl_extraction/folder/thing.py": (
          "from wsl_extraction import leaf\n"
          "def f():\n  import sklearn.tree\n  return sklearn, leaf\n"),
      "wsl_extraction/run.py": (
          "import gin\nimport torch\nfrom wsl_extraction.folder import thing\n"
          "if __name__ == '__main__':\n  print(gin, thing, torch)\n"),
      "tests/test_run.py": "NAME = 'wsl_extraction.run'\nFILE = 'x.gin'\n",
      "tests/run_pytest.py": "",
      "gin/x.gin": "from wsl_extraction.folder import thing\nimport grain\n",
      "pyproject.toml": "",
  }
  for name, text in files.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
  return SourceTree(tmp_path)


def test_made_up_tree_gives_these_targets(tree):
  targets = parse(build_targets.build_text(tree))
  assert {name: target["kind"] for name, target in targets.items()} == {
      "tree": "filegroup",
      "gin_files": "py_library",
      "leaf": "py_library",
      "folder": "py_library",
      "folder_thing": "py_library",
      "run": "py_binary",
      "test_run": "py_test",
  }
  assert targets["leaf"]["deps"] == ["@pypi//numpy"]
  assert targets["folder_thing"]["deps"] == [
      ":folder", ":leaf", "@pypi//scikit_learn"]
  assert targets["run"]["deps"] == [
      ":folder_thing", ":gin_files", "@pypi//gin_config"]
  assert targets["gin_files"]["deps"] == [":folder_thing", "@pypi//grain"]
  assert targets["test_run"]["deps"] == [
      ":gin_files", ":run", "@pypi//pytest"]


def test_a_right_build_has_no_drift(tree):
  assert not drift(build_targets.build_text(tree), tree)


@pytest.mark.parametrize(("old", "new", "message"), [
    ('"@pypi//scikit_learn",', "", "folder_thing lacks @pypi//scikit_learn"),
    ('":folder",', "", "folder_thing lacks :folder"),
    ('["@pypi//numpy"]', '["@pypi//numpy", ":run"]', "leaf has :run"),
    ('name = "leaf"', 'name = "twig"', "target twig is for no file"),
    ('name = "leaf"', 'name = "twig"', "leaf.py has no target leaf"),
    ("folder/thing.py", "folder/lost.py", "lost.py, which is no file"),
    ('main = "wsl_extraction/run.py"', 'main = ""', "main of target run is"),
])
def test_drift_is_found(tree, old, new, message):
  text = build_targets.build_text(tree)
  assert old in text
  found = drift(text.replace(old, new), tree)
  assert any(message in line for line in found), found


def test_a_new_file_is_found(tree):
  text = build_targets.build_text(tree)
  (tree.root / "wsl_extraction/new.py").write_text("", encoding="utf-8")
  found = drift(text, SourceTree(tree.root))
  assert any("new.py has no target" in line for line in found)


def test_two_targets_of_one_name_are_found(tree):
  text = build_targets.build_text(tree)
  with pytest.raises(AssertionError, match="two targets are named leaf"):
    drift(text.replace('"folder_thing"', '"leaf"'), tree)
