"""CIFAR-10 at 250 queries: WRN-28-2 attacks WRN-28-2 by MixMatch.

The images come through tensorflow-datasets from --data_dir (without it they
are made up, which the page says). On a CPU a hundred training steps of the
surrogate of gin/cifar10/mixmatch.gin are timed beside a plain torch loop of the
same network, batch and computation (benchmarks/mixmatch_torch.py), each in a
process of its own, in turns of ten steps. A step learns from 192 images, 64
labelled and two views of 64 others, whose labels it guesses in a pass of 128
before. The oracle's answers are made up: they are paid for before training.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import pathlib

import mixmatch
import numpy as np
import timing

_STEPS = 10
_SCHEDULE = 1_048_576
_PAPER = ("87.98", "88.79")
_COMMAND = """\
```sh
KERAS_BACKEND=jax python -m wsl_extraction.train \\
    --gin_file=gin/cifar10/mixmatch.gin --workdir=runs/cifar10/mixmatch \\
    --data_dir=DATA
```"""


def worker(mode: str, data_dir: str | None, quick: bool) -> None:
  steps = 1 if quick else _STEPS
  images = _images(data_dir)
  if mode == "torch":
    import mixmatch_torch
    batch = mixmatch.SMALL_BATCH if quick else mixmatch.BATCH
    depth, width = (10, 1) if quick else (28, 2)
    train = mixmatch_torch.training(
        steps, images, mixmatch.scores(), batch, depth, width)
    learnt = 3 * batch
  else:
    from wsl_extraction.runtime import backend
    backend.start_backend()
    _, attack, train = mixmatch.training(steps, quick, images)
    learnt = attack.objective.images(
        attack.recipe.batch_size, attack.recipe.unlabeled_batch_size)
  timing.serve({"train": lambda: timing.rate(steps * learnt, train)})


def _images(data_dir: str | None) -> np.ndarray:
  if not data_dir:
    return mixmatch.made_up()
  from wsl_extraction.data import datasets
  return np.asarray(datasets.load("cifar10", data_dir).train.rows)


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=10, data_dir="where tensorflow-datasets keeps cifar10",
      run="a finished run of gin/cifar10/mixmatch.gin, to go on the page")
  if args.worker:
    worker(args.worker, args.data_dir, args.quick)
    return
  size = ["--quick"] * args.quick
  size += [f"--data_dir={args.data_dir}"] * bool(args.data_dir)
  contestants = {"wsl_extraction, tensorflow": "tensorflow"}
  if importlib.util.find_spec("torch"):
    contestants["plain torch"] = "torch"
  with contextlib.ExitStack() as stack:
    turns = {}
    for name, backend in contestants.items():
      ask = stack.enter_context(
          timing.Worker(backend, size, KERAS_BACKEND=backend)).ask
      turns[name] = lambda ask=ask: ask("train")
    timing.in_turns(turns, 1)
    rates = timing.in_turns(turns, args.rounds)
  args.folder = "results"
  timing.publish(
      args, "CIFAR-10 at 250 queries", _speed(args, rates),
      "The extraction itself is made for an accelerator, where it computes in "
      "bfloat16; it goes on where an interruption stopped it, and "
      '`--gin_bindings="STEPS = 65536"` shortens it:', _COMMAND,
      _extraction(args.run))


def _speed(args, rates) -> str:
  source = "CIFAR-10" if args.data_dir else "made up"
  text = [f"Images: {source}.", timing.compared(rates, "images/s", list(
      rates)[-1])]
  if len(rates) == 1:
    text.append("Plain torch: not run, as torch is not installed.")
  batch = mixmatch.SMALL_BATCH if args.quick else mixmatch.BATCH
  steps = rates["wsl_extraction, tensorflow"] / (3 * batch)
  days = _SCHEDULE / np.median(steps) / 86_400
  text.append(f"At this rate the paper's schedule of {_SCHEDULE:,} steps would "
              f"take {days:,.0f} days here.")
  return "\n\n".join(text)


def _extraction(run: str | None) -> str:
  """What the paper found, and what a run of ours did."""
  ours = ("not run",) * 4
  notes = ""
  if run:
    ours, notes = _outcome(pathlib.Path(run))
  return timing.table(
      ["250 queries", "accuracy, %", "fidelity, %", "the oracle's accuracy, %",
       "share of the schedule"],
      [["paper, Table 3", *_PAPER, "not known", "not known"],
       ["here", *ours]]) + notes


def _outcome(run: pathlib.Path) -> tuple[tuple[str, ...], str]:
  from wsl_extraction import cli
  from wsl_extraction.attacks.learning.learning import Learning
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.victims.trained import Trained
  result = json.loads((run / "result.json").read_text())
  cli.configure([str(run / "config.gin")], [])
  experiment = cli.built(Experiment)

  def figure(who: str, name: str) -> str:
    value, low, high = (
        100 * result[who][name][part] for part in ("value", "low", "high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"

  attack, victim = experiment.attack, experiment.victim
  assert isinstance(attack, Learning) and isinstance(victim, Trained)
  steps, trained = attack.recipe.steps, victim.recipe.steps
  return (figure("surrogate", "accuracy_top1"),
          figure("surrogate", "fidelity_top1"),
          figure("oracle", "accuracy_top1"), f"{steps / _SCHEDULE:.1%}"), (
      f"\n\nHere: {result['queries']} queries, the oracle trained for "
      f"{trained:,} steps and the surrogate for {steps:,}, on "
      f"{result['backend']}, {result['device']}, in {result['precision']}; "
      f"{result['seconds'] / 3600:.1f} hours in all. In brackets 95% intervals "
      "over the test set.")


if __name__ == "__main__":
  main()
