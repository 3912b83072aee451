"""Gin files as text: what is refused before anything is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fixtures import commands
from fixtures.gin_files import EXPERIMENTS, FILES, ROOT
from wsl_extraction import cli_files, cli_sources
from wsl_extraction.errors import InputError

DATASET = "experiment.Experiment.dataset = "


CASES = {
    "missing include": ("include 'bse.gin'\n", (
        "line 31", "no gin file bse.gin to include", "mean base.gin?")),
    "unclosed bracket": ("split.Split.pool = (3\n", (
        "near line 32", "not closed; close it")),
    "unclosed quotation mark": (f"{DATASET}'digits\n", (
        "line 31", "quotation mark is not closed; close it")),
    "no quotation marks": (f"{DATASET}digits\n", (
        "digits is no value (line 31)", "write 'digits'")),
    "a path without quotation marks": (f"{DATASET}~/data/x.npz\n", (
        "line 31", "write '~/data/x.npz'")),
    "an include without": ("include base.gin\n", ("write 'base.gin'",)),
    "an object without @": ("experiment.Experiment.split = split.Split()\n", (
        "line 31", "write @split.Split()")),
    "true": ("split.Split.balanced = true\n", ("true is no value", "True")),
    "no equals sign": ("learning.Learning.rounds 3\n", (
        "line 31", "':' or '='")),
    "unequal indents": ("learning.Learning:\n    rounds = 3\n  x = 2\n", (
        "line 33", "unindent", "mend the syntax")),
    "misspelt module": ("from wsl_extraction.data import datasetz\n", (
        "line 31", "No module named 'wsl_extraction.data.datasetz'",
        "mean wsl_extraction.data.datasets?")),
    "misspelt module of the user's": ("import numpy_victm\n", (
        "No module named 'numpy_victm' (line 31)", "mean numpy_victim?")),
    "module that moved": ("from wsl_extraction.attacks import functional\n", (
        "line 31", "is gone", "write wsl_extraction.attacks.relu.functional")),
    "misspelt class": ("learning.Lerning.rounds = 3\n", (
        "no attribute Lerning (line 31)", "mean Learning?")),
    "misspelt reference": (
        "learning.Learning.objective = @distillation.Distilation()\n",
        ("no attribute Distilation (line 31)", "mean Distillation?")),
    "misspelt parameter": ("learning.Learning.round = 3\n", (
        "'round' (line 31)", "mean rounds?")),
    "misspelt inherited parameter": (
        "from wsl_extraction.objectives import mixmatch\n"
        "mixmatch.MixMatch.gueses = 3\n", ("'gueses'", "mean guesses?")),
    "misspelt parameter of a function": ("resnet_v2.resnet_v2.dept = 8\n", (
        "'dept'", "mean depth?")),
    "misspelt import": ("lerning.Learning.rounds = 3\n", (
        "'lerning' was not provided", "line 31", "mean learning?")),
    "setting that is gone": ("learning.Learning.steps = 3\n", (
        "Learning.steps is gone (line 31)", "write surrogate/recipe")),
}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
  commands.write_modules(tmp_path)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


def refusal(*files: str, bindings: tuple[str, ...] = ()) -> str:
  with pytest.raises(InputError) as refused:
    cli_sources.check_macros(cli_sources.check(files, bindings))
  text = str(refused.value)
  assert "\n" not in text
  return text


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named_with_its_line(folder, name):
  added, said = CASES[name]
  (folder / "own.gin").write_text(commands.GIN + added)
  text = refusal("own.gin")
  assert text.startswith("gin file own.gin")
  for part in said:
    assert part in text, text


def test_nothing_heavy_is_imported(folder):
  (folder / "own.gin").write_text(
      commands.GIN + "learning.Learning.round = 3\n")
  done = subprocess.run(
      [sys.executable, "-c", """
import sys
from wsl_extraction import cli_files, cli_sources
from wsl_extraction.errors import InputError
try:
  cli_sources.check(["own.gin"])
except InputError:
  print(sorted({"keras", "tensorflow", "jax", "numpy_victim", "grain",
                "wsl_extraction.experiment"} & set(sys.modules)))
