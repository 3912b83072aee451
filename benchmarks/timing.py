"""What the benchmarks share: measuring in turns, and pages of results."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "grain")

Rates = Mapping[str, np.ndarray]
_Name = TypeVar("_Name", bound=Hashable)


def arguments(description: str | None, rounds: int = 7,
              **own: str) -> argparse.Namespace:
  """Reads the command line: --rounds, --quick, --write.

  Args:
    description: Of the benchmark; None where Python keeps no docstrings.
    rounds: If the command line does not say.
    **own: Further flags that take a string, and their help.
  """
  parser = argparse.ArgumentParser(
      description=(description or "").strip(),
      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--rounds", type=int, default=rounds,
                      help="turns that each contestant gets")
  parser.add_argument("--quick", action="store_true",
                      help="smallest size; shows that it runs, no more")
  parser.add_argument("--write", action="store_true",
                      help="write the page to docs/speed or docs/results")
  parser.add_argument("--worker", help=argparse.SUPPRESS)
  for name, text in own.items():
    parser.add_argument(f"--{name}", help=text)
  args = parser.parse_args()
  args.own, args.description = own, parser.description
  args.rounds = 1 if args.quick else args.rounds
  args.start = time.perf_counter()
  return args


def scratch() -> tempfile.TemporaryDirectory[str]:
  """A folder for the time of a measurement, on the disk of the checkout.

  It lies below runs/, which git ignores: a killed program leaves it there.
  """
  folder = ROOT / "runs"
  folder.mkdir(exist_ok=True)
  return tempfile.TemporaryDirectory(dir=folder)


def rate(amount: float, work: Callable[[], object]) -> float:
  """Runs `work`; returns `amount` a second."""
  start = time.perf_counter()
  work()
  return amount / (time.perf_counter() - start)


def in_turns(contestants: Mapping[_Name, Callable[[], float]],
             rounds: int) -> dict[_Name, np.ndarray]:
  """Measures all in each round: name -> figures [rounds].

  Every other round goes backwards, so that a drift of the machine falls on all
  alike. What warms up must have done so.
  """
  figures = {name: np.zeros(rounds) for name in contestants}
  for turn in range(rounds):
    for name in list(contestants)[::-1 if turn % 2 else 1]:
      figures[name][turn] = contestants[name]()
  return figures


class Worker:
  """This script in a process of its own, measured whenever it is asked.

  Processes with different environments can so take turns.
  """

  def __init__(self, mode: str, size: Sequence[str] = (), **environment: str):
    self._process = subprocess.Popen(
        [sys.executable, sys.argv[0], "--worker", mode, *size],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment})

  def __enter__(self) -> Worker:
    return self

  def __exit__(self, *_) -> None:
    self._process.communicate()

  def ask(self, question: str) -> float:
    """One figure; the first question to each contestant is its warm-up."""
    assert self._process.stdin and self._process.stdout
    print(question, file=self._process.stdin, flush=True)
    answer = self._process.stdout.readline()
    if not answer:
      raise SystemExit(f"the process that measures {question} has ended")
    return json.loads(answer)


def serve(contestants: Mapping[str, Callable[[], float]]) -> None:
  """Answers `Worker.ask` until the questions end."""
  for line in sys.stdin:
    print(json.dumps(contestants[line.strip()]()), flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table; all columns but the first are figures."""
  rule = ["---", *["---:"] * (len(header) - 1)]
  return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def spread(figures: np.ndarray, digits: str = ",.0f") -> str:
  """Median and range of a contestant's rounds."""
  low, median, high = (
      format(float(f), digits) for f in np.quantile(figures, (0, 0.5, 1)))
  return f"{median} ({low} to {high})" if len(figures) > 1 else median


def compared(rates: Rates, unit: str, to: str) -> str:
  """A table of rates and of their ratios to those of `to`.

  By rounds, and of the fastest rounds: a host that takes a core away for a
  while makes rounds slower, none faster, so those are disturbed the least.
  """
  return table(
      ["", unit, f"ratio to {to}", "of the fastest"],
      [[name, spread(figures), spread(figures / rates[to], ".3f"),
        f"{figures.max() / rates[to].max():.3f}"]
       for name, figures in rates.items()])


def publish(args: argparse.Namespace, title: str, *text: str) -> None:
  """Prints a page, and writes it if that is asked for.

  The description that `arguments` was given comes first. The variable
  BENCHMARK_PAGES names another folder than docs/ for all pages.
  """
  name = pathlib.Path(sys.argv[0]).stem
  folder, suffix = getattr(args, "folder", "speed"), getattr(args, "suffix", "")
  page = "\n\n".join([
      f"# {title}", args.description, *text, _circumstances(args, name)]) + "\n"
  print(page)
  if args.write:
    pages = pathlib.Path(os.environ.get("BENCHMARK_PAGES", ROOT / "docs"))
    path = pages / folder / f"{name}{suffix}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"written to {path}")


def _circumstances(args: argparse.Namespace, name: str) -> str:
  options = f"--rounds={args.rounds}{' --quick' * args.quick}" + "".join(
      f" --{own}={value if value.isdigit() else own.upper()}"
      for own in args.own if (value := getattr(args, own)))
  lines = [
      f"Command: `python benchmarks/{name}.py {options}`, "
      f"{time.perf_counter() - args.start:.0f} s",
      "Figures: " + getattr(
          args, "figures", f"median (range) of {args.rounds} rounds, in which "
          "all take turns; ratios are taken within a round, and between the "
          "fastest rounds"),
      f"Device: {_cpu()}, {os.cpu_count()} cores, {_gpu()}; load average at "
      f"the end {os.getloadavg()[0]:.1f}",
      f"Versions: Python {platform.python_version()}, {_versions()}",
      f"Date: {datetime.date.today()}, commit {_commit()}",
  ]
  return "\n".join(f"- {line}" for line in lines)


def _cpu() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines
                if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def _gpu() -> str:
  """Asked of the driver: a backend would take its memory."""
  try:
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total,driver_version",
         "--format=csv,noheader"], text=True, capture_output=True, check=True)
  except (OSError, subprocess.CalledProcessError):
    return "no accelerator"
  return "; ".join(done.stdout.splitlines()) or "no accelerator"


def _versions() -> str:
  found = []
  for package in _PACKAGES:
    try:
      found.append(f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
      continue
  return ", ".join(found)


def _commit() -> str:
  def git(*command: str) -> str:
    return subprocess.run(["git", *command], cwd=ROOT, text=True,
                          capture_output=True, check=True).stdout.strip()
  try:
    changed = git("status", "--porcelain", "wsl_extraction", "gin")
    return git("rev-parse", "--short", "HEAD") + (
        " with changes not yet in it" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return "unknown"
