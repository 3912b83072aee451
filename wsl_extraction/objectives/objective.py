"""What a surrogate minimises, and the Keras model that minimises it.

A batch is a dictionary; which entries it needs depends on the objective:

  "labeled"    images [b, h, w, d] whose label or response is known
  "labels"     int32 [b], their classes in the data set
  "targets"    float32 [b, c], the oracle's log-scores for them, each row up to
               a constant (logits where they are revealed, log-probabilities
               elsewhere; -inf at probability zero)
  "revealed"   uint8 [b, c], 1 at the classes whose score the oracle revealed
  "unlabeled"  images [m, h, w, d] of which nothing is known; an objective gets
               [views * m, h, w, d], all of one augmentation before the next

`Student` adds what an objective may use and no data set holds:

  "step"       int32 scalar, the steps done before this one
  "seeds"      a `keras.random.SeedGenerator`, kept with the training's state
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.objectives.remat import Rematerialized

Batch = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
  """A loss over a batch, as named terms that add up to it.

  Objectives hold hyper-parameters and no weights: one instance can train any
  number of surrogates. A head that only training needs is added to the network
  by `extend`.
  """

  @property
  @abc.abstractmethod
  def terms(self) -> tuple[str, ...]:
    """The names of the terms."""

  @property
  @abc.abstractmethod
  def needs(self) -> frozenset[str]:
    """The entries of a batch that are read, beside "labeled"."""

  @property
  def access(self) -> str:
    """The least access level (a name of `oracle.Access`) that will do."""
    return "label"

  @property
  def views(self) -> int:
    """How many augmentations of each unlabelled image it is given."""
    return 1

  def images(self, labeled: int, unlabeled: int) -> int:
    """How many images of a batch it learns from in one step."""
    del unlabeled
    return labeled

  def check(self, labeled: int, unlabeled: int) -> None:
    """Raises InputError where it cannot learn from batches of these sizes.

    Args:
      labeled: Labelled images in a batch.
      unlabeled: Unlabelled ones, 0 where there are none.
    """
    del labeled, unlabeled

  def extend(self, network: keras.Model, seed: int) -> keras.Model:
    """The network with what training needs beside its logits.

    Args:
      network: Maps images to logits [n, c] by a last dense layer.
      seed: Of the initial weights of what is added.

    Returns:
      A model that shares the network's layers and returns a dictionary with
      "logits" [n, c] and whatever `__call__` reads.
    """
    del seed
    images, logits = ends(network)
    return keras.Model(images, {"logits": logits})

  @abc.abstractmethod
  def __call__(self, network: keras.Model, batch: Batch,
               training: bool) -> dict[str, Any]:
    """The terms, each a scalar: the mean over the batch, with its weight.

    Args:
      network: What `extend` returned.
      batch: See the module.
      training: Passed on to the network.
    """


@dataclasses.dataclass(frozen=True)
class Classification(Objective):
  """An objective that depends on the logits of the labelled images alone."""

  name: ClassVar[str]

  @property
  def terms(self) -> tuple[str, ...]:
    return (self.name,)

  @abc.abstractmethod
  def losses(self, logits: Any, batch: Batch) -> Any:
    """The loss [b] of logits float32 [b, c]."""

  def __call__(self, network, batch, training):
    logits = network(batch["labeled"], training=training)["logits"]
    logits = ops.cast(logits, "float32")
    return {self.name: ops.mean(self.losses(logits, batch))}


@dataclasses.dataclass(frozen=True)
class Supervised(Classification):
  """Cross-entropy with the data set's labels: no oracle, the baseline.

  References:
    Jagielski et al. 2020, Table 2, columns "ImageNet" and "ImageNet + Rot".
  """

  name: ClassVar[str] = "supervised"

  @property
  def needs(self) -> frozenset[str]:
    return frozenset({"labels"})

  def losses(self, logits, batch):
    return ops.sparse_categorical_crossentropy(
        batch["labels"], logits, from_logits=True)


class Student(keras.Model):
  """Trains a network under an objective by plain `fit`, on every backend.

  `fit` takes batches as above (no separate targets); `predict`, `evaluate` and
  calls with an array take images and give the network's logits.

  Attributes:
    network: The surrogate; save this one.
    step: int32 scalar variable, the training steps done.
    accumulate: The batches whose gradients make up one step.
  """

  def __init__(self, network: keras.Model, objective: Objective, *,
               augment: keras.layers.Layer | None = None, seed: int = 0,
               accumulate: int = 1, rematerialize: bool = False, **kwargs):
    """Extends `network` by what `objective` needs.

    Args:
      network: Maps images to logits.
      objective: What to minimise.
      augment: Applied to all images of a training batch.
      seed: Of the initial weights that the objective adds, and of what it
        draws.
      accumulate: The batches whose gradients make up one step; the optimizer
        has as many `gradient_accumulation_steps`.
      rematerialize: Recomputes the network's activations for the gradient
        instead of keeping them: less memory, about a third more arithmetic,
        the same results.
      **kwargs: Of `keras.Model`.

    Raises:
      InputError: The network has not what the objective or rematerialisation
        needs.
    """
    # Without autocast: under bfloat16 the targets would be rounded, and images
    # too before their augmentation; the network casts its own inputs.
    super().__init__(autocast=False, **kwargs)
    self.network = network
    self.objective = objective
    self.extended = objective.extend(network, seed)
    if rematerialize:
      self.extended = Rematerialized(self.extended)
    self.augment = augment or keras.layers.Identity(autocast=False)
    # An own counter: optimizer.iterations cannot be read inside a jax step.
    # An integer: a float would be autocast, and bfloat16 stops at 256.
    self.step = self.add_weight(
        shape=(), dtype="int32", initializer="zeros", trainable=False,
        aggregation="only_first_replica", name="step")
    self.accumulate = accumulate
    self._passes = None if accumulate == 1 else self.add_weight(
        shape=(), dtype="int32", initializer="zeros", trainable=False,
        aggregation="only_first_replica", name="passes")
    # On torch, seeds that are close give shifted copies of one stream.
    self.seeds = keras.random.SeedGenerator(
        int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1))
    self.term_means = [
        keras.metrics.Mean(name=name) for name in objective.terms]
    self._total = _MeanOverReplicas(name="mean_over_replicas")
    self.built = True

  def call(self, inputs, training=False):
    if not isinstance(inputs, Mapping):
      return self.network(inputs, training=training)
    batch = {**inputs, "step": self.step, "seeds": self.seeds}
    batch["labeled"] = self.augment(inputs["labeled"], training=training)
    if "unlabeled" in inputs:
      batch["unlabeled"] = self._views(inputs["unlabeled"], training)
    return self.objective(self.extended, batch, training)

  def _views(self, images, training):
    views = [self.augment(images, training=training)
             for _ in range(self.objective.views)]
    if len(views) == 1:
      return views[0]
    # Joining bytes has no fast kernels on CPUs.
    return ops.concatenate([ops.cast(view, "float32") for view in views])

  def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None,
                   training=True):
    if not isinstance(y_pred, Mapping):
      return super().compute_loss(x, y, y_pred, sample_weight, training)
    if training:
      self._count()
    total = sum(y_pred.values()) + sum(self.losses)
    return self._total(ops.zeros((1,)), ops.reshape(total, (1,)))

  def _count(self):
    if self._passes is None:
      self.step.assign_add(1)
    else:
      self._passes.assign_add(1)
      self.step.assign(self._passes // self.accumulate)

  def compute_metrics(self, x, y, y_pred, sample_weight=None):
    if not isinstance(y_pred, Mapping):
      return super().compute_metrics(x, y, y_pred, sample_weight)
    for mean in self.term_means:
      mean.update_state(y_pred[mean.name])
    return self.get_metrics_result()


class _MeanOverReplicas(keras.losses.Loss):
  """Passes a loss [1] on, divided among the replicas of `tf.distribute`.

  Those add up their gradients; only Keras' own losses know of it, and a mean
  taken by hand would count once for each replica.
  """

  def call(self, y_true, y_pred):
    del y_true
    return y_pred


def ends(network: keras.Model) -> tuple[keras.KerasTensor, keras.KerasTensor]:
  """The network's input [n, h, w, d] and its output [n, c].

  Raises:
    InputError: It has no graph of layers to extend, or several ends.
  """
  try:
    (images,), (logits,) = network.inputs, network.outputs
  except (AttributeError, TypeError, ValueError) as error:
    raise InputError(
        f"network {network.name!r} has not one input and one output that are "
        "known; make it of layers that begin with keras.Input") from error
  return images, logits


def penultimate(network: keras.Model) -> keras.KerasTensor:
  """What the network's last layer reads: its features [n, f].

  Raises:
    InputError: The network does not end in a linear dense layer.
  """
  last = network.layers[-1]
  if (not isinstance(last, keras.layers.Dense)
      or last.activation is not keras.activations.linear):
    raise InputError(
        f"network {network.name!r} ends in {last.name!r} "
        f"({type(last).__name__}); its features are needed: give a network "
        "that ends in a dense layer without activation, which gives logits")
  return last.input
