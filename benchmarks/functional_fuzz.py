"""Functionally equivalent extraction of generated victims: is DONE ever wrong?

Each seed draws a victim: inputs and units of any number, features of any scale
up to 10^-5 to 10^5, no hidden layer to four of them, one of eighteen
activations, a precision, and an API. The attack knows none of it. It is wrong
if it says DONE and is not: if the copy is off by more than the tolerance that
it states, as a share of the largest logit among rows like it, on the pool, on
uniform rows in the pool's range or on rows a hundred times as far out; in a
box, where the last are corners, on more of these rows than the share that it
states. Of scores, differences of logits are compared. `late` ended after
--limit seconds.

A record of each seed is kept, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                  CUDA_VISIBLE_DEVICES="-1")

import collections
import dataclasses
import json
import pathlib
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import timing
from scipy import special

_FRESH = 2000
_POOL = 200

ACTIVATIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "relu": lambda z, b: np.maximum(z, 0),
    "leaky relu": lambda z, b: np.where(z > 0, z, 0.1 * z),
    "absolute": lambda z, b: np.abs(z),
    "hard tanh": lambda z, b: np.clip(z, -1, 1),
    "hard sigmoid": lambda z, b: np.clip(z / 6 + 0.5, 0, 1),
    "relu6": lambda z, b: np.clip(z, 0, 6),
    "step": lambda z, b: 1.0 * (z > 0),
    "hard swish": lambda z, b: z * np.clip(z / 6 + 0.5, 0, 1),
    "square of relu": lambda z, b: np.maximum(z, 0) ** 2,
    "gelu": lambda z, b: z * special.ndtr(z),
    "silu": lambda z, b: z * special.expit(z),
    "tanh": lambda z, b: np.tanh(z),
    "sigmoid": lambda z, b: special.expit(z),
    "elu": lambda z, b: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "mish": lambda z, b: z * np.tanh(np.logaddexp(0, z)),
    "softplus": lambda z, b: np.logaddexp(0, z),
    "steep softplus": lambda z, b: np.logaddexp(0, b * z) / b,
    "sine": lambda z, b: np.sin(z),
}
_SHARES = {"relu": 0.5}  # the others share the rest
APIS = ("any inputs", "box", "clips", "rounds to 8 bits", "uint8")
PRECISIONS = ("float64", "float32", "float32 victim", "float16", "6 decimals",
              "3 decimals", "1 decimals")


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A generated victim."""

  sizes: tuple[int, ...]  # d, hidden layers, K
  activation: str
  api: str
  precision: str
  reveal: str
  spread: float  # of features: from 10^-spread to 10^spread


@dataclasses.dataclass
class Record:
  """What came of one seed."""

  seed: int
  drawn: dict
  status: str
  is_wrong: bool
  error: float | None
  tolerance: float | None
  off: float | None  # share of rows beyond the tolerance
  rows: int
  seconds: float
  missing: str


class Late(Exception):
  """The time is over."""


def drawn(rng: np.random.Generator) -> Drawn:
  names = list(ACTIVATIONS)
  rest = (1 - sum(_SHARES.values())) / (len(names) - len(_SHARES))
  activation = str(rng.choice(
      names, p=[_SHARES.get(name, rest) for name in names]))
  depth = int(rng.choice([0, 1, 2, 3, 4], p=[0.04, 0.6, 0.18, 0.1, 0.08]))
  d = int(np.exp(rng.uniform(0, np.log(80))))
  k = int(np.exp(rng.uniform(0, np.log(20))))
  hidden = tuple(int(np.exp(rng.uniform(0, np.log(48)))) for _ in range(depth))
  api = str(rng.choice(APIS, p=[0.6, 0.1, 0.1, 0.1, 0.1]))
  precision = str(rng.choice(
      PRECISIONS, p=[0.6, 0.08, 0.08, 0.06, 0.06, 0.06, 0.06]))
  reveal = "scores" if k > 1 and rng.random() < 0.15 else "logits"
  spread = float(rng.choice([0, 0, 1, 3, 5])) if api == "any inputs" else 0.0
  return Drawn((d, *hidden, k), activation, api, precision, reveal, spread)


