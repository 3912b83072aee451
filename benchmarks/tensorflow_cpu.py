"""What the package's settings of TensorFlow on CPUs are worth.

Images a second through the network in the surrogate's training of
gin/rotation.gin (256 a step: 64 images, four turns each). The package sets
TF_CPU_ALLOCATOR_USE_BFC=true and TF_ENABLE_ONEDNN_OPTS=1 unless the user has
set them, and compiles with XLA only where there is an accelerator. Each row is
a process of its own. The second table is WRN-28-2 on 64 images of CIFAR-10's
size, labelled (the network of gin/cifar10/mixmatch.gin).
"""

from __future__ import annotations

import contextlib

import timing

_BFC, _ONEDNN = "TF_CPU_ALLOCATOR_USE_BFC", "TF_ENABLE_ONEDNN_OPTS"
_REFERENCE = "as the package sets them"
_SETTINGS = {
    _REFERENCE: ("plain", {}),
    "allocator not set": ("plain", {_BFC: "false"}),
    "oneDNN off": ("plain", {_ONEDNN: "0"}),
    "allocator not set, oneDNN off": ("plain", {_BFC: "false", _ONEDNN: "0"}),
    "with XLA": ("xla", {}),
}
_WIDE = {_REFERENCE: ("wide plain", {}), "with XLA": ("wide xla", {})}


def worker(mode: str, steps: int) -> None:
  from wsl_extraction.runtime import backend
  backend.start_backend()
  student, images, train = _wide(steps) if "wide" in mode else _rotation(steps)
  # Set here: `jit_compile` of the package chooses False on CPUs.
  student.jit_compile = "xla" in mode
  timing.serve({"train": lambda: timing.rate(images * steps, train)})


def _rotation(steps: int):
  import rotation
  return rotation.training(steps)


def _wide(steps: int):
  import mixmatch

  from wsl_extraction.objectives.objective import Supervised
  student, attack, train = mixmatch.training(steps, objective=Supervised())
  return student, attack.recipe.batch_size, train


def main() -> None:
  args = timing.arguments(__doc__)
  if args.worker:
    small = args.quick or "wide" in args.worker
    worker(args.worker, 2 if small else 10)
    return
  tables = [_measured(_SETTINGS, args)]
  if not args.quick:
    tables.append(_measured(_WIDE, args))
  timing.publish(args, "TensorFlow on CPUs", *tables)


def _measured(settings, args) -> str:
  chosen = list(settings)[:1] if args.quick else list(settings)
  with contextlib.ExitStack() as stack:
    turns = {}
    for name in chosen:
      mode, environment = settings[name]
      ask = stack.enter_context(timing.Worker(
          mode, ["--quick"] * args.quick, KERAS_BACKEND="tensorflow",
          **environment)).ask
      turns[name] = lambda ask=ask: ask("train")
    timing.in_turns(turns, 1 if args.quick else 2)
    rates = timing.in_turns(turns, args.rounds)
  return timing.compared(rates, "images/s", _REFERENCE)


if __name__ == "__main__":
  main()
