r"""Asks the oracle about the adversary's pool, once, and keeps the answers.

  python -m wsl_extraction.label --gin_file=gin/rotation.gin \
      --output=runs/labels.sqlite

Data set, victim and access are those of the gin file; its budget is that of an
attack and does not count here. The same command goes on where an interrupted
one stopped: what was answered is neither asked nor charged again. `train` uses
the file with --gin_bindings="Experiment.transfer_set = 'runs/labels.sqlite'".

--shard=1/4 to --shard=4/4 share the work among four processes, on one machine
or on several that see the same file: give all of them the same output, gin file
and budget, and run each again if it was stopped. Shard i of n asks about every
n-th example of the pool, from the i-th on, among those that one process alone
would ask about; so all shards together make the same file at the same cost as
one process, in whatever order they run.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys

from absl import flags

from wsl_extraction import cli
from wsl_extraction.errors import InputError


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string("output", None, "The file of responses; required.")
  flags.DEFINE_integer(
      "budget", None, "The most queries to spend on the file in all; by "
      "default as many as the pool has examples.", lower_bound=1)
  flags.DEFINE_integer(
      "batch_size", 256, "Examples asked, and written, at once.", lower_bound=1)
  flags.DEFINE_string(
      "shard", None, "Asks about one share of the pool only, such as 1/2: the "
      "first of two. The shares of different processes never overlap.")


def main() -> None:
  """Labels the pool, or the rest of it."""
  output = flags.FLAGS.output
  if not output:
    raise InputError("no file for the responses is named; give --output, such "
                     "as --output=runs/labels.sqlite")
  cli.start()
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction import experiment as experiments
  from wsl_extraction.oracle import response_store
  from wsl_extraction.report import training_log
  from wsl_extraction.report.grids import grid_runs

  index, count = grid_runs.parsed_shard(flags.FLAGS.shard)
  experiment = experiments.configured()
  dataset, parts = experiment.data()
  experiment.check_oracle(dataset)
  if not len(parts.pool):
    raise InputError("the pool is empty; raise Split.pool")
  if count > len(parts.pool):
    raise InputError(f"the pool of {len(parts.pool)} examples cannot be shared "
                     f"among {count}; give at most --shard={len(parts.pool)}/"
                     f"{len(parts.pool)}, or raise Split.pool")
  victim = experiments.make_victim(
      experiment, dataset, parts,
      lambda *size: [training_log.Progress("victim", *size)])
  output = pathlib.Path(output).expanduser()
  new = not output.exists()
  with (experiments.without_traces(output),
        experiment.store(output, victim, dataset) as store):
    try:
      # Together: otherwise the answers of other processes would fall between.
      with store.unchanged():
        ledger = response_store.resumed_ledger(flags.FLAGS.budget, store)
        missing = store.missing(parts.pool.keys)
      total, answered, rows = _share(
          missing, len(parts.pool), ledger.left, index - 1, count)
      _label(store, experiment.oracle(victim, ledger), parts.pool, rows,
             answered, total)
    except InputError:
      if new:
        store.remove_unused()
      raise
    with store.unchanged():
      missing, spent = len(store.missing(parts.pool.keys)), store.spent
    cli.show(
        f"{len(parts.pool) - missing} of {len(parts.pool)} examples answered "
        f"at access {experiment.access.name.lower()}, {spent} queries "
        f"charged\n{output}")


def _share(missing, pool: int, left: int | None, index: int, count: int):
  """What one of `count` processes is to ask about.

  Which examples the budget covers does not depend on when this is called: an
  answer that another process gives to one of them takes it off `missing`, and
  one off `left`.

  Returns:
    The examples in its share of the pool, how many of them have an answer, and
    the rows that it shall ask about.
  """
  mine = missing % count == index
  total = len(range(index, pool, count))
  return total, total - mine.sum(), missing[:left][mine[:left]]


def _label(store, oracle, pool, missing, answered, total) -> None:
  from wsl_extraction.report import progress

  with contextlib.ExitStack() as shown:
    meter = None
    for start in range(0, len(missing), flags.FLAGS.batch_size):
      rows = missing[start:start + flags.FLAGS.batch_size]
      store.answer(oracle, [pool.keys[row] for row in rows], pool.images[rows])
      # Not before: a victim that cannot be used makes no progress to show.
      meter = meter or shown.enter_context(
          progress.Meter("labels", total, "examples", done=answered))
      meter.update(answered + start + len(rows))


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
