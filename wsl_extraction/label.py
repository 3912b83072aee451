r"""Asks the oracle about the adversary's pool, once, and keeps the responses.

  python -m wsl_extraction.label --gin_file=gin/rotation.gin \
      --output=runs/labels.sqlite

Data set, victim and reveal are those of the gin file; its budget is that of an
attack and does not count here. The same command goes on where an interrupted
one stopped: what was answered is neither asked nor charged again. `train` uses
the file with --gin_bindings="Experiment.transfer_set = 'runs/labels.sqlite'".

One process at a time asks for a file; a second one is refused. Several compute
answers for it: --processes=4 on this machine, --engine=ray on the devices of a
Ray cluster (docs/guide/scale.md).
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
import numpy as np
from absl import flags

from wsl_extraction import cli, cli_engines, cli_workers
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import backend, files

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Examples
  from wsl_extraction.data.split import Parts
  from wsl_extraction.oracle.responders import Responder
  from wsl_extraction.oracle.response_store import ResponseStore
  from wsl_extraction.oracle.reveals import Reveal
  from wsl_extraction.oracle.settings import OracleSettings
  from wsl_extraction.report.worker_progress import WorkerProgress
  from wsl_extraction.runtime.engines.crew import Crew
  from wsl_extraction.runtime.engines.engine import Engine

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
  cli_engines.define_flags("answers")
  flags.DEFINE_string(
      "shard", None, "Gone: --engine=ray divides the work.")


def main() -> None:
  """Labels the pool, or the rest of it."""
  output = flags.FLAGS.output
  if not output:
    raise InputError("no file for the responses is named; give --output, such "
                     "as --output=runs/labels.sqlite")
  if flags.FLAGS.shard is not None:
    raise InputError("--shard is gone: one process asks for a file, so that "
                     "its ledger is right; --engine=ray has several machines "
                     "compute for it")
  cli.check_files()
  # Before a backend is imported, and with the environment that workers get.
  with cli_engines.engine(keeps=True) as engine:
    if engine.is_remote:
      backend.compute_elsewhere()
    cli.start()
    _main(engine, files.expanded(output))


def _main(engine: Engine, path: pathlib.Path) -> None:
  """Labels into the file at `path`."""
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.report import notices
  from wsl_extraction.runtime.engines.crew import Crew

  experiment = cli.experiment()
  config = gin.config_str()  # before anything else is bound
  dataset, parts = cli.load_data(experiment)
  settings = experiment.oracle
  if not len(parts.pool):
    raise InputError("the pool is empty; raise Split.pool")
  make = cli_workers.victim_worker(
      config, parts, engine.is_remote, experiment)
  if engine.is_remote and sys.stderr is not None and sys.stderr.isatty():
    cli.say(f"loading the victim in another {engine.noun} ...")
  crew = Crew(engine, make, cli_workers.FactsAgree(), cli.say)
  with cli.without_traces(path), crew:
    facts = crew.ask("facts")
    if engine.is_remote and facts["licence"]:
      cli.say(f"licence: {facts['licence']}")
    if facts["linked"] and engine.is_remote:
      raise InputError(
          "a served victim computes elsewhere already, and its requests keep a "
          "rate and an order; leave --engine and --processes out")
    is_new = not path.exists()
    with settings.store(path, facts["outputs"], facts["fingerprint"],
                        dataset.fingerprint,
                        resolution=facts["resolution"]) as store:
      try:
        if not len(store):  # else its answers were checked before
          for doubt in crew.ask("doubts"):
            notices.warn(doubt)
        _label(crew, engine, facts, store, settings, parts)
      except BaseException:
        if is_new:
          store.remove_unused()
        raise
      _show(store, settings.reveal, parts, path)


def _label(crew: Crew, engine: Engine, facts: Mapping[str, Any],
           store: ResponseStore, settings: OracleSettings,
           parts: Parts) -> None:
  """Asks about what is missing, as far as the budget reaches."""
  from wsl_extraction.oracle.labelling import Labelling
  from wsl_extraction.oracle.ledger import Ledger
  from wsl_extraction.report.worker_progress import WorkerProgress

  pool, size = parts.pool, flags.FLAGS.batch_size
  ledger = Ledger(flags.FLAGS.budget, settings.reveal.meters, store,
                  facts["remote"])
  missing = store.missing(pool.keys)
  shown = WorkerProgress("labels", len(pool), len(pool) - len(missing),
                         engine.noun if engine.is_remote else "")
  missing = _affordable(missing, pool.keys, store, ledger.left(),
                        facts["remote"])
  with contextlib.closing(shown):
    if facts["linked"]:
      _query(crew.ask("responder"), store, pool, missing, shown)
      return
    crew.grow(-(-len(missing) // size))
    work = Labelling(crew, ledger, store, parts.space, facts["remote"],
                     engine.depth, shown)
    work.run(pool.rows, pool.keys, missing, size)


def _query(responder: Responder, store: ResponseStore, pool: Examples,
           missing: np.ndarray, shown: WorkerProgress) -> None:
  """Asks a service, whose requests are charged one by one as they are sent."""
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.replays import Counted

  oracle = Oracle(Counted(responder, shown), flags.FLAGS.budget, store,
                  flags.FLAGS.batch_size)
  size = flags.FLAGS.batch_size * _BATCHES
  for start in range(0, len(missing), size):
    oracle.query(pool.rows[missing[start:start + size]])


def _affordable(missing: np.ndarray, keys: Sequence[bytes],
                store: ResponseStore, left: int | None,
                is_remote: bool) -> np.ndarray:
  """The rows among `missing` that the rest of the budget reaches for."""
  if left is None:
    return missing
  # What was paid for and never answered costs nothing at a local victim.
  costs = np.array([is_remote or not store.is_charged(keys[row])
                    for row in missing], bool)
  return missing[(np.cumsum(costs) <= left) | ~costs]


def _show(store: ResponseStore, reveal: Reveal, parts: Parts,
          path: pathlib.Path) -> None:
  pool = parts.pool
  missing = len(store.missing(pool.keys))
  again = f", {store.resent} of them rows sent again" if store.resent else ""
  repeated = parts.repeats["in_pool"]
  distinct = f" ({len(pool) - repeated} of them distinct)" if repeated else ""
  cli.show(
      f"{len(pool) - missing} of {len(pool)} examples{distinct} answered at "
      f"the reveal '{reveal}', {store.spent} queries charged{again}\n{path}")


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(main, define_flags)


if __name__ == "__main__":
  sys.exit(launch())
