"""Flags, gin files and one-line errors, inside this process."""

from __future__ import annotations

import pathlib
import sys
import types

import gin
import pytest

from wsl_extraction import cli
from wsl_extraction.errors import InputError

GIN = """\
from __gin__ import dynamic_registration

from wsl_extraction.attacks.learning import learning
from wsl_extraction.data import split
from wsl_extraction.evaluation import metrics
from wsl_extraction.objectives import distillation
from wsl_extraction.objectives import objective
from wsl_extraction.training import recipe

learning.Learning.objective = @distillation.Distillation()
surrogate/recipe.Recipe.steps = 3
split.Split.pool = 5
"""


@pytest.fixture(autouse=True)
def fixture_clear_gin():
  yield
  gin.clear_config()


@pytest.fixture(name="file")
def fixture_file(tmp_path):
  path = tmp_path / "some.gin"
  path.write_text(GIN)
  return str(path)


def launched(monkeypatch, main, *arguments):
  """The status of a command whose own flags none but --help are."""
  monkeypatch.setattr(sys, "argv", ["command", *arguments])
  cli.FLAGS.unparse_flags()
  try:
    return cli.launch(main, lambda: None)
  finally:
    for name in ("help", "gin_file", "gin_bindings", "seed"):
      cli.FLAGS[name].unparse()
    cli.FLAGS.mark_as_parsed()


def do_nothing():
  pass


def test_help_describes_the_command_and_every_flag(monkeypatch, capsys):
  assert launched(monkeypatch, do_nothing, "--help") == 0
  text = capsys.readouterr().out
  assert text.startswith(__doc__)
  for flag in ("--gin_file=GIN_FILE", "--gin_bindings=", "--seed=", "--help\n",
               "--data_dir=", "--cache_dir="):
    assert f"  {flag}" in text
  assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("raised, status, said", [
    (InputError("a is b;\n  do c"), 2, "error: a is b; do c\n"),
    (KeyboardInterrupt(), 130,
     "interrupted; run the same command again to go on\n"),
])
def test_errors_for_the_user_become_one_line(
    monkeypatch, capsys, raised, status, said):
  def main():
    raise raised

  assert launched(monkeypatch, main) == status
  shown = capsys.readouterr()
  assert (shown.out, shown.err) == ("", said)


def test_defects_keep_their_traceback(monkeypatch):
  def main():
    raise KeyError("a defect")

  with pytest.raises(KeyError, match="a defect"):
    launched(monkeypatch, main)


@pytest.mark.parametrize("arguments, said", [
    (["--gin_fil=x"], "gin_fil"),
    (["--seed=-1"], "--seed=-1"),
    (["more"], "unexpected argument 'more'"),
])
def test_flags_that_cannot_be_used(monkeypatch, capsys, arguments, said):
  assert launched(monkeypatch, do_nothing, *arguments) == 2
  shown = capsys.readouterr().err
  assert said in shown and shown.endswith("; see --help\n")
  assert shown.count("\n") == 1


@pytest.mark.parametrize("bindings, name, value", [
    (["learning.Learning.rounds = 4"], "learning.Learning.rounds", 4),
    (["Learning.rounds = 4", "learning.Learning.rounds = 7"],
     "learning.Learning.rounds", 7),
    (["surrogate/recipe.Recipe.steps = 4"], "surrogate/recipe.Recipe.steps", 4),
    (["surrogate/Recipe.steps = 4"], "surrogate/recipe.Recipe.steps", 4),
    (["surrogate/Recipe.steps = 4", "surrogate/recipe.Recipe.steps = 7"],
     "surrogate/recipe.Recipe.steps", 7),
    (["surrogate/recipe.Recipe.steps = 7", "surrogate/Recipe.steps = 4"],
     "surrogate/recipe.Recipe.steps", 4),
    (["import wsl_extraction.report.run_table",
      "wsl_extraction.report.run_table.result_table.result = 'a'"],
     "wsl_extraction.report.run_table.result_table.result", "a"),
    (["from wsl_extraction.strategies import random",
      "random.Random.nothing = 1"], None, "nothing"),
])
def test_bindings_win_over_files_and_later_ones_over_earlier(
    file, bindings, name, value):
  if name is None:
    with pytest.raises(InputError, match=f"{value}.*check the spelling"):
      cli.configure([file], bindings)
    return
  cli.configure([file], bindings)
  assert gin.query_parameter(name) == value


