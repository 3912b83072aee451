"""Losses that a surrogate minimises.

A batch is a dictionary; which entries it has depends on the objective:

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
from keras import ops

from wsl_extraction.networks.graph import ends
from wsl_extraction.oracle.reveals import Label, Reveal
from wsl_extraction.oracle.spaces import Space

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
  def entries(self) -> frozenset[str]:
    """The entries of a batch that are read, beside "labeled"."""

  @property
  def needs(self) -> tuple[Reveal, ...]:
    """The reveals of which any one suffices; none if it reads no responses."""
    return (Label(),) if "targets" in self.entries else ()

  @property
  def views(self) -> int:
    """The number of augmentations of each unlabelled image."""
    return 1

  def images(self, labeled: int, unlabeled: int) -> int:
    """The number of images that one step learns from."""
    del unlabeled
    return labeled

  def check(self, labeled: int, unlabeled: int) -> None:
    """Raises InputError where it cannot learn from batches of these sizes.

    Args:
      labeled: Labelled images in a batch.
      unlabeled: Unlabelled ones, 0 where there are none.
    """
    del labeled, unlabeled

  def check_space(self, space: Space) -> None:
    """Raises InputError where it cannot learn from rows of a space."""
    del space

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
  def entries(self) -> frozenset[str]:
    return frozenset({"labels"})

  def losses(self, logits, batch):
    return ops.sparse_categorical_crossentropy(
        batch["labels"], logits, from_logits=True)


