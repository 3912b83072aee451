"""A victim trained here, on the part of the data that is private to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import keras

from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.runtime import files
from wsl_extraction.training import batches, fit
from wsl_extraction.training.student import Student
from wsl_extraction.victims.keras_file import cached
from wsl_extraction.victims.victim import (
  Surroundings,
  Victim,
  digest,
  in_batches,
  weights_digest,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
  """Trains a victim on the labels of the private examples, once.

  The result is kept in the cache under a fingerprint of everything that it
  depends on, and found there by the next run with the same settings.

  Attributes:
    network: Called with input_shape, num_classes, value_range and seed.
    optimizer: Called without arguments; gives a Keras optimizer.
    steps: Training steps.
    batch_size: Images in a step.
    augment: Called with seed; gives a layer, or None.
    seed: Of initial weights, order and augmentation.
    checkpoint_every: Steps between two checkpoints, at most.
  """

  network: Callable[..., keras.Model]
  optimizer: Callable[[], keras.optimizers.Optimizer]
  steps: int
  batch_size: int = 128
  augment: Callable[..., keras.layers.Layer] | None = None
  seed: int = 0
  checkpoint_every: int = 100

  def __call__(self, dataset: Dataset, parts: Parts,
               surroundings: Surroundings) -> Victim:
    """Gives the victim, from the cache or trained now.

    Raises:
      InputError: There are no private examples, or the cache cannot be
        written.
    """
    if not len(parts.private):
      raise InputError("a victim cannot be trained on a private part of 0 "
                       "examples; raise Split.private or name a victim's file")
    try:
      network = self.network(
          input_shape=dataset.input_shape, num_classes=dataset.num_classes,
          value_range=dataset.value_range, seed=self.seed)
      optimizer = self.optimizer()
    except (TypeError, ValueError) as error:  # the user chose the parameters
      raise InputError("Trained's network or optimizer cannot be made: "
                       f"{error}; mend its parameters") from error
    path = surroundings.cache / "victims" / (
        f"{self._key(network, optimizer, parts)}.keras")
    kept = cached(path)
    if kept is None:
      self._train(network, optimizer, parts, path, surroundings)
    network = kept or network
    return Victim(
        in_batches(network), "logits", dataset.input_shape, dataset.num_classes,
        weights_digest(network))

  def _key(self, network: keras.Model, optimizer: keras.optimizers.Optimizer,
           parts: Parts) -> str:
    augment = self.augment(seed=self.seed) if self.augment else None
    made = [*network.layers, optimizer, *([augment] if augment else ())]
    return digest(
        keras.backend.backend(), weights_digest(network),
        *(_description(part) for part in made), self.steps, self.batch_size,
        self.seed, *parts.private.keys, parts.private.labels)

  def _train(self, network, optimizer, parts, path, surroundings):
    entries = {"labeled": parts.private.images, "labels": parts.private.labels}
    augment = self.augment(seed=self.seed) if self.augment else None
    student = Student(network, Supervised(), augment=augment)
    student.compile(optimizer, **surroundings.compile_options)
    checkpoint = path.with_suffix(".npz")
    fit.fit(
        student,
        batches.by_step(entries, self.steps, self.batch_size, self.seed),
        self.steps, checkpoint=checkpoint,
        checkpoint_every=self.checkpoint_every,
        callbacks=surroundings.callbacks(self.steps, self.batch_size))
    with files.atomic_write(path) as temporary:
      network.save(temporary)
    checkpoint.unlink(missing_ok=True)


def _description(part: keras.layers.Layer | keras.optimizers.Optimizer) -> str:
  """What a part does, without its name, which counts those made before it."""
  config = part.get_config()
  config.pop("name", None)
  # See `optimizers.decaying_kernels`.
  limits = getattr(part, "decays", "")
  return f"{type(part).__name__} {json.dumps(config, default=str)}{limits}"