"""], env=commands.environment(folder), cwd=folder, capture_output=True,
      text=True, check=True)
  assert done.stdout == "[]\n"


@pytest.mark.parametrize("content, said", [
    (commands.GIN.encode("utf-16"), "is no UTF-8, but UTF-16"),
    (commands.GIN.encode() + b"# \xe9\n", "line 31, is no UTF-8"),
    (b"\x89PNG\r\n\x1a\n\0\0", "no text at all"),
])
def test_other_encodings_are_named(folder, content, said):
  (folder / "own.gin").write_bytes(content)
  text = refusal("own.gin")
  assert said in text and "save it as UTF-8" in text


def test_a_byte_order_mark_does_not_matter(folder):
  import gin

  from wsl_extraction import cli

  (folder / "own.gin").write_bytes(
      b"\xef\xbb\xbf" + b"# Notepad writes it.\nNUMBER = 3\n")
  cli.configure(["own.gin"], [])
  assert gin.query_parameter("NUMBER/gin.macro.value") == 3


def test_files_that_include_themselves(folder):
  (folder / "a.gin").write_text("include 'b.gin'\n")
  (folder / "b.gin").write_text("include './a.gin'\n")
  assert "(a.gin > b.gin > a.gin); take one" in refusal("a.gin")
  (folder / "twice.gin").write_text("include 'c.gin'\ninclude 'c.gin'\n")
  (folder / "c.gin").write_text("N = 1\n")
  cli_sources.check(["twice.gin"])  # which is no circle


def test_an_include_is_found_beside_its_file(folder):
  import gin

  from wsl_extraction import cli

  (folder / "sub").mkdir()
  (folder / "sub" / "outer.gin").write_text("include 'inner.gin'  # beside\n")
  (folder / "sub" / "inner.gin").write_text("NUMBER = 4\n")
  cli.configure(["sub/outer.gin"], [])
  assert gin.query_parameter("NUMBER/gin.macro.value") == 4
  # The current folder comes first, as ever.
  (folder / "inner.gin").write_text("NUMBER = 5\n")
  cli.configure(["sub/outer.gin"], [])
  assert gin.query_parameter("NUMBER/gin.macro.value") == 5


def test_files_below_the_home_folder(folder, monkeypatch):
  monkeypatch.setenv("HOME", str(folder))
  assert cli_files.find("~/base.gin") == str(folder / "base.gin")
  assert cli_files.find("~/nowhere.gin") is None


@pytest.mark.parametrize("macro, said", [
    ("POOL", ("line 4", "defines %POOL", "write POOL = 1")),
    ("POOLS", ("defines %POOLS", "mean POOLSIZE?")),
])
def test_macros_that_nothing_defines(folder, macro, said):
  text = ("from __gin__ import dynamic_registration\n\n"
          "from wsl_extraction.data import split\n"
          f"split.Split.pool = %{macro}\n"
          + ("POOLSIZE = 3\n" if macro == "POOLS" else ""))
  (folder / "own.gin").write_text(text)
  complaint = refusal("own.gin")
  for part in said:
    assert part in complaint
  cli_sources.check_macros(
      cli_sources.check(["own.gin"], [f"{macro} = 3"]))


@pytest.mark.parametrize("binding, said", [
    ("Learning.rounds = 3 4", "mend the syntax"),
    ("experiment.Experiment.dataset = digits", "write 'digits'"),
    ("learning.Learning.round = 3", "mean rounds?"),
    ("import no_such_module", "No module named 'no_such_module'"),
])
def test_bindings_are_named_in_full(folder, binding, said):
  text = refusal("base.gin", bindings=(binding,))
  assert text.startswith(f"--gin_bindings={binding}: ") and said in text


def test_a_missing_file_and_what_may_be_meant(folder):
  assert refusal("gin/rotaton.gin").endswith("did you mean gin/rotation.gin?")
  assert refusal("bse.gin").endswith("did you mean base.gin?")


@pytest.mark.parametrize("name", FILES)
def test_no_shipped_file_is_refused(name, monkeypatch):
  monkeypatch.chdir(ROOT)
  statements = cli_sources.check([name])
  if name in EXPERIMENTS:
    cli_sources.check_macros(statements)
