"""What training a ResNet-v2 at 224 pixels keeps, counted and not run.

A step of the rotation objective in bfloat16: as many labelled as unlabelled
images, each in four turns. Counted are the arrays that jax hands from the
forward to the backward pass (`jax.vjp`, traced on the CPU, nothing compiled or
executed) at two batch sizes, which give the bytes of an image. With
rematerialisation those of its largest segment, which are there again while its
gradient is taken, are added. Normalisation hands on float32, twice the bytes
of bfloat16, where a compiler may recompute from bfloat16. What is left out:
scratch space of kernels and fragments. Weights, gradients, a sum of gradients
for accumulation and one momentum are 16 bytes a parameter.

NOT RUN on a GPU or TPU: no figure here is of a device's memory.

The ratio of step times is of ResNet-v2-20 at 32 pixels on this CPU; one forward
pass more of three in all would be 1.33.
"""

from __future__ import annotations

import os

import timing

_GIB = 1 << 30
_BATCHES = (2048, 1024, 512, 256)


def _student(depth: int, side: int, rematerialize: bool):
  from wsl_extraction.networks.resnet_v2 import resnet_v2
  from wsl_extraction.objectives.distillation import Distillation
  from wsl_extraction.objectives.rotation import Rotation
  from wsl_extraction.training.student import Student
  return Student(resnet_v2((side, side, 3), 1000, depth=depth, seed=0),
                 Rotation(base=Distillation()), rematerialize=rematerialize)


def _batch(images: int, side: int):
  import numpy as np
  pictures = np.zeros((images // 8, side, side, 3), np.uint8)
  return {"labeled": pictures, "unlabeled": pictures,
          "targets": np.zeros((images // 8, 1000), np.float32),
          "revealed": np.ones((images // 8, 1000), np.uint8)}


def _kept(model, inputs) -> int:
  """Bytes from the forward to the backward pass of a model."""
  import jax

  state = [v.value for v in model.non_trainable_variables]

  def forward(weights, inputs):
    return model.stateless_call(weights, state, inputs, training=True)[0]

  def backward(weights, inputs):
    return jax.vjp(lambda w: forward(w, inputs), weights)[1]

  weights = [v.value for v in model.trainable_variables]
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(
      jax.eval_shape(backward, weights, inputs)))


def _largest(network, images: int) -> int:
  """Bytes of the segment that keeps most."""
  import jax
  return max(
      _kept(model, jax.ShapeDtypeStruct(
          (images, *model.inputs[0].shape[1:]), model.inputs[0].dtype))
      for model in (segment.model for segment in network._segments))


def _bytes(student, side: int, images: int) -> int:
  kept = _kept(student, _batch(images, side))
  again = hasattr(student.extended, "_segments")
  return kept + (_largest(student.extended, images) if again else 0)


def _row(depth: int, side: int, rematerialize: bool) -> list[str]:
  """Gibibytes of a step at each number of images."""
  student = _student(depth, side, rematerialize)
  eight, sixteen = (_bytes(student, side, images) for images in (8, 16))
  slope = (sixteen - eight) / 8
  fixed = max(eight - 8 * slope, 0) + 16 * student.network.count_params()
  return [f"ResNet-v2-{depth}, {'recomputed' if rematerialize else 'kept'}",
          f"{slope / (1 << 20):.1f}", f"{fixed / _GIB:.1f}",
          *(f"{(fixed + slope * n) / _GIB:.0f}" for n in _BATCHES)]


def _step(rematerialize: bool, images: int):
  import keras
  student = _student(20, 32, rematerialize)
  student.compile(keras.optimizers.SGD(0.1), jit_compile=True)
  batch = _batch(images, 32)
  return lambda: timing.rate(
      images, lambda: float(student.train_on_batch(batch)[0]))


def main() -> None:
  args = timing.arguments(__doc__, rounds=7)
  os.environ["KERAS_BACKEND"] = "jax"
  from wsl_extraction.runtime import backend, devices
  backend.start_backend()
  images = 16 if args.quick else 128
  turns = {"kept": _step(False, images), "recomputed": _step(True, images)}
  timing.in_turns(turns, 1 if args.quick else 2)
  rates = timing.in_turns(turns, args.rounds)
  devices.set_precision("mixed_bfloat16")
  cases = [(20, 32)] if args.quick else [(50, 224), (200, 224)]
  rows = [_row(depth, side, again)
          for depth, side in cases for again in (False, True)]
  timing.publish(
      args, "Memory of training at 224 pixels: counted, not run",
      timing.table(["activations", "MiB an image", "GiB fixed",
                    *(f"GiB, {n:,} images" for n in _BATCHES)], rows),
      timing.compared(rates, "images/s", "kept"))


if __name__ == "__main__":
  main()
