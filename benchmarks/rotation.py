"""The surrogate's training in gin/rotation.gin, ready to run."""

from __future__ import annotations

from collections.abc import Callable


def training(steps: int):
  """Builds it; the oracle's answers are made up.

  Returns:
    The student, the images that its network sees in a step, and what trains
    it for `steps` steps.
  """
  import numpy as np

  from wsl_extraction import cli
  from wsl_extraction.attacks.learning.learning import Learning
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.oracle.response import Quantity, Response
  from wsl_extraction.runtime import devices
  from wsl_extraction.runtime.runtime import Runtime
  from wsl_extraction.training import batches
  from wsl_extraction.training.recipe import Seeds
  cli.configure(["gin/rotation.gin"], [])
  experiment = cli.built(Experiment)
  attack, known = experiment.attack, experiment.budget
  assert isinstance(attack, Learning) and isinstance(known, int)
  objective, recipe = attack.objective, attack.recipe
  _, parts = experiment.data()
  pool = parts.pool.rows
  scores = np.random.default_rng(0).dirichlet(np.full(10, 0.3), known)
  assert parts.num_classes is not None
  student = recipe.student(
      objective, parts.space, parts.num_classes, Seeds(0, 0, 0), Runtime(
          compile_options=devices.compile_options(), adapt=devices.adapt))
  entries = {"labeled": pool[:known], **batches.response_entries(
      Response(10, Quantity.PROBABILITIES, {"values": scores}))}
  images = objective.images(recipe.batch_size, recipe.unlabeled_batch_size)
  data = batches.by_step(entries, steps, recipe.batch_size, 0, pool[known:],
                         recipe.unlabeled_batch_size)
  return student, images, _trainer(student, data, steps)


def _trainer(student, batches, steps: int) -> Callable[[], None]:
  from wsl_extraction.training.fit import fit
  return lambda: fit(student, batches, steps, checkpoint_every=steps)
