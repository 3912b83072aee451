"""The Keras model that trains a network under an objective."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from wsl_extraction.networks.classifier import check_logits
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.training.rematerialize import Rematerialized


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
    check_logits(network)
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
