r"""Asks the oracle about the adversary's pool, once, and keeps the responses.

  python -m wsl_extraction.label --gin_file=gin/rotation.gin \
      --output=runs/labels.sqlite

Data set, victim and reveal are those of the gin file; its budget is that of an
attack and does not count here. The same command goes on where an interrupted
one stopped: what was answered is neither asked nor charged again. `train` uses
the file with --gin_bindings="Experiment.transfer_set = 'runs/labels.sqlite'".

One process at a time asks for a file; a second one is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.response_store import ResponseStore

# In one query: each is charged with what the one before it was answered.
_BATCHES = 4


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string("output", None, "The file of responses; required.")
  flags.DEFINE_integer(
      "budget", None, "The most queries to spend on the file in all; by "
      "default as many as the pool has examples.", lower_bound=1)
  flags.DEFINE_integer(
      "batch_size", 256, "Examples asked, and written, at once.", lower_bound=1)
  flags.DEFINE_string(
      "shard", None, "Gone: one process asks for a file.")


def main() -> None:
  """Labels the pool, or the rest of it."""
  output = flags.FLAGS.output
  if not output:
    raise InputError("no file for the responses is named; give --output, such "
                     "as --output=runs/labels.sqlite")
  if flags.FLAGS.shard is not None:
    raise InputError("--shard is gone: one process asks for a file, so that "
                     "its ledger is right; leave it out")
  cli.start()
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.replays import Counted
  from wsl_extraction.oracle.responders import victim_resolution
  from wsl_extraction.report import notices
  from wsl_extraction.victims import inspection

  experiment = cli.experiment()
  dataset, parts = cli.load_data(experiment)
  settings = experiment.oracle
  if not len(parts.pool):
    raise InputError("the pool is empty; raise Split.pool")
  victim = cli.load_victim(experiment, parts)
  path = files.expanded(output)
  is_new = not path.exists()
  with (cli.without_traces(path),
        settings.store(path, victim.outputs, victim.fingerprint,
                       dataset.fingerprint,
                       resolution=victim_resolution(victim)) as store):
    try:
      if not len(store):  # else its answers were checked before
        inspection.check_victim(victim, parts, notices.warn)
      _label(lambda count: Oracle(
          Counted(settings.live(victim), count), flags.FLAGS.budget, store,
          flags.FLAGS.batch_size), store, parts.pool, victim.remote)
    except BaseException:
      if is_new:
        store.remove_unused()
      raise
    missing = len(store.missing(parts.pool.keys))
    again = (f", {store.resent} of them rows sent again" if store.resent
             else "")
    repeated = parts.repeats["in_pool"]
    distinct = (f" ({len(parts.pool) - repeated} of them distinct)"
                if repeated else "")
    cli.show(
        f"{len(parts.pool) - missing} of {len(parts.pool)} examples{distinct} "
        f"answered at the reveal '{settings.reveal}', {store.spent} queries "
        f"charged{again}\n{path}")


def _label(oracle_of: Callable[[Callable[[int], None]], Oracle],
           store: ResponseStore, pool: Examples, is_remote: bool) -> None:
  """Asks about what is missing, as far as the budget reaches.

  Args:
    oracle_of: Makes the oracle, which calls a function with the number of rows
      of each batch that is answered.
    store: Its store.
    pool: The rows to ask about.
    is_remote: Whether an answer can be lost on the way.
  """
  from wsl_extraction.report import progress

  keys = pool.keys
  missing = store.missing(keys)
  answered = len(pool) - len(missing)
  meter = None

  def count(rows: int) -> None:
    nonlocal meter, answered
    # Not before: a victim that cannot be used makes no progress to show.
    meter = meter or progress.Meter("labels", len(pool), "examples",
                                    done=answered)
    answered += rows
    meter.update(answered)

  oracle = oracle_of(count)
  left = oracle.ledger.left()
  if left is not None:
    # What was paid for and never answered costs nothing at a local victim.
    costs = np.array([is_remote or not store.is_charged(keys[row])
                      for row in missing], bool)
    missing = missing[(np.cumsum(costs) <= left) | ~costs]
  size = flags.FLAGS.batch_size * _BATCHES
  try:
    for start in range(0, len(missing), size):
      oracle.query(pool.rows[missing[start:start + size]])
  finally:
    if meter is not None:
      meter.close()


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(main, define_flags)


if __name__ == "__main__":
  sys.exit(launch())
