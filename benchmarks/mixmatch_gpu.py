"""Steps of gin/cifar10/mixmatch.gin on a GPU, beside a matmul.

WRN-28-2 at 32 pixels, 64 labelled images and two views of 64 others in a step,
in bfloat16 where there is an accelerator, through `Student` and `fit.fit`;
and supervised steps of the 64 labelled ones. FLOPs are counted as in
mixmatch_step.py, but for the first convolution. Networks this small leave most
of a large GPU idle: the share of the matmul tells how much.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import timing

_SCHEDULE = 1_048_576


def main() -> None:
  args = timing.arguments(__doc__, rounds=5)
  from wsl_extraction.runtime import backend, inventory
  backend.start_backend()
  if not args.quick and all(
      device.name.startswith("cpu") for device in inventory.inventory()):
    raise SystemExit("mixmatch_gpu: there is no accelerator here; run it where "
                     "there is one, or with --quick to see that it runs")
  import imagenet
  steps = 1 if args.quick else 200
  students = _students(steps, args.quick)
  turns: dict[str, Callable[[], float]] = {
      name: functools.partial(timing.rate, steps, train)
      for name, (train, _) in students.items()}
  turns["matmul"] = imagenet.matmul(256 if args.quick else 8192)
  timing.in_turns(turns, 1)
  rates = timing.in_turns(turns, args.rounds)
  rows = [[name, timing.spread(rates[name], ",.1f"),
           timing.spread(1e-12 * rates[name] * work, ".3g"),
           timing.spread(rates[name] * work / rates["matmul"], ".3f")]
          for name, (_, work) in students.items()]
  rows.append(["matmul", "", timing.spread(1e-12 * rates["matmul"], ".3g"),
               "1.000"])
  hours = _SCHEDULE / float(np.median(rates["MixMatch"])) / 3600
  import keras
  timing.publish(
      args, "Steps of MixMatch on a GPU",
      f"Backend: {keras.backend.backend()}, "
      f"{keras.config.dtype_policy().name}.",
      timing.table(["", "steps/s", "TFLOP/s", "of the matmul"], rows),
      "" if args.quick else
      f"At this rate the schedule of MixMatch's authors, {_SCHEDULE:,} steps, "
      f"takes {hours:,.1f} hours.")


def _students(steps: int, quick: bool):
  """What trains, and the FLOPs of a step."""
  import mixmatch
  import rotation_step

  from wsl_extraction.objectives.mixmatch import MixMatch
  from wsl_extraction.objectives.objective import Supervised
  found = {}
  for name, objective in (("MixMatch", MixMatch()),
                          ("supervised", Supervised())):
    student, attack, train = mixmatch.training(
        steps, quick, objective=objective)
    forward = sum(rotation_step.forward_flops(student.network))
    recipe = attack.recipe
    seen = objective.images(recipe.batch_size, recipe.unlabeled_batch_size)
    guessed = getattr(objective, "guesses", 0) * recipe.unlabeled_batch_size
    found[name] = train, forward * (3 * seen + guessed)
  return found


if __name__ == "__main__":
  main()
