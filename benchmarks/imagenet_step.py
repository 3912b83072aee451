"""ImageNet's networks on a GPU: steps beside plain torch and a matmul.

ResNet-v2-50 and -200 train at 224 pixels in bfloat16 (weights, losses and
statistics in float32) through `Student` and `fit.fit`: distillation, and
rotation, in which labelled images and as many others are seen in four turns.
The WSL oracle (ResNeXt-101 32x16d, random weights) answers as `label` asks it,
in bfloat16 and in float32 as the backend computes that by default. Images and
answers are made up and lie in the host's memory, whence both sides fetch them
in every step; decoding and cropping is the pipeline's benchmark.

Plain torch is ResNet-50 v1.5 in benchmarks/resnet_torch.py: channels last,
compiled, autocast to bfloat16, fused SGD with momentum, batches ready in pinned
memory. It takes turns with ResNet-v2-50; all others have the card to themselves
and take turns with the matmul, a chain of products of 8,192 by 8,192 numbers in
bfloat16. A batch that the card cannot hold is halved until it can.

FLOPs are counted as in rotation_step.py, of convolutions and dense layers: F
for an image forwards, 2 F more backwards, less the first convolution's gradient
with respect to images; what rematerialisation computes again does not count. A
step's share is its FLOP/s over the matmul's of the same round. ResNet-v2 halves
an image in a stage's last block, v1.5 in its first, so that v1.5 has more
FLOPs: compare the shares too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import os
import time

import numpy as np
import timing

_ENVIRONMENT = {
    # Else the first of two processes takes three quarters of the card.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}


@dataclasses.dataclass(frozen=True)
class Case:
  """What is measured.

  Attributes:
    name: On the page.
    kind: "student", "oracle" or "torch".
    what: The objective or the precision.
    images: Labelled ones in a step, at first.
    steps: Of a measurement.
    depth: Of the network.
  """

  name: str
  kind: str
  what: str
  images: int
  steps: int
  depth: int = 50

  @property
  def mode(self) -> str:
    return "/".join(map(str, (
        self.kind, self.what, self.images, self.steps, self.depth)))


@dataclasses.dataclass(frozen=True)
class Figures:
  """What came out: rounds of images/s and of FLOP/s, and single figures."""

  images: int
  rate: np.ndarray
  speed: np.ndarray
  matmul: np.ndarray
  peak: float


class NotRun(Exception):
  """There is a reason why something cannot be measured here."""


def worker(mode: str, quick: bool) -> None:
  kind, what, *numbers = mode.split("/")
  images, steps, depth = map(int, numbers)
  import imagenet
  if kind == "torch":
    contestants = imagenet.plain_torch(images, steps, quick)
  else:
    from wsl_extraction.runtime import backend, inventory
    backend.start_backend()
    if kind == "look":
      contestants = {"accelerators": lambda: sum(
          not device.name.startswith("cpu")
          for device in inventory.inventory())}
    elif kind == "student":
      contestants = imagenet.student(depth, what, images, steps, quick)
    else:
      contestants = imagenet.oracle(what, images, steps, quick)
  timing.serve({name: _unless_full(measure)
                for name, measure in contestants.items()})


def _unless_full(measure):
  """NaN where the device's memory does not suffice."""
  def measured() -> float:
    try:
      return measure()
    except Exception as error:  # each backend has its own
      text = f"{type(error).__name__} {error}".lower()
      if "resource_exhausted" in text or "outofmemory" in text or (
          "out of memory" in text):
        return math.nan
      raise

  return measured


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=5,
      images="in a step of distillation, and of the oracle (256)",
      rotated="labelled images in a step of rotation, as many others (64)",
      minutes="after which nothing more is begun (20)",
      only="a part of the names of what is measured (all)")
  if args.worker:
    worker(args.worker, args.quick)
    return
  _check_device(args)
  cases = [case for case in _cases(args) if (args.only or "") in case.name]
  first = [case for case in cases if case.name in _TOGETHER]
  groups = [first] * bool(first) + [
      [case] for case in cases if case.name not in _TOGETHER]
  found: dict[str, Figures | str] = {
      case.name: "not begun" for group in groups for case in group}
  for group in groups:
    if time.perf_counter() - args.start > 60 * float(args.minutes or 20):
      found |= {case.name: "the time was up" for case in group}
    else:
      found |= _measured(group, args)
    # Each time anew: what is known stays known if the rest is stopped.
    timing.publish(
        args, "ImageNet's networks on a GPU",
        f"Backend of the package: {_backend()}.", _table(found),
        *_beside_torch(found))


_TORCH = "plain torch ResNet-50"
_OURS = "ResNet-v2-50, distillation"
_TOGETHER = (_OURS, _TORCH)