@pytest.mark.parametrize("binding", [
    "Learning.objective = @objective.Supervised()",
    "learning.Learning.objective = @objective.Supervised()",
])
def test_bindings_may_refer_to_what_the_files_import(file, binding):
  cli.configure([file], [binding])
  chosen = gin.query_parameter("learning.Learning.objective")
  assert "objective.Supervised()" in str(chosen)


def test_a_binding_may_refer_to_what_an_earlier_one_imports(file):
  cli.configure([file], [
      "from wsl_extraction.objectives import rotation",
      "Learning.objective = @rotation.Rotation()",
      "rotation.Rotation.weight = 2.0"])
  assert gin.query_parameter("rotation.Rotation.weight") == 2.0


@pytest.mark.parametrize("text, said", [
    ("learning.Learning.stepz = 1\n", r"'stepz' \(line 13\); check the spell"),
    ("learning.Lerning.steps = 1\n", r"attribute Lerning"),
    ("surrogate/recipe.Recipe.steps = [1,\n", r"near line 1\d: a bracket"),
    ("surrogate/recipe.Recipe.steps = 1 2\n", r"line 13.*mend the syntax"),
    ("import no_such_module\n", "no_such_module"),
    ("surrogate/rotation.Rotation.weight = 2.0\n",
     r"'rotation' was not provided by an import.*line 13\); check"),
    ("include 'no_such.gin'\n", "no_such.gin"),
])
def test_gin_files_that_cannot_be_read(tmp_path, text, said):
  path = tmp_path / "bad.gin"
  path.write_text(GIN + text)
  with pytest.raises(InputError, match=said) as refusal:
    cli.configure([str(path)], [])
  assert str(refusal.value).startswith(f"gin file {path}")
  assert "\n" not in str(refusal.value)


def test_a_shipped_file_is_found_from_anywhere_in_silence(
    tmp_path, monkeypatch, caplog):
  monkeypatch.chdir(tmp_path)
  cli.configure(["gin/distillation.gin"], [])
  assert "temperature = 1.5" in gin.config_str()
  assert not caplog.records


def test_construction_names_what_is_missing(file):
  cli.configure([file], [])
  with pytest.raises(InputError) as refusal:
    from wsl_extraction.data import split

    cli.built(gin.get_configurable(split.Split))
  text = str(refusal.value)
  assert "'private' and 'test'" in text and "(in Split)" in text
  assert "\n" not in text and "supplied" not in text


@pytest.mark.parametrize("gin_files, workdir, folder", [
    (["gin/mixmatch.gin"], None, "runs/mixmatch"),
    (["gin/cifar10/mixmatch.gin"], None, "runs/cifar10/mixmatch"),
    (["/there/gin/tables/table2.gin"], None, "runs/tables/table2"),
    (["gin/mixmatch.gin", "../own.gin"], None, "runs/own"),
    (["gin/mixmatch.gin"], "here", "here"),
    ([], "here", "here"),
])
def test_results_have_a_folder_named_after_the_gin_file(
    monkeypatch, gin_files, workdir, folder):
  monkeypatch.setattr(cli, "FLAGS", types.SimpleNamespace(
      gin_file=gin_files, workdir=workdir))
  assert cli.results_folder() == pathlib.Path(folder)


def test_without_gin_file_and_workdir_there_is_no_folder(monkeypatch):
  monkeypatch.setattr(cli, "FLAGS", types.SimpleNamespace(
      gin_file=[], workdir=None))
  with pytest.raises(InputError, match="give --gin_file"):
    cli.results_folder()
