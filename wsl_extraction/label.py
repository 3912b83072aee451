r"""Asks the oracle about the adversary's pool, once, and keeps the answers.

  python -m wsl_extraction.label --gin_file=gin/rotation.gin \
      --output=runs/labels.sqlite

Data set, victim and access are those of the gin file; its budget is that of an
attack and does not count here. The same command goes on where an interrupted
one stopped: what was answered is neither asked nor charged again. `train` uses
the file with --gin_bindings="Experiment.transfer_set = 'runs/labels.sqlite'".
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


def main() -> None:
  """Labels the pool, or the rest of it."""
  output = flags.FLAGS.output
  if not output:
    raise InputError("no file for the responses is named; give --output, such "
                     "as --output=runs/labels.sqlite")
  cli.start()
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction import experiment as experiments
  from wsl_extraction.data import labels
  from wsl_extraction.report import callbacks

  experiment = experiments.configured()
  dataset, parts = experiment.data()
  experiment.check_oracle(dataset)
  if not len(parts.pool):
    raise InputError("the pool is empty; raise Split.pool")
  victim = experiments.make_victim(
      experiment, dataset, parts,
      lambda *size: [callbacks.Progress("victim", *size)])
  output = pathlib.Path(output).expanduser()
  new = not output.exists()
  with (experiments.without_traces(output),
        experiment.store(output, victim, dataset) as store):
    ledger = labels.resumed_ledger(flags.FLAGS.budget, store)
    try:
      _label(store, experiment.oracle(victim, ledger), parts.pool)
    except InputError:
      if new and not store.spent:
        output.unlink()
      raise
    missing = len(store.missing(parts.pool.keys))
    cli.show(
        f"{len(parts.pool) - missing} of {len(parts.pool)} examples answered "
        f"at access {experiment.access.name.lower()}, {store.spent} queries "
        f"charged\n{output}")


def _label(store, oracle, pool) -> None:
  from wsl_extraction.report import progress

  missing = store.missing(pool.keys)
  answered = len(pool) - len(missing)
  if oracle.ledger.left is not None:
    missing = missing[:oracle.ledger.left]
  with contextlib.ExitStack() as shown:
    meter = None
    for start in range(0, len(missing), flags.FLAGS.batch_size):
      rows = missing[start:start + flags.FLAGS.batch_size]
      store.answer(oracle, [pool.keys[row] for row in rows], pool.images[rows])
      # Not before: a victim that cannot be used makes no progress to show.
      meter = meter or shown.enter_context(
          progress.Meter("labels", len(pool), "examples", done=answered))
      meter.update(answered + start + len(rows))


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
