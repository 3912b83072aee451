"""What the package's settings of TensorFlow on CPUs are worth.

Images a second through the network in the surrogate's training of
gin/rotation.gin (256 a step: 64 images, four turns each). The package sets
TF_CPU_ALLOCATOR_USE_BFC=true and TF_ENABLE_ONEDNN_OPTS=1 unless the user has
set them, and compiles with XLA only where there is an accelerator. Each row is
a process of its own.
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


def worker(mode: str, steps: int) -> None:
  from wsl_extraction import devices
  devices.start_backend()
  import rotation
  student, images, train = rotation.training(steps)
  # Set here: `jit_compile` of the package chooses False on CPUs.
  student.jit_compile = mode == "xla"
  timing.serve({"train": lambda: timing.rate(images * steps, train)})


def main() -> None:
  args = timing.arguments(__doc__)
  steps = 2 if args.quick else 10
  if args.worker:
    worker(args.worker, steps)
    return
  chosen = list(_SETTINGS)[:1] if args.quick else list(_SETTINGS)
  with contextlib.ExitStack() as stack:
    turns = {}
    for name in chosen:
      mode, environment = _SETTINGS[name]
      ask = stack.enter_context(timing.Worker(
          mode, ["--quick"] * args.quick, KERAS_BACKEND="tensorflow",
          **environment)).ask
      turns[name] = lambda ask=ask: ask("train")
    timing.in_turns(turns, 1 if args.quick else 2)
    rates = timing.in_turns(turns, args.rounds)
  timing.publish(args, "TensorFlow on CPUs", __doc__.strip(),
                 timing.compared(rates, "images/s", _REFERENCE))


if __name__ == "__main__":
  main()
