"""What student_fit.py measures on torch: Student beside a plain loop.

Its contestants are processes of that script.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import sys
from collections.abc import Callable

import numpy as np
import timing

PLAIN, LOAD, BRIEF = "plain torch", "load", "brief"
_STUDENT, _IN_TRAIN = "Student", "Student, as in train"
_OPENMP_SPINS = "300000"  # GNU OpenMP's default of GOMP_SPINCOUNT
_BRIEF_PART = 8  # beside busy processes all are slow

Training = Callable[[], None]


def brief(steps: int) -> int:
  """The steps of a measurement beside busy processes."""
  return max(steps // _BRIEF_PART, 1)


def serve_plain(make: Callable[[int], Training], batch: int,
                steps: int) -> None:
  """Measures the loop.

  Args:
    make: Gives what trains so many steps.
    batch: Images in a step.
    steps: Of a measurement.
  """
  whole, part = make(steps), make(brief(steps))
  timing.serve({
      PLAIN: lambda: timing.rate(steps * batch, whole),
      BRIEF: lambda: timing.rate(brief(steps) * batch, part),
      "parameters": lambda: whole.parameters})


def serve_load(make: Callable[[int], Training]) -> None:
  """Trains from each line "on" to the line after it."""
  train = make(1)
  train()
  for line in sys.stdin:
    print(json.dumps(0.0), flush=True)
    while line.strip() == "on" and not select.select([sys.stdin], [], [], 0)[0]:
      train()


def sections(args) -> list[str]:
  """Tables of the machine as it is and of a busy one, and their reading."""
  few = _package_spins()
  # Name: what the process is, and its GOMP_SPINCOUNT.
  contestants = {
      PLAIN: (PLAIN, _OPENMP_SPINS),
      f"{PLAIN}, GOMP_SPINCOUNT={few}": (PLAIN, few),
      f"{_STUDENT}, GOMP_SPINCOUNT={_OPENMP_SPINS}": (_STUDENT, _OPENMP_SPINS),
      _STUDENT: (_STUDENT, few)}
  with contextlib.ExitStack() as stack:
    def start(mode: str, spins: str):
      return stack.enter_context(timing.Worker(
          mode, ["--quick"] * args.quick, KERAS_BACKEND="torch",
          GOMP_SPINCOUNT=spins)).ask

    ask = {name: start(*how) for name, how in contestants.items()}
    loads = [start(LOAD, _OPENMP_SPINS) for _ in range(2)]
    sizes = {int(one("parameters")) for one in ask.values()}
    assert len(sizes) == 1, f"networks of {sizes} parameters"
    turns = {("alone", name): functools.partial(one, contestants[name][0])
             for name, one in ask.items()}
    turns["alone", _IN_TRAIN] = functools.partial(ask[_STUDENT], _IN_TRAIN)
    turns |= {("beside", name): functools.partial(_beside, loads, one)
              for name, one in ask.items()}
    timing.in_turns(turns, 1)
    rates = timing.in_turns(turns, args.rounds)
  alone, beside = (timing.compared(
      {name: figures for (state, name), figures in rates.items()
       if state == chosen}, "images/s", PLAIN)
      for chosen in ("alone", "beside"))
  return [f"torch, networks of {sizes.pop():,} parameters:\n\n{alone}",
          f"torch, beside two busy processes:\n\n{beside}",
          _reading(rates, few)]


def _package_spins() -> str:
  from wsl_extraction.runtime import backend
  backend.set_environment_defaults()
  return os.environ.get("GOMP_SPINCOUNT", _OPENMP_SPINS)


def _beside(loads, ask) -> float:
  """Measures while other processes are busy."""
  for load in loads:
    load("on")
  rate = ask(BRIEF)
  for load in loads:
    load("off")
  return rate


def _reading(rates, few: str) -> str:
  """What users get, in words: medians of ratios."""
  def ratio(state: str, setting: str) -> str:
    other = rates[state, PLAIN + setting]
    return f"{np.median(rates[state, _STUDENT] / other):.2f}"

  same = f", GOMP_SPINCOUNT={few}"
  return (
      f"Student, with GOMP_SPINCOUNT={few} as the package sets it, reaches "
      f"{ratio('alone', '')} of the rate of plain torch as it comes, and "
      f"{ratio('beside', '')} beside busy processes; of that of plain torch "
      f"with the same setting {ratio('alone', same)} and "
      f"{ratio('beside', same)}.")
