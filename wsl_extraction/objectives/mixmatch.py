"""Learning from images that nobody labelled, by guessing and mixing."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
from keras import ops, random

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Objective
from wsl_extraction.oracle.tables import Table


@dataclasses.dataclass(frozen=True)
class MixMatch(Objective):
  """Guessed labels for the unlabelled images, and MixUp of all of them.

  The labels q of an unlabelled image are guessed: the surrogate's mean
  probabilities over K augmentations of it, sharpened to q^(1/T) / sum q^(1/T).
  All images, b labelled ones with the oracle's probabilities and K m unlabelled
  ones with their guesses, are joined and shuffled into partners; each row x, p
  is mixed with its partner x', p' into l x + (1 - l) x', l p + (1 - l) p',
  with l = max(l', 1 - l'), l' ~ Beta(alpha, alpha), drawn for each row. Then

    L_X = 1 / b * sum over the b rows of H(p, f(x)),
    L_U = 1 / (K m c) * sum over the K m rows of ||q - f(u)||^2,

  with c classes, f the surrogate's probabilities and H cross-entropy; the loss
  is L_X + min(step / ramp_steps, 1) * weight * L_U. Guessing leaves no gradient
  and no trace in the statistics of batch normalisation.

  The oracle's probabilities are at temperature 1. Where it hides some of them
  (label and score, top-k), the mass left is shared evenly by the hidden
  classes; a bare label is one-hot.

  What batch normalisation sees of a step is a choice:

  - interleave=False, the default: guesses in one pass over the K m images,
    learning in one pass over the b + K m mixed ones. The statistics are those
    of the joined batch, by which the surrogate will be evaluated. Nothing
    depends on the order of rows, m need not equal b, and two large passes take
    less to compile and to launch than 2 K + 1 small ones (on CPUs both take
    equally long: benchmarks/mixmatch_step.py).
  - interleave=True: the reference's. Each view is guessed in a pass of its
    own; the mixed images are swapped so that each of K + 1 batches of b holds
    some of every kind, each goes through the network by itself, and the moving
    averages take in the first alone. It approximates the joined statistics
    where a device holds b images at a time. Needs m = b.

  Attributes:
    alpha: Of the Beta distribution, above 0; towards 0 nothing is mixed.
    weight: Of L_U (lambda_U); 75 for CIFAR-10, 250 for SVHN.
    guesses: K, the augmentations of each unlabelled image.
    temperature: T of the sharpening.
    ramp_steps: Steps over which the weight grows from 0; 0 for none. The
      reference's 1,048,576 images are 16,384 steps of 64.
    interleave: Whether batch normalisation works as in the reference.

  References:
    Berthelot, Carlini, Goodfellow, Papernot, Oliver, Raffel. MixMatch: A
      Holistic Approach to Semi-Supervised Learning. NeurIPS 2019, Algorithm 1,
      equations 2-5 and 7-12; the code of its authors for interleaving.
    Jagielski et al. 2020, section 4.2 and Table 3.
  """

  alpha: float = 0.75
  weight: float = 75.0
  guesses: int = 2
  temperature: float = 0.5
  ramp_steps: int = 16_384
  interleave: bool = False

  def __post_init__(self):
    for name in ("alpha", "temperature"):
      checks.number(f"MixMatch.{name}", getattr(self, name), above=0)
    checks.number("MixMatch.weight", self.weight, 0)
    for name, least in (("guesses", 1), ("ramp_steps", 0)):
      object.__setattr__(self, name, checks.whole(
          f"MixMatch.{name}", getattr(self, name), least))
    checks.flag("MixMatch.interleave", self.interleave)

  @property
  def terms(self) -> tuple[str, ...]:
    return ("mixmatch_labeled", "mixmatch_unlabeled")

  @property
  def entries(self) -> frozenset[str]:
    return frozenset({"targets", "unlabeled"})

  @property
  def views(self) -> int:
    return self.guesses

  def images(self, labeled, unlabeled):
    return labeled + self.guesses * unlabeled

  def check(self, labeled, unlabeled):
    if not unlabeled:
      raise InputError(
          "MixMatch has no unlabelled images to learn from; give a budget "
          "below the size of the pool, and Recipe.unlabeled_batch_size 1 or "
          "more")
    if self.interleave and labeled != unlabeled:
      raise InputError(
          f"MixMatch.interleave needs as many unlabelled images in a step "
          f"({unlabeled}) as labelled ones ({labeled}); make the two batch "
          "sizes equal, or leave interleave off")

  def check_space(self, space):
    if isinstance(space, Table):
      raise InputError("MixMatch mixes rows, and categories and missing values "
                       "cannot be mixed; take another objective, such as "
                       "Distillation")

  def __call__(self, network, batch, training):
    del training  # there is no other use
    # Joining bytes has no fast kernels on CPUs.
    labeled = ops.cast(batch["labeled"], "float32")
    unlabeled = ops.cast(batch["unlabeled"], "float32")
    guess = self.guess(network, unlabeled)
    images = ops.concatenate([labeled, unlabeled])
    labels = ops.concatenate(
        [ops.softmax(batch["targets"]), *[guess] * self.guesses])
    count, total = ops.shape(labeled)[0], ops.shape(images)[0]
    lead = mixing_weights(total, self.alpha, batch["seeds"])
    partner = partners(total, batch["seeds"])
    images = mixed(images, partner, lead)
    labels = mixed(labels, partner, lead)
    logits = ops.cast(self._logits(network, images, count), "float32")
    error = labels[count:] - ops.softmax(logits[count:])
    return {
        "mixmatch_labeled": -ops.mean(ops.sum(
            labels[:count] * ops.log_softmax(logits[:count]), axis=-1)),
        "mixmatch_unlabeled": self.ramped(batch["step"]) * ops.mean(
            ops.square(error))}

  def guess(self, network: keras.Model, images: Any) -> Any:
    """Guesses labels, without a trace.

    Args:
      network: Gives "logits" [n, c].
      images: [K m, h, w, d], all of a view before the next.

    Returns:
      Probabilities [m, c].
    """
    views = ops.split(images, self.guesses) if self.interleave else [images]
    logits = ops.concatenate(
        [_traceless(network, view, learning=False) for view in views])
    log_views = ops.stack(ops.split(
        ops.log_softmax(ops.cast(logits, "float32")), self.guesses))
    # Of the mean of the views; its constant log(K) leaves the softmax alone.
    log_mean = ops.logsumexp(log_views, axis=0)
    return ops.stop_gradient(ops.softmax(log_mean / self.temperature))

  def ramped(self, step: Any) -> Any:
    """The weight of L_U after `step` steps."""
    if not self.ramp_steps:
      return self.weight
    share = ops.cast(step, "float32") / self.ramp_steps
    return self.weight * ops.minimum(share, 1.0)

  def _logits(self, network: keras.Model, images: Any, count: Any) -> Any:
    if not self.interleave:
      return network(images, training=True)["logits"]
    places = interleaved(count, self.guesses + 1)
    first, *others = ops.split(
        ops.take(images, places, axis=0), self.guesses + 1)
    logits = [network(first, training=True)["logits"]]
    logits += [_traceless(network, other, learning=True) for other in others]
    # Swapping twice puts all back.
    return ops.take(ops.concatenate(logits), places, axis=0)


def mixing_weights(count: Any, alpha: float,
                   seeds: keras.random.SeedGenerator) -> Any:
  """Draws max(l, 1 - l) of l ~ Beta(alpha, alpha): float32 [count].

  In closed form, without rejection, so that every backend compiles it, for
  every alpha > 0: for a > 1/2, 1/2 + 1/2 sqrt(1 - U^(2 / (2 a - 1)))
  cos(2 pi V) is Beta(a, a). Taken at a = alpha + 1, it is brought down to alpha
  by the identity Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha), once for each
  of the two gamma variables whose ratio is the odds l / (1 - l).

  Args:
    count: How many.
    alpha: Above 0.
    seeds: The source of randomness.

  References:
    Ulrich. Computer Generation of Distributions on the m-Sphere. Applied
      Statistics 33(2), 1984.
    Devroye. Non-Uniform Random Variate Generation. 1986, sections IX.3.5
      (theorem of Stuart) and IX.4.
  """
  # In (0, 1], for the logarithms.
  uniform = 1.0 - random.uniform((4, count), dtype="float32", seed=seeds)
  logs = ops.log(uniform)
  radius = ops.sqrt(-ops.expm1(logs[0] * (2.0 / (2.0 * alpha + 1.0))))
  centred = radius * ops.cos(2.0 * math.pi * uniform[1])
  # log((1 + x) / (1 - x)), kept finite.
  odds = 2.0 * ops.arctanh(ops.clip(centred, -1 + 1e-7, 1 - 1e-7))
  odds = odds + (logs[2] - logs[3]) / alpha
  return ops.sigmoid(ops.absolute(odds))


def partners(count: Any, seeds: keras.random.SeedGenerator) -> Any:
  """A random permutation, int [count], that XLA compiles on every backend."""
  return ops.argsort(random.uniform((count,), dtype="float32", seed=seeds))


def mixed(rows: Any, partner: Any, lead: Any) -> Any:
  """Rows [n, ...] times lead [n], plus their partners' times the rest."""
  lead = ops.reshape(lead, (-1,) + (1,) * (len(rows.shape) - 1))
  return lead * rows + (1.0 - lead) * ops.take(rows, partner, axis=0)


def interleaved(size: Any, groups: int) -> Any:
  """Source of each row of `groups` joined batches: int [groups * size].

  The batches are cut at the same `groups` places, as evenly as can be, the
  longer pieces last. Piece i of batch 0 changes places with piece i of batch i.
  """
  place = ops.arange(size)
  short = size // groups
  cut = (groups - size % groups) * short
  piece = ops.where(
      place < cut, place // ops.maximum(short, 1),
      groups - size % groups + (place - cut) // (short + 1))
  batch = ops.arange(groups)[:, None]
  source = ops.where(
      batch == 0, piece, ops.where(piece == batch, 0, batch))
  return ops.reshape(source * size + place, (-1,))


def _traceless(network: keras.Model, images: Any, learning: bool) -> Any:
  """Logits by the statistics of this batch, which are then forgotten."""
  weights = [variable.value for variable in network.trainable_variables]
  if not learning:
    weights = [ops.stop_gradient(weight) for weight in weights]
  state = [variable.value for variable in network.non_trainable_variables]
  seen, _ = network.stateless_call(weights, state, images, training=True)
  return seen["logits"]
