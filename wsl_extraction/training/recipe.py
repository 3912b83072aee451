"""A recipe: network, optimizer and length of a training."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.networks.classifier import check_classifier
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Images, Space
from wsl_extraction.oracle.tables import Table
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training import batches, features, fit, optimizers
from wsl_extraction.training.augment import check_layer
from wsl_extraction.training.student import Student


@dataclasses.dataclass(frozen=True)
class Seeds:
  """The seeds of initial weights, order of rows, and augmentation."""

  building: int
  ordering: int
  augmenting: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """Network, optimizer and length of a training, of surrogate or victim.

  Attributes:
    network: Called with input_shape, num_classes, value_range and seed; gives
      a network that maps rows to logits.
    optimizer: Called without arguments; gives a Keras optimizer.
    steps: Training steps.
    batch_size: Labelled rows in a step.
    unlabeled_batch_size: Unlabelled rows in a step, where the objective reads
      any.
    standardize: Whether a feature becomes its distance from the mean in
      standard deviations, of the rows to learn from (of a surrogate, the pool).
      None does so with vectors and tables without a range of values. Categories
      become one-hot in any case; see `features.features`.
    augment: Called with seed; gives the layer through which all rows of a
      training batch go; None leaves them alone.
    crop: How images that are files still are cropped for training, such as
      `crops.InceptionCrop()`; None gives them as they are asked about.
    accumulate: The equal parts in which a step's batch goes through the
      network, for devices that cannot hold it at once. Gradients are averaged
      over the parts; batch normalisation sees one part at a time.
    rematerialize: Computes activations again for the gradient instead of
      keeping them: less memory, about a third more arithmetic, the same
      results.
    checkpoint_every: Steps between two checkpoints, at most.
  """

  network: Callable[..., keras.Model]
  optimizer: Callable[[], keras.optimizers.Optimizer]
  steps: int
  batch_size: int = 64
  unlabeled_batch_size: int = 64
  standardize: bool | None = None
  augment: Callable[..., keras.layers.Layer] | None = None
  crop: Any = None
  accumulate: int = 1
  rematerialize: bool = False
  checkpoint_every: int = 100

  def __post_init__(self):
    for name, least in (("steps", 1), ("batch_size", 1), ("accumulate", 1),
                        ("checkpoint_every", 1), ("unlabeled_batch_size", 0)):
      self._set(name, checks.whole(f"Recipe.{name}", getattr(self, name),
                                   least))
    self._set("rematerialize", checks.flag("Recipe.rematerialize",
                                           self.rematerialize))
    if self.standardize is not None:
      self._set("standardize", checks.flag("Recipe.standardize",
                                           self.standardize))
    if self.crop is not None and (
        isinstance(self.crop, type) or not hasattr(self.crop, "draw")):
      checks.refuse("Recipe.crop", self.crop, "a crop with parentheses, such "
                    "as @crops.InceptionCrop()", True)
    for name, example, optional in (
        ("network", "@resnet_v2.resnet_v2", False),
        ("optimizer", "@keras.optimizers.SGD", False),
        ("augment", "@augment.Augment", True)):
      maker = getattr(self, name)
      checks.reference(f"Recipe.{name}", maker, example, optional=optional)
      if isinstance(maker, keras.layers.Layer):
        checks.refuse(f"Recipe.{name}", maker, "a reference without "
                      f"parentheses, such as {example}")
    for name in ("batch_size", "unlabeled_batch_size"):
      if (size := getattr(self, name)) % self.accumulate:
        raise InputError(
            f"Recipe.{name} is {size}, which Recipe.accumulate, "
            f"{self.accumulate}, does not divide; change one of them")

  def _set(self, name: str, value: Any) -> None:
    object.__setattr__(self, name, value)

  def check(self, space: Space) -> None:
    """Makes sure that augmentation and crop are for rows of a space.

    Raises:
      InputError: They are not.
    """
    is_image = isinstance(space, Images)
    if self.crop is not None and not is_image:
      raise InputError("Recipe.crop is for images, and the rows are vectors of "
                       f"{space.features} numbers; leave it out")
    layer = self.make_augment(0)
    if layer is not None:
      check_layer(layer, space)

  def make_network(self, space: Space, outputs: int, seed: int,
                   rows: np.ndarray | LazyRows | None = None) -> keras.Model:
    """An untrained network, with the layers before it that make its features.

    Args:
      space: The inputs.
      outputs: The number of classes, c.
      seed: Of its weights.
      rows: By whose statistics features are standardised, if they are.

    Raises:
      InputError: Its parameters cannot be, or it does not map inputs to logits.
    """
    standardize = self.standardize
    if standardize is None:
      standardize = not isinstance(space, Images) and not space.has_range
    if not standardize and not isinstance(space, Table):
      return self._network(space.shape, outputs, space.value_range, seed)
    if self.rematerialize:
      raise InputError("Recipe.rematerialize is for networks that get rows as "
                       "they are, and these are standardised; leave it out")
    inputs, values = features.features(space, rows if standardize else None)
    network = self._network(tuple(values.shape[1:]), outputs, (-1.0, 1.0), seed)
    # Its layers, not it as one layer: objectives look for the last ones.
    return keras.Model(inputs, network.call(values), name=network.name)

  def _network(self, input_shape: tuple[int, ...], outputs: int,
               value_range: tuple[float, float], seed: int) -> keras.Model:
    network = self._build("network", lambda: self.network(
        input_shape=input_shape, num_classes=outputs, value_range=value_range,
        seed=seed))
    return check_classifier(network, "Recipe.network", input_shape, outputs)

  def make_optimizer(self) -> keras.optimizers.Optimizer:
    """An optimizer that has not been used.

    Raises:
      InputError: Its parameters cannot be.
    """
    return self._build("optimizer", lambda: optimizers.accumulating(
        self.optimizer(), self.accumulate))

  def make_augment(self, seed: int) -> keras.layers.Layer | None:
    """The layer of augmentation, if there is one.

    Raises:
      InputError: Its parameters cannot be.
    """
    augment = self.augment
    if augment is None:
      return None
    return self._build("augment", lambda: augment(seed=seed))

  def _build(self, name: str, make: Callable[[], Any]) -> Any:
    try:
      return make()
    except (TypeError, ValueError) as error:  # the user chose the parameters
      raise InputError(f"Recipe.{name} cannot be made: {error}; mend its "
                       "parameters") from error

  def student(self, objective: Objective, space: Space, outputs: int,
              seeds: Seeds, runtime: Runtime,
              rows: np.ndarray | LazyRows | None = None) -> Student:
    """An untrained student, compiled and placed on the devices.

    Args:
      objective: What it minimises.
      space: The inputs of its network.
      outputs: The number of classes, c.
      seeds: Of its initial weights and its augmentation.
      runtime: Gives the devices and the options to compile with.
      rows: See `make_network`.

    Raises:
      InputError: Something of it cannot be made.
    """
    with runtime.placement.scope():
      network = self.make_network(space, outputs, seeds.building, rows)
      student = Student(
          network, objective, seed=seeds.building + 1,
          augment=self.make_augment(seeds.augmenting),
          accumulate=self.accumulate, rematerialize=self.rematerialize)
      runtime.adapt(student)
      runtime.placement.synchronize(student)
      student.compile(self.make_optimizer(), **runtime.compile_options)
    return student

  def fit(self, student: Student, labeled: Mapping[str, Any], name: str,
          seeds: Seeds, runtime: Runtime, *, steps: int | None = None,
          unlabeled: Any = None, checkpoint: str | os.PathLike | None = None,
          complete: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Trains a student, or the rest of it after an interruption.

    Args:
      student: What `student` made.
      labeled: Arrays of n rows each by the entries of a batch, among them
        "labeled", the inputs; see `objective`.
      name: Of the training, for its callbacks.
      seeds: Of the order of rows.
      runtime: Gives the devices, the callbacks and the reading of files.
      steps: In place of the recipe's own.
      unlabeled: Unlabelled rows [m, ...], if the objective reads any.
      checkpoint: The file of the training's state; None keeps none.
      complete: Adds to each batch what no array holds; it gets the positions of
        labelled rows as "rows".

    Raises:
      InputError: The checkpoint is damaged or of another student, or cannot be
        written.
    """
    steps = self.steps if steps is None else steps
    placement, parts = runtime.placement, self.accumulate
    size = self.unlabeled_batch_size if unlabeled is not None and len(
        unlabeled) else 0
    by_step = batches.by_step(
        labeled, steps * parts, self.batch_size // parts, seeds.ordering,
        unlabeled, size // parts, crop=self.crop,
        shard=(placement.index, placement.count), rows=complete is not None)
    is_lazy = not isinstance(labeled["labeled"], np.ndarray)
    with placement.scope():
      fit.fit(
          student, by_step, steps, checkpoint_every=self.checkpoint_every,
          checkpoint=checkpoint, placement=placement,
          read=runtime.read_batches if is_lazy else None, complete=complete,
          callbacks=runtime.training_callbacks(
              name, steps, student.objective.images(self.batch_size, size)))
