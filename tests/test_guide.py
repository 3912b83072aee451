"""Every block of README.md and docs is run, or read and checked.

Python runs, page by page; of shell commands the flags are parsed, and what
their gin files and bindings describe is constructed; gin blocks are read. So
a new block is covered, or fails. `ELSEWHERE` names the test files that run a
block as a whole, `PRINTED` the output that is shown.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest

from fixtures import guide, guide_commands
from fixtures.gin_files import ROOT, at_root  # noqa: F401
from fixtures.guide import Block
from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.report.grids import grid

# Page, how the block begins, and the file whose tests run it.
ELSEWHERE = {
    ("CONTRIBUTING.md", '"""Extraction of a linear'): "tests/test_example.py",
    ("README.md", "import wsl_extraction as wsl"): "tests/test_python.py",
    ("README.md", "victim = wsl.KerasFile("): "tests/test_python.py",
    ("README.md", "# Yours: the model"): "tests/test_own_model.py",
    ("served.md", "from __gin__"): "tests/test_served_guide.py",
    ("tables.md", "import numpy as np"): "tests/test_tables_guide.py",
    ("tables.md", "# clients.gin"): "tests/test_tables_guide.py",
    ("tables.md", "python -m wsl_extraction.train --gin_file=clients.gin"):
        "tests/test_tables_guide.py",
    ("tables.md", "from wsl_extraction.data import datasets"):
        "tests/test_tables_guide.py",
    ("victims.md", "import numpy as np"): "tests/victims/test_victims_guide.py",
    ("victims.md", "import torch"): "tests/victims/test_victims_guide.py",
    **{("served.md", start): "tests/victims/test_served_mlserver.py"
       for start in ("import joblib", "{", "mlserver start .",
                     "import wsl_extraction as wsl")},
}
# What a block takes as given.
BEFORE = {
    "theory.md": """
import keras
keras.utils.set_random_seed(0)
keras_model = keras.Sequential([
    keras.Input((64,)), keras.layers.Dense(3, activation="relu"),
    keras.layers.Dense(2)])
another = keras.models.clone_model(keras_model)
another.set_weights(keras_model.get_weights())
"""}
# How a block begins that shows what a command prints, or where files are.
PRINTED = {
    ("quickstart.md", "exported   runs"),
    ("README.md", "attack     learning"), ("README.md", "gin/      "),
    ("functional.md", "attack          functional"),
    ("own_model.md", "queries    100 charged"),
    ("scale.md", "labels  2560/5000 examples"),
    ("served.md", "status     BUDGET_EXHAUSTED"),
}


def elsewhere(block: Block) -> str | None:
  return next((path for (page, start), path in ELSEWHERE.items()
               if page == block.page and block.text.startswith(start)), None)


def of_kind(*kinds: str) -> list[Any]:
  return [pytest.param(block, id=str(block)) for block in guide.ALL
          if block.kind in kinds and not elsewhere(block)]


def check_kind(block: Block) -> None:
  assert block.kind in ("python", "sh", "gin", "output") or (
      elsewhere(block)), f"{block}: nothing runs a block of {block.kind}"


def test_every_block_is_of_a_kind_that_a_test_reads():
  for block in guide.ALL:
    check_kind(block)


@pytest.mark.parametrize("place", ELSEWHERE, ids=" ".join)
def test_blocks_that_run_elsewhere_are_there(place):
  block = guide.block(*place)
  source = (ROOT / ELSEWHERE[place]).read_text(encoding="utf-8")
  assert place[0] in source
  if block.kind == "python":  # its test may be skipped, as without torch
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", sorted({
    block.page for block in guide.ALL
    if block.kind == "python" and not elsewhere(block)}))
def test_python_runs(page, tmp_path, monkeypatch):
  """The blocks of a page one after another, in one set of names."""
  monkeypatch.chdir(tmp_path)
  names: dict[str, Any] = {"__name__": "guide"}
  exec(BEFORE.get(page, ""), names)
  for block in guide.ALL:
    if block.page == page and block.kind == "python" and not elsewhere(block):
      # Blank lines, so that a traceback tells the page's own line.
      source = "\n" * (block.line - 1) + block.text
      exec(compile(source, page, "exec"), names)


def test_gin_can_be_read(tmp_path):
  for block in guide.ALL:
    if block.kind == "gin" and not elsewhere(block):
      check_gin(block, tmp_path)


def check_gin(block: Block, folder: pathlib.Path) -> None:
  (folder / "block.gin").write_text(block.text)
  cli.configure([str(folder / "block.gin")], [])
  if "grid.Grid." in block.text:
    guide_commands.check_cells(cli.built(grid.Grid))


@pytest.mark.parametrize("block", of_kind("output"))
def test_output_is_what_commands_print(block):
  check_output(block)


def check_output(block: Block) -> None:
  assert any(block.page == page and block.text.startswith(start)
             for page, start in PRINTED), (
      f"{block} is neither code nor output that PRINTED has; give it a "
      "language, or name it there")
  if block.text.startswith("gin/ "):
    for name in re.findall(r"[\w.]+/|\w+\.py", block.text):
      assert any((ROOT / folder / name).exists()
                 for folder in (".", "wsl_extraction")), name
    return
  sources = "".join(path.read_text(encoding="utf-8") for path in (
      ROOT / "wsl_extraction").rglob("*.py"))
  for label in re.findall(r"^([a-z]\w*(?: \w+)*)  ", block.text, re.MULTILINE):
    assert f'"{label}"' in sources or f'"{label.replace(" ", "_")}"' in sources


@pytest.mark.parametrize("block", of_kind("sh"))
def test_commands_can_be_given(block, monkeypatch):
  check_commands(block, monkeypatch)


def check_commands(block: Block, monkeypatch: Any) -> None:
  words = guide.commands_of(block.text)
  assert words, f"{block} holds no command"
  for one in words:
    guide_commands.check(one, monkeypatch)


@pytest.mark.parametrize("fence, text", [
    ("rust", "fn main() {}"),
    ("{code-block} toml", "[tool]"),
    ("", "neither gin nor output that is known"),
    ("text", "from __gin__ import dynamic_registration\nno.Such.name = 1"),
    ("sh", "frobnicate --all"),
    ("sh", "# nothing but a comment"),
    ("sh", "make nowhere"),
    ("sh", "python examples/serve.py --sink=20"),
    ("sh", "wsl-extraction teach gin/rotation.gin"),
    ("sh", "wsl-extraction train"),
    ("sh", "wsl-extraction train gin/nowhere.gin"),
    ("sh", "wsl-extraction train gin/rotation.gin --no_such_flag=1"),
    ("sh", "wsl-extraction train gin/rotation.gin \\\n"
     "  --gin_bindings=\"Experiment.budget = 'ten'\""),
    ("sh", "python -m wsl_extraction.reproduce --gin_file=gin/rotation.gin"),
    ("bash", "python -m wsl_extraction.hardness --gin_file=gin/theorem1.gin "
     "--seed=1"),
])
def test_a_block_that_no_reader_could_run_fails(fence, text, tmp_path,
                                                monkeypatch):
  (tmp_path / "new.md").write_text(f"# New\n\n```{fence}\n{text}\n```\n")
  (block,) = guide.blocks(tmp_path / "new.md")
  assert block.line == 4
  with pytest.raises((AssertionError, InputError)):
    check_kind(block)
    {"gin": lambda: check_gin(block, tmp_path),
     "output": lambda: check_output(block),
     "sh": lambda: check_commands(block, monkeypatch)}[block.kind]()
