"""How far a training step of gin/rotation.gin is from the machine's limit.

FLOPs are counted, a multiplication and an addition as two, of convolutions
and dense layers alone: forwards once, backwards twice, but for the first
convolution, which has no gradient with respect to images. The limit is numpy's
product of two float32 matrices of 3,072 by 3,072, measured in turns with the
step. What the count leaves out (normalisation, ReLU, augmentation, batches)
moves memory and computes little.
"""

from __future__ import annotations

import math

import numpy as np
import timing


def forward_flops(network) -> list[int]:
  """Of one image in each convolution and dense layer, in order."""
  import keras
  return [2 * math.prod(layer.kernel.shape) * math.prod(
      layer.output.shape[1:-1])
      for layer in network.layers
      if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]


def step_flops(network, images: int) -> int:
  layers = forward_flops(network)
  return images * (3 * sum(layers) - layers[0])


def _sgemm(side: int):
  left, right = np.random.default_rng(0).random((2, side, side), np.float32)
  return lambda: timing.rate(2e-9 * side**3, lambda: left @ right)


def main() -> None:
  args = timing.arguments(__doc__, rounds=9)
  from wsl_extraction.runtime import backend
  backend.start_backend()
  import rotation
  steps = 2 if args.quick else 10
  student, images, train = rotation.training(steps)
  work = 1e-9 * step_flops(student.extended, images)
  turns = {"sgemm": _sgemm(256 if args.quick else 3072),
           "step": lambda: timing.rate(work * steps, train)}
  timing.in_turns(turns, 1 if args.quick else 2)
  rates = timing.in_turns(turns, args.rounds)
  timing.publish(
      args, "A step of gin/rotation.gin beside the machine's limit",
      f"A step is {images} images through the network, {work:.1f} GFLOP, and "
      f"takes {spread_ms(work / rates['step'])} ms.",
      timing.compared(rates, "GFLOP/s", "sgemm"))


def spread_ms(seconds: np.ndarray) -> str:
  return timing.spread(1000 * seconds)


if __name__ == "__main__":
  main()