class Generated:
  """A victim, and the pool that its adversary has."""

  def __init__(self, seed: int):
    rng = np.random.default_rng(seed)
    self.drawn = one = drawn(rng)
    self.steep = float(10.0 ** rng.uniform(0, 9))
    size = float(10.0 ** rng.uniform(-4, 4)) if rng.random() < 0.3 else 1.0
    if one.reveal == "scores":
      size = 1.0
    scale = 10.0 ** rng.uniform(-one.spread, one.spread, one.sizes[0])
    unit = 255.0 if one.api == "uint8" else 1.0
    self.layers = []
    for low, high in zip(one.sizes, one.sizes[1:], strict=False):
      weights = rng.standard_normal((low, high)) / np.sqrt(low)
      weights *= rng.random(weights.shape) < rng.choice([1.0, 1.0, 0.5])
      self.layers.append((weights, rng.choice([0.0, 0.3, 1.0])
                          * rng.standard_normal(high)))
    first, bias = self.layers[0]
    self.layers[0] = first / (scale * unit)[:, None] * 2, bias
    last, bias = self.layers[-1]
    self.layers[-1] = last * size, bias * size
    self.pool = (rng.uniform(0, 1, (_POOL, one.sizes[0])) if (
        one.api != "any inputs" or rng.random() < 0.5) else
        rng.standard_normal((_POOL, one.sizes[0]))) * scale * unit
    if one.api == "uint8":
      self.pool = np.round(self.pool)
    if one.api == "rounds to 8 bits":
      self.pool = np.round(self.pool * 255) / 255

  def network(self, rows: np.ndarray) -> np.ndarray:
    """Logits of inputs as it sees them."""
    values = np.asarray(rows, np.float64).reshape(len(rows), -1)
    single = self.drawn.precision == "float32 victim"
    if single:
      values = values.astype(np.float32)
    for layer, (weights, bias) in enumerate(self.layers):
      values = values @ weights.astype(values.dtype) + bias.astype(
          values.dtype)
      if layer + 1 < len(self.layers):
        values = ACTIVATIONS[self.drawn.activation](values, self.steep).astype(
            values.dtype)
    return values

  def seen(self, rows: np.ndarray) -> np.ndarray:
    """Inputs as the API passes them on."""
    api, rows = self.drawn.api, np.asarray(rows, np.float64)
    if api == "clips":
      return np.clip(rows, 0, 1)
    if api == "rounds to 8 bits":
      return np.round(np.clip(rows, 0, 1) * 255) / 255
    return np.floor(np.clip(rows, 0, 255)) if api == "uint8" else rows

  def tests(self) -> Iterator[np.ndarray]:
    """Groups of rows on which a copy is held against it."""
    rng = np.random.default_rng(7)
    yield self.pool
    low, high = self.pool.min(axis=0), self.pool.max(axis=0)
    uniform = rng.uniform(low, high, (_FRESH, len(low)))
    yield self.seen(uniform)
    if self.drawn.api == "any inputs":
      yield (low + high) / 2 + 100 * (uniform - (low + high) / 2)
    else:
      top = 255.0 if self.drawn.api == "uint8" else 1.0
      corners = rng.random(uniform.shape) < rng.random((_FRESH, 1))
      yield top * corners


def run(seed: int, limit: float) -> Record:
  from wsl_extraction.attacks.knowledge import Knowledge
  from wsl_extraction.attacks.relu.functional import Functional
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.defences import Rounded
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.responders import BareVictim, Live
  from wsl_extraction.oracle.response import Quantity
  from wsl_extraction.oracle.reveal_names import parse
  from wsl_extraction.oracle.spaces import Images, Vectors
  from wsl_extraction.runtime.runtime import Runtime

  victim = Generated(seed)
  one = victim.drawn
  d, k = one.sizes[0], one.sizes[-1]
  top = 255.0 if one.api == "uint8" else 1.0
  space = Vectors(d) if one.api == "any inputs" else Images(
      d, 1, 1, 0.0, top, bounded=one.api in ("box", "uint8"))
  decimals = int(one.precision[0]) if "decimals" in one.precision else None
  dtype = one.precision if one.precision in ("float32", "float16") else None
  oracle = Oracle(Live(
      BareVictim(space, k, {Quantity.LOGITS: lambda rows: victim.network(
          victim.seen(rows))}), parse("reveal", one.reveal),
      () if decimals is None else (Rounded(decimals),), dtype), 200_000)
  pool = Examples(victim.pool.reshape(_POOL, *space.shape))
  start = time.process_time()

  def late(*_):
    raise Late
  signal.signal(signal.SIGPROF, late)  # CPU time
  signal.setitimer(signal.ITIMER_PROF, limit)
  try:
    extraction = Functional()(oracle, Knowledge(pool), seed, Runtime())
  except Late:
    return Record(seed, dataclasses.asdict(one), "late", False, None, None,
                  None, oracle.ledger.rows, limit, "")
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
  seconds = time.process_time() - start
  figures = {figure.name: figure.value for figure in extraction.figures}
  record = Record(seed, dataclasses.asdict(one), extraction.status.value, False,
                  None, figures.get("tolerance"), None, oracle.ledger.rows,
                  seconds, extraction.missing)
  if record.status == "DONE":
    _judge(record, victim, extraction.surrogate, figures, space.shape)
  return record


