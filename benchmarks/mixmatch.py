"""The surrogate's training in gin/cifar10/mixmatch.gin, ready to run.

In the precision that suits the device, and without averages of the weights,
which `fit` would leave in their place each time that it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 64
SMALL_BATCH = 4
QUERIES = 250
CLASSES = 10
_SHAPE = (32, 32, 3)
_QUICK = ("wide_resnet.wide_resnet.depth = 10",
          "wide_resnet.wide_resnet.width = 1",
          f"surrogate/Recipe.batch_size = {SMALL_BATCH}",
          f"surrogate/Recipe.unlabeled_batch_size = {SMALL_BATCH}")


def training(steps: int, quick: bool = False, images: np.ndarray | None = None,
             **changed: Any) -> tuple[Any, Any, Callable[[], None]]:
  """Builds it; the oracle's answers are made up.

  Args:
    steps: Of one call of what trains.
    quick: A smaller network and batch.
    images: The pool [n, 32, 32, 3], uint8; made up unless given.
    **changed: Attributes of `Learning`, instead of the gin file's.

  Returns:
    The student, the attack, and what trains the student for `steps` steps.
  """
  import dataclasses

  from wsl_extraction import cli
  from wsl_extraction.attacks.learning.learning import Learning
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.oracle.spaces import Images
  from wsl_extraction.runtime import devices
  from wsl_extraction.runtime.runtime import Runtime
  from wsl_extraction.training import batches
  from wsl_extraction.training.recipe import Seeds
  cli.configure(["gin/cifar10/mixmatch.gin"],
                ["Adam.use_ema = False", *(_QUICK if quick else ())])
  experiment = cli.built(Experiment)
  devices.set_precision(experiment.precision)
  assert isinstance(experiment.attack, Learning)
  attack = dataclasses.replace(experiment.attack, **changed)
  recipe = attack.recipe
  student = recipe.student(
      attack.objective, Images(*_SHAPE), CLASSES, Seeds(0, 0, 0), Runtime(
          compile_options=devices.compile_options(), adapt=devices.adapt))
  images = made_up() if images is None else images
  rest = images[QUERIES:] if "unlabeled" in attack.objective.entries else None
  data = batches.by_step(_known(images), 100 * steps, recipe.batch_size, 0,
                         rest, recipe.unlabeled_batch_size)
  return student, attack, _trainer(student, data, steps)


def made_up() -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (2000, *_SHAPE), np.uint8)


def scores() -> np.ndarray:
  """What an oracle might have answered [250, 10]."""
  return np.random.default_rng(0).dirichlet(np.full(CLASSES, 0.3), QUERIES)


def _known(images: np.ndarray) -> dict[str, np.ndarray]:
  from wsl_extraction.oracle.response import Quantity, Response
  from wsl_extraction.training import batches
  response = Response(CLASSES, Quantity.PROBABILITIES, {"values": scores()})
  return {"labeled": images[:QUERIES], "labels": response.top_classes,
          **batches.response_entries(response)}


def _trainer(student, batches, steps: int) -> Callable[[], None]:
  from wsl_extraction.training.fit import fit
  done = 0

  def train() -> None:
    nonlocal done
    fit(student, batches[done:done + steps], steps, checkpoint_every=steps)
    done = (done + steps) % len(batches)

  return train
