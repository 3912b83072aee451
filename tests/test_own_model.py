"""A Keras classifier of one's own on a folder of photographs: gin/own_model."""

from __future__ import annotations

import re
import sys

import gin
import keras
import numpy as np
import pytest

from fixtures import commands, gin_files, guide, photographs
from fixtures.gin_files import OWN, ROOT, at_root  # noqa: F401
from wsl_extraction import cli
from wsl_extraction.errors import InputError, VictimWarning

SMALL = ("Split.pool = 40", "Split.test = 40", "Experiment.budget = 24",
         "STEPS = 1", "surrogate/Recipe.batch_size = 8",
         "surrogate/resnet_v2.resnet_v2.width = 2")


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
  return photographs.write(tmp_path_factory.mktemp("own"))


def extracted(folder, tmp_path, monkeypatch, *bindings):
  """Runs the file as it ships, but for its size, beside one's own model."""
  monkeypatch.chdir(folder)
  cli.configure([OWN], [*SMALL, *bindings])
  return gin_files.extracted(tmp_path, compile_options=gin_files.EAGER)


def test_it_runs_as_it_ships(folder, tmp_path, monkeypatch):
  _, parts, copy = extracted(folder, tmp_path, monkeypatch)
  assert parts.space.shape == (64, 64, 3)
  assert parts.class_names == ("flower", "leaves", "sky", "temple", "trees")
  assert copy.queries == 24 and copy.evaluation
  # The victim is the file's model, on images in 0..1.
  model = keras.saving.load_model("my_model.keras")
  answers = np.asarray(model.predict(
      np.asarray(parts.test.rows, np.float32) / 255, verbose=0))
  right = np.mean(answers.argmax(axis=1) == parts.test.labels)
  assert copy.evaluation.oracle["accuracy_top1"].value == pytest.approx(right)
  assert right > 0.8


def test_another_range_is_warned_of(folder, tmp_path, monkeypatch):
  with pytest.warns(VictimWarning, match="value_range"):
    extracted(folder, tmp_path, monkeypatch,
              "keras_file.KerasFile.value_range = None")


@pytest.mark.parametrize("binding, said", [
    ("keras_file.KerasFile.path = 'other.keras'", "no model file other.keras"),
    ("experiment.Experiment.dataset = './others'", "others"),
    ("experiment.Experiment.image_size = None", "give image_size"),
    ("experiment.Experiment.image_size = 32", r"the model in my_model.keras "
     r"takes inputs of shape \(None, 64, 64, 3\)"),
    ("split.Split.pool = 300", "has 80 to split; choose smaller parts"),
])
def test_lines_that_do_not_fit_are_named(folder, tmp_path, monkeypatch,
                                         binding, said):
  with pytest.raises(InputError, match=said):
    extracted(folder, tmp_path, monkeypatch, binding)


def test_readmes_lines_are_those_of_the_file():
  block = guide.block("README.md", "# Yours: the model").text
  assert block in (ROOT / OWN).read_text(encoding="utf-8")
  cli.configure([OWN], [])
  assert gin.query_parameter("keras_file.KerasFile.value_range") == (0, 1)


def page_commands(start, *more):
  """The command of a block of docs/guide/own_model.md, with more flags."""
  ((program, *words),) = guide.commands_of(
      guide.block("own_model.md", start).text)
  python = ["-m", "wsl_extraction"] if program == "wsl-extraction" else []
  return [sys.executable, *python, *words, *more]


def figures(table):
  """The oracle's accuracy and the surrogate's fidelity, in %."""
  return tuple(float(re.findall(rf"{row} +(?:[\d.]+% +)*([\d.]+)%", table)[0])
               for row in ("oracle", "surrogate"))


@pytest.mark.slow
def test_the_page_copies_a_model_and_answers(tmp_path):
  """The commands of the page; of the table one row, of two short runs."""
  for name in ("examples", "gin"):
    (tmp_path / name).symlink_to(ROOT / name)
  environ = commands.environment(tmp_path, KERAS_BACKEND="tensorflow",
                                 PYTHONWARNINGS="")
  said = ""
  for words in (
      page_commands("python examples/photographs.py"),
      page_commands("wsl-extraction train gin/own_model.gin"),
      page_commands(
          "python -m wsl_extraction.reproduce", "--run_bindings=STEPS = 30",
          "--gin_bindings=Grid.methods = {'scores': 'STEPS = 30'}",
          "--gin_bindings=Grid.comparisons = ()",
          "--gin_bindings=Grid.budgets = (100,)",
          "--gin_bindings=Grid.fidelity_goal = 20",
          "--gin_bindings=Grid.seeds = (0, 1)")):
    done = commands.run(words, tmp_path, environ)
    assert done.status == 0, done.stderr
    said += done.stdout
  assert "my_images: 5 classes of 120; my_model.keras: written" in said
  assert "100 charged of a budget of 100" in said
  oracle, copy = figures(said)
  printed = guide.block("own_model.md", "queries    100 charged").text
  # Backends and processors round in other ways.
  assert (oracle, copy) == pytest.approx(figures(printed), abs=5)
  ((mean, half),) = re.findall(
      r"100 queries +\| +[\d.]+ ± [\d.]+ +\| +([\d.]+) ± ([\d.]+) ", said)
  negation = "" if float(mean) - float(half) >= 20 else "not "
  assert re.search(r"2 of 2 runs.*\n\nThe model is copied to a top-1 fidelity "
                   rf"of 20% .* under scores: {negation}within 100 queries\.\n",
                   said), said
