"""Every gin file with the paper's own settings runs one step."""

from __future__ import annotations

import pytest

from fixtures.gin_files import (
    EXPERIMENTS,
    at_root,  # noqa: F401
    one_step,
)

# After one step a victim guesses, and its owner is told.
pytestmark = pytest.mark.filterwarnings(
    "ignore::wsl_extraction.errors.VictimWarning")
PAPER = [name for name in EXPERIMENTS if name.count("/") > 1]
# At their own depth, where a step of all would take minutes; and one as it is,
# but for its batch.
DEEP = {
    "gin/imagenet/v2_50_100_wsl5.gin": (
        "resnet_v2.depth = 50", "resnet_v2.width = 64"),
    "gin/imagenet/v2_200_10_wsl_rotation.gin": (
        "resnet_v2.depth = 200", "resnet_v2.width = 2")}
AS_IT_IS = ("Experiment.image_size = 224", "surrogate/Recipe.batch_size = 2",
            "surrogate/Recipe.unlabeled_batch_size = 0")


@pytest.mark.parametrize("name", PAPER)
def test_one_step(name, tmp_path):
  one_step(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_one_step_of_a_deep_network(name, tmp_path):
  size = AS_IT_IS if "v2_50" in name else ()
  one_step(name, tmp_path, *size, *(
      f"surrogate/resnet_v2.{binding}" for binding in DEEP[name]))
