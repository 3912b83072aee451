"""A step of MixMatch beside a supervised one, and both beside their FLOPs.

The network is WRN-28-2, the batch 64 labelled images, and for MixMatch 64
unlabelled ones in K = 2 views, as in gin/cifar10/mixmatch.gin; images and
answers are made up. Both train through `Student.fit`, compiled as `train` does.
FLOPs are counted as in rotation_step.py: of convolutions and dense layers, F
for an image forwards and 2 F more backwards (less the first convolution's
gradient with respect to images). A supervised step of b labelled images takes
3 F b. MixMatch guesses forwards, K F m, and learns from all views,
3 F (b + K m): with m = b and K = 2 that is 11/3 as many.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import numpy as np
import timing

_NAMES = ("supervised", "MixMatch", "MixMatch, interleaved")
_SIDE = 3072


def worker(mode: str, quick: bool) -> None:
  from wsl_extraction.runtime import backend
  backend.start_backend()
  import keras
  # As many as an execution has; jax on a CPU takes several times as long.
  steps = 4 if keras.backend.backend() == "tensorflow" and not quick else 1
  contestants = {}
  for name in mode.split("/"):
    contestants |= _contestants(name, steps, quick)
  timing.serve(contestants)


def _contestants(name: str, steps: int, quick: bool):
  """What tells steps a second, and what tells GFLOP a step."""
  import mixmatch

  from wsl_extraction.objectives.mixmatch import MixMatch
  from wsl_extraction.objectives.objective import Supervised
  objective = {"supervised": Supervised(), "MixMatch": MixMatch(),
               "MixMatch, interleaved": MixMatch(interleave=True)}[name]
  student, attack, train = mixmatch.training(
      steps, quick, objective=objective)
  work = {f"{name}: {part}": flops for part, flops in _work(
      student, attack).items()}
  return {name: lambda: timing.rate(steps, train),
          **{part: lambda flops=flops: 1e-9 * flops
             for part, flops in work.items()}}


def _work(student, attack) -> dict[str, float]:
  """FLOPs of the parts of a step."""
  import rotation_step
  layers = rotation_step.forward_flops(student.network)
  forward, learning = sum(layers), 3 * sum(layers) - layers[0]
  unlabeled = getattr(attack.objective, "guesses", 0) * (
      attack.recipe.unlabeled_batch_size)
  return {"guess": unlabeled * forward,
          "labelled": attack.recipe.batch_size * learning,
          "unlabelled": unlabeled * learning}


def _sgemm(side: int):
  left, right = np.random.default_rng(0).random((2, side, side), np.float32)
  return lambda: timing.rate(2e-9 * side**3, lambda: left @ right)


def main() -> None:
  args = timing.arguments(__doc__, rounds=5)
  if args.worker:
    worker(args.worker, args.quick)
    return
  # The interleaved step, of five passes, takes jax minutes to compile.
  names = {"tensorflow": _NAMES} if args.quick else {
      "tensorflow": _NAMES, "jax": _NAMES[:2]}
  with contextlib.ExitStack() as stack:
    ask = {backend: stack.enter_context(timing.Worker(
        "/".join(names[backend]), ["--quick"] * args.quick,
        KERAS_BACKEND=backend)).ask for backend in names}
    parts = {(name, part): ask["tensorflow"](f"{name}: {part}")
             for name in _NAMES for part in ("guess", "labelled", "unlabelled")}
    turns: dict[tuple[str, str], Callable[[], float]] = {
        (backend, name): functools.partial(ask[backend], name)
        for backend in names for name in names[backend]}
    turns["sgemm", ""] = _sgemm(256 if args.quick else _SIDE)
    timing.in_turns(turns, 1 if args.quick else 2)
    rates = timing.in_turns(turns, args.rounds)
  tables = [_table(backend, names[backend], rates, _totals(parts))
            for backend in names]
  timing.publish(args, "A step of MixMatch beside a supervised one",
                 _shares(parts), *tables,
                 _reading(names, rates, _totals(parts)))


def _totals(parts) -> dict[str, float]:
  """GFLOP of a step."""
  return {name: sum(value for (other, _), value in parts.items()
                    if other == name) for name in _NAMES}


def _shares(parts) -> str:
  total = _totals(parts)
  rows = []
  for name in _NAMES:
    shares = (100 * parts[name, part] / total[name]
              for part in ("guess", "labelled", "unlabelled"))
    rows.append([name, f"{total[name]:.1f}",
                 f"{total[name] / total['supervised']:.2f}",
                 *(f"{share:.0f}%" for share in shares)])
  return timing.table(
      ["counted", "GFLOP", "ratio", "guesses", "labelled", "unlabelled"], rows)


def _table(backend: str, names, rates, work) -> str:
  limit, base = rates["sgemm", ""], rates[backend, "supervised"]
  rows = []
  for name in names:
    steps = rates[backend, name]
    speed = steps * work[name]
    rows.append([
        name, timing.spread(1000 / steps), timing.spread(base / steps, ".2f"),
        f"{base.max() / steps.max():.2f}",
        f"{work[name] / work['supervised']:.2f}", timing.spread(speed),
        f"{speed.max() / limit.max():.2f}"])
  rows.append(["sgemm", "", "", "", "", timing.spread(limit), "1.00"])
  return f"{backend}:\n\n" + timing.table(
      ["", "ms a step", "ratio to supervised", "of the fastest",
       "ratio of FLOPs", "GFLOP/s", "of sgemm, the fastest"], rows)


def _reading(names, rates, work) -> str:
  """The figures in words, from the fastest rounds."""
  def ratio(backend: str, over: str, under: str) -> float:
    return rates[backend, under].max() / rates[backend, over].max()

  flops = work["MixMatch"] / work["supervised"]
  lines = []
  for backend in names:
    taken = ratio(backend, "MixMatch", "supervised")
    how = "more" if taken > flops else "less"
    lines.append(
        f"On {backend} a step of MixMatch takes {taken:.2f} times as long as a "
        f"supervised one and has {flops:.2f} times its FLOPs: "
        f"{abs(taken / flops - 1):.0%} {how} than these tell.")
  interleaved = ratio("tensorflow", "MixMatch, interleaved", "MixMatch")
  lines.append(
      f"Interleaved, in {_passes(2)} passes instead of two, it takes "
      f"{interleaved:.2f} times as long as the default.")
  return " ".join(lines)


def _passes(guesses: int) -> int:
  return guesses + (1 + guesses)


if __name__ == "__main__":
  main()