def _judge(record: Record, victim: Generated, surrogate, figures: dict,
           shape: tuple[int, ...]) -> None:
  errors, wrong = [], []
  for rows in victim.tests():
    truth = victim.network(rows).astype(np.float64)
    copied = np.asarray(surrogate.predict_on_batch(
        rows.reshape(len(rows), *shape)), np.float64)
    if victim.drawn.reveal == "scores":
      if np.abs(truth).max() > 300:  # scores that vanish tell nothing
        continue
      truth, copied = truth - truth[:, :1], copied - copied[:, :1]
    off = np.abs(truth - copied).max(axis=1) / max(np.abs(truth).max(), 1e-300)
    errors.append(off.max())
    wrong.append((off > record.tolerance).mean())
  record.error, record.off = float(max(errors)), float(np.mean(wrong))
  allowed = figures.get("differs_on_at_most", 0.0)
  record.is_wrong = record.off > allowed


def _kept(path: pathlib.Path) -> dict[int, Record]:
  if not path.is_file():
    return {}
  lines = path.read_text(encoding="utf-8").splitlines()
  records = [Record(**json.loads(line)) for line in lines]
  return {record.seed: record for record in records}


def _grouped(records: list[Record], key: Callable[[dict], str],
             name: str) -> str:
  groups = collections.defaultdict(list)
  for record in records:
    groups[key(record.drawn)].append(record)
  rows = []
  for group in sorted(groups):
    some = groups[group]
    count = collections.Counter(record.status for record in some)
    rows.append([
        group, str(len(some)), str(count["DONE"]),
        str(sum(record.is_wrong for record in some)),
        str(count["INCOMPLETE"]), str(count["late"]),
        f"{np.median([record.seconds for record in some]):.2f} (to "
        f"{max(record.seconds for record in some):.1f})"])
  return timing.table([name, "victims", "DONE", "wrongly", "INCOMPLETE", "late",
                       "CPU seconds: median"], rows)


def main() -> None:
  args = timing.arguments(
      __doc__, rounds=2000, record="the file of records",
      limit="seconds for one victim, 60 if it is not said")
  rounds = 20 if args.quick else args.rounds
  path = pathlib.Path(args.record or "functional_fuzz.jsonl")
  known = {} if args.quick else _kept(path)
  warnings.simplefilter("ignore")
  for seed in range(rounds):
    if seed in known:
      continue
    known[seed] = record = run(seed, float(args.limit or 60))
    if not args.quick:
      with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(record)) + "\n")
    if record.is_wrong or record.status == "late":
      print(record, file=sys.stderr, flush=True)
  records = [known[seed] for seed in range(rounds)]
  wrong = [record for record in records if record.is_wrong]
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  args.folder = "results"
  args.figures = f"seeds 0 to {rounds - 1}, one victim each"
  listed = timing.table(
      ["seed", "victim", "error", "tolerance", "share of rows that are off"],
      [[str(record.seed), json.dumps(record.drawn).replace("|", "/"),
        f"{record.error:.1e}", f"{record.tolerance:.1e}", f"{record.off:.4f}"]
       for record in wrong]) if wrong else "None."
  timing.publish(
      args, "Generated victims of functionally equivalent extraction",
      _grouped(records, lambda one: "all", "victims"),
      f"The process held {peak:,.0f} MiB at most, TensorFlow included.",
      "## Wrongly DONE", listed,
      *(part for name, key in (
          ("hidden layers", lambda one: str(len(one["sizes"]) - 2)),
          ("activation", lambda one: one["activation"]),
          ("API", lambda one: one["api"]),
          ("precision", lambda one: one["precision"]),
          ("reveal", lambda one: one["reveal"]),
          ("features from 10^-s to 10^s, s", lambda one: f"{one['spread']:g}"))
        for part in (f"## By {name}", _grouped(records, key, name))))


if __name__ == "__main__":
  main()
