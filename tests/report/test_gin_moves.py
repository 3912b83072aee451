"""Gin files of earlier versions are told what to write, file and line."""

from __future__ import annotations

import gin
import pytest

from wsl_extraction import cli
from wsl_extraction.errors import InputError

HEADER = """\
from __gin__ import dynamic_registration

from wsl_extraction import experiment
from wsl_extraction.victims import trained

include "gin/rotation.gin"

"""
REVEAL = "write Experiment.reveal = "
RECIPE = ("with learning.Learning.recipe = @surrogate/recipe.Recipe()",
          "with trained.Trained.recipe = @victim/recipe.Recipe()")
FIELDS = ("network", "optimizer", "steps", "batch_size", "unlabeled_batch_size",
          "augment", "crop", "accumulate", "rematerialize", "checkpoint_every")


@pytest.fixture(autouse=True)
def fixture_clear_gin():
  yield
  gin.clear_config()


def refusal(files, bindings=()):
  with pytest.raises(InputError) as error:
    cli.configure(files, bindings)
  text = str(error.value)
  assert "\n" not in text
  return text


@pytest.mark.parametrize(("binding", "said"), [
    ("experiment.Experiment.access = 'label'",
     f"Experiment.access is gone (line 8); {REVEAL}'label'"),
    ('experiment.Experiment.access = "top_k"',
     f"Experiment.access is gone (line 8); {REVEAL}'top_k:3', for k = 3"),
    ("experiment.Experiment.access = %LEVEL",
     f"Experiment.access is gone (line 8); {REVEAL}'top_k:3', for k = 3"),
    ("experiment.Experiment.k = 5",
     f"Experiment.k is gone (line 8); {REVEAL}'top_k:5'"),
    ("victim/trained.Trained.steps = 9",
     "Trained.steps is gone (line 8); write victim/recipe.Recipe.steps, "
     f"{RECIPE[1]}"),
    ("trained.Trained:\n  seed = 1\n  augment = None",
     "Trained.augment is gone (line 10); write victim/recipe.Recipe.augment, "
     f"{RECIPE[1]}"),
])
def test_a_file_is_told_by_its_line(tmp_path, binding, said):
  path = tmp_path / "own.gin"
  path.write_text(f"{HEADER}{binding}\n")
  assert refusal([str(path)]) == f"gin file {path}: {said}"


def test_an_included_file_is_named(tmp_path):
  inner, outer = tmp_path / "inner.gin", tmp_path / "outer.gin"
  inner.write_text(f"{HEADER}experiment.Experiment.access = 'label'\n")
  outer.write_text(f'# Mine.\ninclude "{inner}"\n')
  assert refusal([str(outer)]) == (
      f"gin file {inner}: Experiment.access is gone (line 8); "
      f"{REVEAL}'label'")


@pytest.mark.parametrize(("binding", "said"), [
    ("Experiment.access = 'logits'", f"Experiment.access is gone; {REVEAL}"),
    ("experiment.Experiment.access = 'logits'", f"{REVEAL}'logits'"),
    ("Experiment.k = 2", f"Experiment.k is gone; {REVEAL}'top_k:2'"),
    *((f"surrogate/Learning.{name} = 1",
       f"Learning.{name} is gone; write surrogate/recipe.Recipe.{name}, "
       f"{RECIPE[0]}") for name in FIELDS),
    *((f"Trained.{name} = 1",
       f"Trained.{name} is gone; write victim/recipe.Recipe.{name}, "
       f"{RECIPE[1]}") for name in FIELDS),
    ("Split.shuffle_pool = False",
     "Split.shuffle_pool is gone; write Split.balanced"),
])
def test_a_binding_is_told(binding, said):
  text = refusal(["gin/rotation.gin"], [binding])
  assert text.startswith(f"--gin_bindings={binding}: ")
  assert said in text


@pytest.mark.parametrize(("text", "line", "successor"), [
    ("from wsl_extraction.attacks import learning\n"
     "learning.Learning.steps = 3\n", 4, "surrogate/recipe.Recipe.steps"),
    ("from wsl_extraction import experiment\n"
     "from wsl_extraction.attacks import learning\n"
     "experiment.Experiment.attack = @learning.Learning()\n", 5,
     "wsl_extraction.attacks.learning.learning.Learning"),
    ("from wsl_extraction.attacks import functional\n", 3,
     "wsl_extraction.attacks.relu.functional"),
    ("from wsl_extraction.data import datasets\ndatasets.Split.pool = 3\n", 4,
     "wsl_extraction.data.split.Split"),
    ("from wsl_extraction.data import crops\n", 3,
     "wsl_extraction.data.images.crops"),
    ("from wsl_extraction.data import preprocess\n", 3,
     "wsl_extraction.training.augment"),
    ("from wsl_extraction.objectives import optimizers\n", 3,
     "wsl_extraction.training.optimizers"),
    ("from wsl_extraction.report import grids\ngrids.Grid.seeds = (0,)\n", 4,
     "wsl_extraction.report.grids.grid.Grid"),
    ("from wsl_extraction.report import searches\n", 3,
     "wsl_extraction.report.grids.search"),
    ("from wsl_extraction.strategies import first\n", 3,
     "wsl_extraction.strategies.pool_order"),
    ("from wsl_extraction.victims import files\n", 3,
     "wsl_extraction.victims.keras_file or wsl_extraction.victims.function"),
])
def test_modules_that_moved(tmp_path, text, line, successor):
  path = tmp_path / "own.gin"
  path.write_text(f"from __gin__ import dynamic_registration\n\n{text}")
  assert f" is gone (line {line}); write {successor}" in refusal([str(path)])


@pytest.mark.parametrize("statement", [
    "from wsl_extraction.strategies import last",
    "trained.Trained.stepz = 3",
    "experiment.Experiment.attack = @trained.Learning()",
    "victim/resnet_v2.resnet_v2.steps = 3",
])
def test_what_never_was_is_a_misspelling(tmp_path, statement):
  path = tmp_path / "own.gin"
  path.write_text(f"{HEADER}{statement}\n")
  text = refusal([str(path)])
  assert "(line 8); check the spelling and what is imported" in text
  assert "gone" not in text