def _cases(args) -> list[Case]:
  images = 4 if args.quick else int(args.images or 256)
  rotated = 2 if args.quick else int(args.rotated or 64)
  many, few = (2, 1) if args.quick else (20, 10)
  # To compile a deep network takes a CPU half a minute.
  shallow, deep = (18, 18) if args.quick else (50, 200)
  def student(depth, what, count, steps):
    return Case(f"ResNet-v2-{depth}, {what}", "student", what, count, steps,
                depth)

  def oracle(precision):
    return Case(f"the oracle, {precision}", "oracle", precision, images, few)

  # The most wanted first.
  cases = [
      Case(_TORCH, "torch", "", images, many),
      student(50, "distillation", images, many),
      student(deep, "rotation, rematerialised", 2 * rotated, few),
      oracle("mixed_bfloat16"),
      student(shallow, "rotation", rotated, few),
      oracle("float32"),
  ]
  if not args.quick:
    cases += [student(deep, "distillation", images, few),
              student(deep, "rotation", rotated, few)]
  return cases


def _backend() -> str:
  chosen = os.environ.get("KERAS_BACKEND")
  return chosen or ("jax" if importlib.util.find_spec("jax") else "tensorflow")


def _worker(mode: str, quick: bool) -> timing.Worker:
  return timing.Worker(mode, ["--quick"] * quick, **{
      **_ENVIRONMENT, **os.environ, "KERAS_BACKEND": _backend()})


def _check_device(args) -> None:
  if args.quick:
    return
  with _worker("look//0/0/0", False) as process:
    if not process.ask("accelerators"):
      raise SystemExit(
          f"imagenet_step: {_backend()} sees no accelerator here; run it where "
          "there is one, or with --quick to see that it runs")


def _measured(group: list[Case], args) -> dict[str, Figures | str]:
  """Figures by name, or why there are none; the rest goes on without them."""
  with contextlib.ExitStack() as stack:
    ask, failed = {}, {}
    for case in group:
      try:
        ask[case.name] = _fitting(stack, case, args.quick)
      except (NotRun, SystemExit) as error:
        _raise_if_quick(error, args)
        failed[case.name] = str(error)
    turns = {(name, "images/s"): lambda one=one: one("images/s")
             for name, one in ask.items()}
    turns |= {(name, "matmul"): lambda one=one: one("matmul")
              for name, one in ask.items() if name != _TORCH}
    try:
      timing.in_turns(turns, 1)
      rates = timing.in_turns(turns, args.rounds)
      found = {name: _figures(name, one, rates) for name, one in ask.items()}
    except SystemExit as error:
      _raise_if_quick(error, args)
      found = dict.fromkeys(ask, str(error))
  return {**failed, **found}


def _raise_if_quick(error: BaseException, args) -> None:
  """What only shows that all of it runs must not run in part."""
  if args.quick and not isinstance(error, NotRun):
    raise error


def _fitting(stack: contextlib.ExitStack, case: Case, quick: bool):
  """What asks a process that has taken its first step."""
  if case.kind == "torch" and not importlib.util.find_spec("torch"):
    raise NotRun("torch is not installed")
  while True:
    process = _worker(case.mode, quick)
    if not math.isnan(process.ask("images/s")):
      return stack.enter_context(process).ask
    with process:  # ends it, and gives its memory back
      pass
    if case.images < 2:
      raise NotRun("it does not fit into the memory")
    case = dataclasses.replace(case, images=case.images // 2)


def _figures(name: str, ask, rates) -> Figures:
  images, rate = int(ask("images")), rates[name, "images/s"]
  # Plain torch shares the rounds of the other one, and so its matmul.
  matmul = next((figures for (other, what), figures in rates.items()
                 if what == "matmul" and other in (name, _OURS)),
                np.full_like(rate, np.nan))
  return Figures(images, rate, rate / images * ask("flops"), matmul,
                 ask("peak"))


def _table(found) -> str:
  rows = []
  for name, one in found.items():
    if isinstance(one, str):
      rows.append([name, "", f"not run: {one}", "", "", ""])
      continue
    memory = "not told" if math.isnan(one.peak) else f"{one.peak / 2**30:.1f}"
    rows.append([
        name, f"{one.images:,}", timing.spread(one.rate),
        timing.spread(1e-12 * one.speed, ".3g"),
        timing.spread(one.speed / one.matmul, ".2f"), memory])
  matmul = [one.matmul for one in found.values() if not isinstance(one, str)]
  if matmul:
    rows.append(["matmul, in all rounds", "", "", timing.spread(
        1e-12 * np.concatenate(matmul), ".3g"), "1.00", ""])
  return timing.table(
      ["", "images a step", "images/s", "TFLOP/s", "of the matmul",
       "memory at most, GiB"], rows)


def _beside_torch(found) -> list[str]:
  ours, theirs = found.get(_OURS), found.get(_TORCH)
  if not (isinstance(ours, Figures) and isinstance(theirs, Figures)):
    return []
  return [f"{_OURS}, beside plain torch in the same rounds:", timing.table(
      ["", "ratio", "of the fastest"],
      [[name, timing.spread(mine / other, ".3f"),
        f"{mine.max() / other.max():.3f}"]
       for name, mine, other in (("images/s", ours.rate, theirs.rate),
                                 ("FLOP/s", ours.speed, theirs.speed))])]


if __name__ == "__main__":
  main()
