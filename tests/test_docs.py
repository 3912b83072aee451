"""The documentation: what its reference lists, and how it is read by Sphinx."""

from __future__ import annotations

import re
import tomllib

import pytest

import wsl_extraction
from fixtures import examples
from fixtures.source_tree import PACKAGE, ROOT, SourceTree

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix()
         for path in DOCS.rglob("*.md") if "_build" not in path.parts}


docstrings = examples.example("docstrings", "docs")


def _listed():
  text = "".join(path.read_text(encoding="utf-8")
                 for path in (DOCS / "reference").glob("*.md"))
  return re.findall(r"automodule:: (\S+)", text)


def test_the_reference_has_each_module_once():
  assert len(_listed()) == len(set(_listed()))
  assert set(_listed()) <= set(SourceTree().modules)


def test_the_reference_has_what_users_write_down():
  """All of `import wsl_extraction`, and what gin files name."""
  names = {f"{PACKAGE}.{module}"
           for module in vars(wsl_extraction)["_MODULES"].values()}
  named = names | {module for module in SourceTree().gin_imports()[0]
                   if module.startswith(PACKAGE)}
  missing = named - set(_listed())
  assert not missing, f"add them to docs/reference: {sorted(missing)}"


def test_each_page_is_in_the_navigation_once():
  text = (DOCS / "index.md").read_text(encoding="utf-8")
  captions = re.findall(r":caption: (.*)", text)
  assert captions == ["Start", "How-to", "Reference", "Results"]
  entries = [line for block in re.findall(r"```\{toctree\}\n(.*?)```", text,
                                          re.DOTALL)
             for line in block.splitlines() if line and line[0] != ":"]
  assert len(entries) == len(set(entries))
  unlisted = {page for page in PAGES - {"index"}
              if page.split("/")[0] not in ("results", "speed")
              } - set(entries)
  assert not unlisted


def test_references_are_one_entry_each():
  lines = ["Adds.", "", "  References:", "    A. One. A `title` that is long",
           "      and goes on. 2019, section 3.",
           "    B. Two. Another. 2020.", "", "  Raises:"]
  assert docstrings.prepared(lines) == [
      "Adds.", "", "  .. rubric:: References", "",
      "  * A. One. A ``title`` that is long",
      "    and goes on. 2019, section 3.", "  * B. Two. Another. 2020.", "",
      "", "  Raises:"]
  wrapped = ["  A. One, \"High", "  Fidelity\", 2020, section", "  3.2 (so).",
             "  https://a.example", "  B. 2021."]
  assert [len(entry) for entry in docstrings.references(wrapped)] == [3, 1, 1]


@pytest.mark.parametrize("path", [
    path for path in sorted((ROOT / PACKAGE).rglob("*.py"))
    if "References:" in path.read_text(encoding="utf-8")],
    ids=lambda path: path.relative_to(ROOT / PACKAGE).as_posix())
def test_each_reference_can_be_looked_up(path):
  """Each has a year or an address, so no entry was cut in two."""
  for section in re.findall(
      r"^( *)References:\n((?:\1 +\S.*\n)+)",
      path.read_text(encoding="utf-8").replace('"""\n', "\n"), re.MULTILINE):
    for entry in docstrings.references(section[1].splitlines()):
      assert re.search(r"\b(18|19|20)\d\d\b|https?://|RFC \d+",
                       " ".join(entry)), entry


def test_the_extra_has_what_sphinx_needs():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extra = " ".join(project["optional-dependencies"]["docs"])
  conf = (DOCS / "conf.py").read_text(encoding="utf-8")
  for name in ("myst_nb", "furo", "sphinx"):
    assert name in conf and name.replace("_", "-") in extra


def test_the_site_is_built_by_ci_with_warnings_as_errors():
  makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
  assert "make docs\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")
  assert "sphinx -W --keep-going" in makefile
