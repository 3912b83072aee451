"""Greedy k-center: 1,000 of 50,000 rows of 128 features in float32.

`KCenter` beside two plain ways to write it, which take the distances from all
rows to each new centre: those of scikit-learn, and sums of squared differences
in float64, 1,024 rows at a time. Rows are Gaussian, negatives set to 0, or lie
in 10 clusters that are 1,000 times narrower than they are apart, where float32
decides less. One row was asked about already. The limit is what has to be read
for a choice, all features once, by one core: the product of the features with
themselves by BLAS. They are 24 MiB, which large caches hold. Each contestant is
a process of its own; memory is how far its peak lies above what it held before
it made the features.
"""

from __future__ import annotations

import contextlib
import resource
import sys

import numpy as np
import psutil
import timing
from sklearn.metrics import pairwise

_MIB = 1 << 20
_LIMIT = "limit: reading the features"
_DIFFERENCES = "differences in float64"
_CONTESTANTS = {
    _LIMIT: ("limit", "rectified"),
    "KCenter": ("k_center", "rectified"),
    "scikit-learn": ("scikit_learn", "rectified"),
    _DIFFERENCES: ("differences", "rectified"),
    "KCenter, clusters": ("k_center", "clusters"),
}


def _features(kind: str, m: int, f: int = 128) -> np.ndarray:
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((m, f), dtype=np.float32)
  if kind == "clusters":
    rows *= 1e-3
    rows += rng.standard_normal((10, f), np.float32)[rng.integers(0, 10, m)]
    return rows
  return np.maximum(rows, 0, out=rows)


def limit(rows: np.ndarray, n: int) -> np.ndarray:
  flat = rows.ravel()
  return np.array([flat @ flat for _ in range(n)])


def k_center(rows: np.ndarray, n: int) -> np.ndarray:
  from wsl_extraction.strategies.coverage import KCenter
  probabilities = np.broadcast_to(0.1, (len(rows), 10))
  return KCenter()(probabilities, rows, n, np.random.default_rng(0), [0])


def scikit_learn(rows: np.ndarray, n: int) -> np.ndarray:
  return _greedy(rows, n, lambda one: pairwise.euclidean_distances(
      rows, rows[one:one + 1], squared=True)[:, 0])


def differences(rows: np.ndarray, n: int) -> np.ndarray:
  def distances(one: int) -> np.ndarray:
    parts = (rows[start:start + 1024].astype(np.float64) - rows[one]
             for start in range(0, len(rows), 1024))
    return np.concatenate([np.einsum("ij,ij->i", p, p) for p in parts])
  return _greedy(rows, n, distances)


def _greedy(rows: np.ndarray, n: int, distances) -> np.ndarray:
  nearest = distances(0)
  chosen = np.empty(n, np.int64)
  for i in range(n):
    chosen[i] = nearest.argmax()
    np.minimum(nearest, distances(chosen[i]), out=nearest)
  return chosen


class Contest:
  """One contestant: its rate, memory, and what it chose."""

  def __init__(self, name: str, m: int, n: int):
    way, kind = _CONTESTANTS[name]
    self._way, self._n = globals()[way], n
    self._way(_features(kind, 100), 1)  # imports what it needs
    self._before = psutil.Process().memory_info().rss
    self._rows = _features(kind, m)
    self.choices = np.zeros(0)

  def rate(self) -> float:
    def work():
      self.choices = self._way(self._rows, self._n)
    return timing.rate(self._n, work)

  def mebibytes(self) -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (peak - self._before) / _MIB

  def checksum(self) -> float:
    return float(self.choices @ np.arange(self._n))


def main() -> None:
  args = timing.arguments(__doc__, rounds=3)
  m, n = (500, 10) if args.quick else (50_000, 1000)
  if args.worker:
    contest = Contest(args.worker, m, n)
    timing.serve({name: getattr(contest, name)
                  for name in ("rate", "mebibytes", "checksum")})
    return
  with contextlib.ExitStack() as stack:
    ask = {name: stack.enter_context(
        timing.Worker(name, ["--quick"] * args.quick)).ask
           for name in _CONTESTANTS}
    rates = timing.in_turns(
        {name: lambda one=one: one("rate") for name, one in ask.items()},
        args.rounds)
    memory = {name: one("mebibytes") for name, one in ask.items()}
    same = ask["KCenter"]("checksum") == ask[_DIFFERENCES]("checksum")
  rows = [[name, timing.spread(n / rates[name], ",.2f"),
           f"{memory[name]:,.0f}"] for name in _CONTESTANTS]
  timing.publish(
      args, f"Greedy k-center: {n:,} of {m:,} rows",
      timing.table([f"{n:,} choices", "seconds", "MiB"], rows),
      timing.compared(rates, "choices/s", _LIMIT),
      f"`KCenter` chose {'the same rows as' if same else 'OTHER rows than'} "
      "differences in float64, in the same order.")


if __name__ == "__main__":
  main()
