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
  from wsl_extraction.data import datasets
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.runtime import devices
  from wsl_extraction.training import batches
  from wsl_extraction.training.student import Student
  cli.configure(["gin/rotation.gin"], [])
  experiment = cli.built(Experiment)
  attack = experiment.attack
  dataset = datasets.load(experiment.dataset)
  pool = experiment.split(dataset).pool.rows
  known = experiment.budget
  scores = np.random.default_rng(0).dirichlet(np.full(10, 0.3), known)
  network = attack.network(input_shape=dataset.input_shape, num_classes=10,
                           value_range=dataset.value_range, seed=0)
  student = Student(network, attack.objective, augment=attack.augment(seed=0))
  student.compile(attack.optimizer(), **devices.compile_options())
  entries = {"labeled": pool[:known],
             "targets": np.log(scores).astype(np.float32),
             "revealed": np.ones((known, 10), bool)}
  images = attack.objective.images(
      attack.batch_size, attack.unlabeled_batch_size)
  batches = batches.by_step(entries, steps, attack.batch_size, 0, pool[known:],
                             attack.unlabeled_batch_size)
  return student, images, _trainer(student, batches, steps)


def _trainer(student, batches, steps: int) -> Callable[[], None]:
  from wsl_extraction.training.fit import fit
  return lambda: fit(student, batches, steps, checkpoint_every=steps)
