"""CIFAR-10 at 250 queries by MixMatch, on a GPU and for a few minutes.

`train` runs gin/cifar10/mixmatch.gin with a schedule that is cut to what the
minutes hold: a fifth of the time for the oracle, three quarters for the
surrogate, by the rate of some steps of MixMatch that are timed before. The
paper's figures are of the whole schedule, 1,048,576 steps.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import timing

_SCHEDULE = 1_048_576
_PAPER = ("87.98", "88.79")
_START = 40.0  # seconds to start, compile twice, and measure
# Instead of CIFAR-10, whose images are no part of this repository.
_QUICK = ("Experiment.dataset = 'digits'", "Experiment.budget = 20",
          "Split.private = 300", "Split.pool = 300", "Split.overlap = 0",
          "Split.test = 50", "wide_resnet.wide_resnet.depth = 10",
          "wide_resnet.wide_resnet.width = 1", "Augment.flip = False",
          "surrogate/Recipe.batch_size = 4",
          "surrogate/Recipe.unlabeled_batch_size = 4",
          "victim/Recipe.batch_size = 4")


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=1, minutes="for all of it (5)",
      data_dir="where tensorflow-datasets keeps cifar10")
  if not (args.quick or args.data_dir):
    raise SystemExit("cifar10_gpu: give --data_dir, of tensorflow-datasets "
                     "with cifar10, or --quick to see that it runs")
  seconds = 60 * float(args.minutes or 5)
  if args.worker:
    timing.serve({"steps/s": lambda: _steps_a_second(args.quick)})
    return
  with timing.Worker("rate", ["--quick"] * args.quick) as process:
    rate = process.ask("steps/s")
  left = seconds - (time.perf_counter() - args.start) - _START
  steps = (4, 4) if args.quick else tuple(
      max(20, int(rate * left * share)) for share in (0.2, 0.75))
  with tempfile.TemporaryDirectory() as folder:
    result = _trained(folder, steps, args, max(60.0, left + _START))
  args.figures = "one run; in brackets 95% intervals over the test set"
  timing.publish(
      args, "CIFAR-10 at 250 queries on a GPU",
      "NOT CIFAR-10, but digits, to see that it runs." if args.quick else
      f"MixMatch by itself: {rate:,.1f} steps/s.", _table(result, steps))


def _steps_a_second(quick: bool) -> float:
  from wsl_extraction.runtime import backend
  backend.start_backend()
  import mixmatch
  steps = 1 if quick else 100
  _, _, train = mixmatch.training(steps, quick)
  train()  # compiles
  return timing.rate(steps, train)


def _trained(folder: str, steps: tuple[int, ...], args: Any,
             seconds: float) -> dict[str, Any] | str:
  """The run's result, or why there is none."""
  bindings = [f"VICTIM_STEPS = {steps[0]}", f"STEPS = {steps[1]}",
              *(_QUICK if args.quick else ())]
  words = [sys.executable, "-m", "wsl_extraction.train",
           "--gin_file=gin/cifar10/mixmatch.gin", f"--workdir={folder}/run",
           f"--cache_dir={folder}/cache",
           *(f"--gin_bindings={binding}" for binding in bindings),
           *([f"--data_dir={args.data_dir}"] if args.data_dir else [])]
  try:
    subprocess.run(
        words, cwd=timing.ROOT, check=True, timeout=seconds,
        stdin=subprocess.DEVNULL, stdout=sys.stderr, env={
            **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (
                str(timing.ROOT), os.environ.get("PYTHONPATH"))))})
  except subprocess.TimeoutExpired:
    return f"the time was up after {seconds:.0f} s"
  except subprocess.CalledProcessError as error:
    if args.quick:
      raise
    return f"it ended with status {error.returncode}"
  return json.loads(pathlib.Path(folder, "run", "result.json").read_text())


def _table(result: dict[str, Any] | str, steps: tuple[int, ...]) -> str:
  here = [f"not run: {result}", "", ""] if isinstance(result, str) else [
      _figure(result, who, name) for who, name in (
          ("surrogate", "accuracy_top1"), ("surrogate", "fidelity_top1"),
          ("oracle", "accuracy_top1"))]
  return timing.table(
      ["250 queries", "accuracy, %", "fidelity, %", "the oracle's accuracy, %",
       "the oracle's steps", "the surrogate's steps"],
      [["paper, Table 3", *_PAPER, "not known", "not known", f"{_SCHEDULE:,}"],
       ["here", *here, f"{steps[0]:,}", f"{steps[1]:,}"]])


def _figure(result: dict[str, Any], who: str, name: str) -> str:
  value, low, high = (
      100 * result[who][name][part] for part in ("value", "low", "high"))
  return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
  main()
