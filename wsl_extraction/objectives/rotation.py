"""Learning from images that nobody labelled, by telling how they are turned."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.networks.graph import ends, penultimate
from wsl_extraction.objectives.objective import Classification, Objective
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.spaces import Images


@dataclasses.dataclass(frozen=True)
class Rotation(Objective):
  """Another objective, plus the rotation loss on labelled and other images.

  A second linear head on the penultimate layer names the rotation R_j of each
  image, fed turned by 0, 90, 180 and 270 degrees:

    L_R = 1 / (4 N) * sum_{i=1..N} sum_{j=1..4} H(f(R_j(x_i)), j),

  with f the head's probabilities, H cross-entropy, and N the labelled and the
  unlabelled images of the batch together. The base objective sees the labelled
  images as they are. All go through the network in one pass, so that batch
  normalisation sees one distribution.

  Attributes:
    base: What is learnt of the labelled images.
    weight: Of L_R; 1 in the paper's source for it.
    classify_rotated: Applies the base objective to all four turns of the
      labelled images, as Zhai et al. do; the extraction paper does not say.

  References:
    Jagielski et al. 2020, section 4.2.
    Zhai, Oliver, Kolesnikov, Beyer. S4L: Self-Supervised Semi-Supervised
      Learning. ICCV 2019, section 4.
    Gidaris, Singh, Komodakis. Unsupervised Representation Learning by
      Predicting Image Rotations. ICLR 2018.
  """

  base: Classification
  weight: float = 1.0
  classify_rotated: bool = False

  def __post_init__(self):
    checks.instance("Rotation.base", self.base, Classification,
                    "an objective on logits, such as Distillation()")
    checks.number("Rotation.weight", self.weight, 0)
    checks.flag("Rotation.classify_rotated", self.classify_rotated)

  @property
  def terms(self) -> tuple[str, ...]:
    return (*self.base.terms, "rotation")

  @property
  def entries(self) -> frozenset[str]:
    return self.base.entries | {"unlabeled"}

  @property
  def needs(self) -> tuple[Reveal, ...]:
    return self.base.needs

  def images(self, labeled, unlabeled):
    return 4 * (labeled + unlabeled)

  def check_space(self, space):
    if not isinstance(space, Images):
      raise InputError("the rotation loss turns images, and the rows are "
                       f"vectors of {space.features} numbers; take its base "
                       "as Learning.objective")

  def extend(self, network, seed):
    height, width = network.input_shape[1:3]
    if height != width:
      raise InputError(f"images are {height} by {width} pixels; the rotation "
                       "loss needs square ones: crop or resize them")
    head = keras.layers.Dense(
        4, dtype="float32", name="rotation",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    turns = head(penultimate(network))
    images, logits = ends(network)
    return keras.Model(images, {"logits": logits, "rotation": turns})

  def __call__(self, network, batch, training):
    # Turning and joining bytes have no fast kernels on CPUs.
    images = ops.cast(batch["labeled"], "float32")
    count = ops.shape(images)[0]
    if "unlabeled" in batch:
      images = ops.concatenate(
          [images, ops.cast(batch["unlabeled"], "float32")])
    seen = network(four_turns(images), training=training)
    total = ops.shape(images)[0]
    turns = ops.repeat(ops.arange(4), total)
    rotation = ops.mean(ops.sparse_categorical_crossentropy(
        turns, ops.cast(seen["rotation"], "float32"), from_logits=True))
    logits = ops.cast(seen["logits"], "float32")
    starts = range(0, 4 * total, total) if self.classify_rotated else (0,)
    losses = [self.base.losses(logits[start:start + count], batch)
              for start in starts]
    return {self.base.name: ops.mean(ops.concatenate(losses)),
            "rotation": self.weight * rotation}


def four_turns(images: Any) -> Any:
  """Images [n, s, s, d] turned by 0, 90, 180, 270 degrees: [4 n, s, s, d].

  All n of one turn come before the next.
  """
  # Keras turns axes (0, 1), the batch axis among them, unless told otherwise.
  return ops.concatenate(
      [ops.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)])
