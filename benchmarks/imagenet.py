"""ImageNet's networks at 224 pixels, ready to be measured.

Images and answers are made up and lie in memory. "Quick" is a tenth of the
width, at 64 pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import timing

_CLASSES = 1000
_PRODUCTS = 20
_SIDE = 8192

Contestants = Mapping[str, Callable[[], float]]


def student(depth: int, objective: str, images: int, steps: int,
            quick: bool) -> Contestants:
  """A surrogate's training step in bfloat16, by `Student` and `fit`.

  Args:
    depth: Of the ResNet-v2.
    objective: "distillation", or "rotation" on top of it; with
      ", rematerialised" behind it activations are computed twice.
    images: Labelled ones in a step; as many others where they are turned.
    steps: Of one measurement.
    quick: See the module.
  """
  import rotation_step

  from wsl_extraction.runtime import devices
  devices.set_precision("mixed_bfloat16")
  model = _student(depth, objective, quick)
  others = images if "unlabeled" in model.objective.entries else 0
  seen = model.objective.images(images, others)
  train = _trainer(model, _batches(images, others, steps, quick), steps)
  # Without the rotation's head, four numbers of an image.
  work = rotation_step.step_flops(model.network, seen)
  return {"images/s": lambda: timing.rate(steps * seen, train),
          "images": lambda: seen, "flops": lambda: work, **_machine(quick)}


def _student(depth: int, name: str, quick: bool) -> Any:
  import keras

  from wsl_extraction.networks.resnet_v2 import resnet_v2
  from wsl_extraction.objectives.distillation import Distillation
  from wsl_extraction.objectives.rotation import Rotation
  from wsl_extraction.oracle.spaces import Images
  from wsl_extraction.runtime import devices
  from wsl_extraction.runtime.runtime import Runtime
  from wsl_extraction.training.recipe import Recipe, Seeds
  side, (name, *again) = _side(quick), name.split(", ")
  objective = {"distillation": Distillation(),
               "rotation": Rotation(base=Distillation())}[name]
  recipe = Recipe(
      network=functools.partial(resnet_v2, depth=depth, stem="imagenet",
                                width=8 if quick else None),
      optimizer=functools.partial(keras.optimizers.SGD, 0.01, momentum=0.9),
      steps=1, rematerialize=bool(again))
  return recipe.student(
      objective, Images(side, side, 3), _CLASSES, Seeds(0, 0, 0), Runtime(
          compile_options=devices.compile_options(), adapt=devices.adapt))


def _side(quick: bool) -> int:
  return 64 if quick else 224


def _batches(images: int, others: int, steps: int, quick: bool) -> Any:
  from wsl_extraction.oracle.response import Quantity, Response
  from wsl_extraction.training import batches
  pixels, scores = pool(images, quick)
  known = {"labeled": pixels, **batches.response_entries(
      Response(_CLASSES, Quantity.PROBABILITIES, {"values": scores}))}
  return batches.by_step(
      known, 100 * steps, images, 0, pixels if others else None, others)


def pool(images: int, quick: bool) -> tuple[np.ndarray, np.ndarray]:
  """Images [n, s, s, 3] uint8 for some batches, and their scores [n, 1000]."""
  rng = np.random.default_rng(0)
  side, count = _side(quick), 4 * images
  scores = rng.dirichlet(np.full(_CLASSES, 0.3), count) + 1e-9
  return (rng.integers(0, 256, (count, side, side, 3), np.uint8),
          scores.astype(np.float32))


def _trainer(model: Any, batches: Any, steps: int) -> Callable[[], None]:
  from wsl_extraction.training.fit import fit
  done = 0

  def train() -> None:
    nonlocal done
    fit(model, batches[done:done + steps], steps, checkpoint_every=steps)
    done = (done + steps) % len(batches)

  return train


def oracle(precision: str, images: int, steps: int, quick: bool) -> Contestants:
  """The WSL oracle's answers, ResNeXt-101 32x16d with random weights.

  Args:
    precision: "float32" or "mixed_bfloat16".
    images: In a batch.
    steps: Batches of one measurement.
    quick: See the module.
  """
  import rotation_step

  from wsl_extraction.networks import resnext
  from wsl_extraction.runtime import devices
  from wsl_extraction.victims.victim import in_batches
  devices.set_precision(precision)
  side = _side(quick)
  depth, groups, width = (14, 4, 4) if quick else (101, 32, 16)
  # A convolution for each group is faster on CPUs alone.
  network = resnext.resnext(
      (side, side, 3), _CLASSES, depth=depth, groups=groups,
      width_per_group=width, split_groups=quick, seed=0)
  answer = in_batches(network, images)
  pixels = np.resize(pool(images, quick)[0], (steps * images, side, side, 3))
  work = images * sum(rotation_step.forward_flops(network))
  return {"images/s": lambda: timing.rate(
      len(pixels), lambda: answer(pixels)),
          "images": lambda: images, "flops": lambda: work, **_machine(quick)}


def plain_torch(images: int, steps: int, quick: bool) -> Contestants:
  """ResNet-50's training step in plain torch."""
  import resnet_torch
  pixels, scores = pool(images, quick)
  width = 8 if quick else 64
  # Compiling takes longer than all the rest of a quick run.
  train = resnet_torch.training(
      steps, pixels, scores, images, width, compiled=not quick)
  layers = resnet_torch.forward_flops(_side(quick), _CLASSES, width)
  work = images * (3 * sum(layers) - layers[0])
  return {"images/s": lambda: timing.rate(steps * images, train),
          "images": lambda: images, "flops": lambda: work,
          "peak": resnet_torch.peak_memory}


def _machine(quick: bool) -> Contestants:
  return {"matmul": matmul(256 if quick else _SIDE), "peak": _peak_memory}


def matmul(side: int) -> Callable[[], float]:
  """What tells FLOP/s of a chain of products in bfloat16.

  Of random numbers, which cost a GPU more power than zeros, and so scaled that
  the products stay random numbers of the same size.
  """
  import keras
  from keras import ops
  left, right = (ops.cast(keras.random.normal((side, side), seed=i) * scale,
                          "bfloat16")
                 for i, scale in enumerate((1.0, 1 / math.sqrt(side))))

  def multiply() -> None:
    product = left
    for _ in range(_PRODUCTS):
      product = ops.matmul(product, right)
    # Waits for all of them.
    ops.convert_to_numpy(ops.cast(product[0, 0], "float32"))

  return lambda: timing.rate(2.0 * _PRODUCTS * side**3, multiply)


def _peak_memory() -> float:
  """Bytes that the first device's arrays had at most; NaN if not told."""
  import keras
  backend = keras.backend.backend()
  if backend == "jax":
    import jax
    stats = jax.local_devices()[0].memory_stats() or {}
    return float(stats.get("peak_bytes_in_use", math.nan))
  if backend == "torch":
    import resnet_torch
    return resnet_torch.peak_memory()
  import tensorflow as tf
  if not tf.config.list_physical_devices("GPU"):
    return math.nan
  return float(tf.config.experimental.get_memory_info("GPU:0")["peak"])
