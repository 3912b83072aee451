r"""Extracts a model: runs one attack, scores the surrogate, keeps the results.

  python -m wsl_extraction.train --gin_file=gin/rotation.gin

The folder runs/rotation, or another that --workdir names, then holds config.gin
(what was asked for), operative.gin (every parameter in force), asked.json
(which examples were asked about), responses.sqlite (the oracle's answers),
round_*.jsonl (the trainings between rounds, if there are any), checkpoint.npz,
metrics.jsonl, events/ (for TensorBoard, if it is installed), surrogate.keras
and result.json. The same command goes on where an interrupted one stopped, to
the same weights, and shows the result of a finished one.
KERAS_BACKEND chooses tensorflow, jax or torch.

Batches are divided among all devices that the backend sees. On jax several
hosts train as one: start the command on each of them, in the same folder of a
file system that all share, with the same --coordinator_address and
--num_processes, and --process_id from 0 (docs/devices.md).
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import gin
from absl import flags

import wsl_extraction
from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import devices, distribution

if TYPE_CHECKING:
  import pathlib

  from wsl_extraction.attacks.attack import Extraction
  from wsl_extraction.data.datasets import Dataset
  from wsl_extraction.data.split import Parts
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.report.run_folder import RunFolder
  from wsl_extraction.runtime.hosts.hosts import Hosts
  from wsl_extraction.runtime.placement import Placement
  from wsl_extraction.victims.victim import Victim

def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "workdir", None, "The folder of this run; by default one below runs/ "
      "named after the gin file.")
  flags.DEFINE_integer(
      "workers", None, "Processes that decode images of a streamed data set; "
      "by default one less than there are CPUs, 0 for threads. tensorflow with "
      "several devices always takes threads.", lower_bound=0)
  flags.DEFINE_integer(
      "devices", None, "How many of the devices that the backend sees to use; "
      "by default all.")
  flags.DEFINE_string(
      "coordinator_address", None, "With several hosts: the host and a free "
      "port of process 0, such as 10.0.0.1:8476.")
  flags.DEFINE_integer(
      "num_processes", None, "With several hosts: how many processes train as "
      "one.")
  flags.DEFINE_integer(
      "process_id", None, "With several hosts: which of the processes this is, "
      "from 0; process 0 asks the oracle and writes.")
  flags.DEFINE_boolean(
      "multihost", False, "Several hosts; what a TPU pod, Slurm or Open MPI "
      "knows of the three settings above is taken from there.")
  flags.DEFINE_integer(
      "initialization_timeout", 300, "With several hosts: for how many seconds "
      "they wait for each other.", lower_bound=1)


def main() -> None:
  """Runs the experiment that the flags describe, or the rest of it."""
  folder = cli.results_folder()
  cli.check_files()
  with _hosts() as hosts:
    cli.start()
    _train(folder, hosts)


def _hosts() -> Hosts:
  """Meets the other processes, if there are any."""
  from wsl_extraction.runtime.hosts import meeting

  given = cli.FLAGS
  hosts = meeting.Rendezvous.of(
      given.coordinator_address, given.num_processes, given.process_id,
      given.multihost, given.initialization_timeout)
  if hosts.count > 1:
    devices.check_hosts()
  return hosts.meet(f"wsl_extraction {wsl_extraction.__version__}")


def _train(folder: pathlib.Path, hosts: Hosts) -> None:
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction import experiment as experiments
  from wsl_extraction.report import run_folder, run_table

  start = time.monotonic()
  experiment = experiments.configured()
  placement = distribution.place(
      cli.FLAGS.devices, hosts.index, hosts.count, hosts.wait)
  config = gin.config_str()
  _agree(hosts, config)
  if not hosts.first:
    _follow(experiment, run_folder.RunFolder(folder), hosts, placement)
    return
  with run_folder.RunFolder(folder) as run:
    # A folder of another configuration is refused before any work, a new one
    # is made only when there is something to put into it.
    result = None
    if run.config.exists():
      run.prepare(config)
      # Without its surrogate a run is not finished; the checkpoint has it.
      if run.surrogate.exists():
        result = run.read_json("result.json")
    if hosts.share(result is None):
      result = _extract(experiment, run, config, start, hosts, placement)
    cli.show(f"{run_table.result_table(result)}\n\n{run.path}")


def _agree(hosts: Hosts, config: str) -> None:
  """Makes sure that all processes have the configuration of process 0."""
  from wsl_extraction.report import gin_diff

  difference = gin_diff.first_difference(hosts.share(config), config)
  if difference:
    name, theirs, ours = difference
    raise InputError(
        f"process {hosts.index} has another configuration than process 0: "
        f"{name} is {ours} here and {theirs} there; give all the same gin "
        "files and bindings")
  hosts.wait()


def _follow(experiment: Experiment, run: RunFolder, hosts: Hosts,
            placement: Placement) -> None:
  """Trains with process 0, which asks, writes and scores."""
  from wsl_extraction.attacks.attack import Surroundings

  if not hosts.share():
    return  # the run is finished
  dataset, parts = experiment.data()
  victim = hosts.share()
  with experiment.overheard(run.responses, victim, dataset) as oracle:
    experiment.attack(oracle, parts.pool, experiment.seed, Surroundings(
        value_range=dataset.value_range, folder=run.path,
        compile_options=devices.compile_options(placement.replicas),
        read=_read, placement=placement))


def _extract(experiment: Experiment, run: RunFolder, config: str,
             start: float, hosts: Hosts,
             placement: Placement) -> dict[str, Any]:
  from wsl_extraction import experiment as experiments
  from wsl_extraction.report import training_log

  begun = [path for path in (run.checkpoint, run.asked, *run.round_files())
           if path.exists()]
  if begun and not run.responses.exists():
    raise InputError(
        f"{run.responses} is missing, on which {begun[0]} depends; put it "
        "back, or delete the folder to pay for the responses again")
  dataset, parts = experiment.data()
  experiment.check(dataset, parts, placement)
  victim = experiments.make_victim(
      experiment, dataset, parts,
      lambda *size: [training_log.Progress("victim", *size)])
  with experiments.without_traces(run.path):
    new = not run.config.exists()
    run.prepare(config)
    earlier = sum(map(training_log.recorded_seconds, (
        run.metrics, *run.path.glob("round_*.jsonl"))))
    oracle = None
    try:
      with experiment.attacked(run.responses, victim, dataset) as oracle:
        hosts.share(victim.facts())
        extraction = _attack(
            experiment, run, dataset, parts, oracle, placement)
    except InputError:
      paid = oracle is not None and oracle.ledger.spent
      trained = (run.metrics.exists() or run.events.exists()
                 or bool(run.round_files()))
      if new and not paid and not trained:
        run.discard()
      raise
  result = _examined(experiment, run, extraction, dataset, parts, victim)
  result |= {"replicas": placement.replicas, "processes": placement.count,
             "seconds": earlier + time.monotonic() - start}
  run.write_json("result.json", result)
  return run.read_json("result.json") or {}


def _examined(experiment: Experiment, run: RunFolder, extraction: Extraction,
              dataset: Dataset, parts: Parts, victim: Victim) -> dict[str, Any]:
  """Scores and saves the surrogate; gives what there is to say of it."""
  import numpy as np

  from wsl_extraction import experiment as experiments
  from wsl_extraction.equivalence import certify, domains
  from wsl_extraction.oracle.reveals import Access
  from wsl_extraction.report import progress
  from wsl_extraction.runtime import files

  figures = experiments.examine(extraction.surrogate, victim, parts.test)
  with files.atomic_write(run.surrogate) as path:
    extraction.surrogate.save(path)
  run.write_text("operative.gin", gin.operative_config_str())
  result = _result(experiment, extraction, dataset, parts, victim)
  if victim.weights is not None and extraction.weights is not None:
    low, high = map(float, dataset.value_range)
    size = victim.weights.dimension
    proof = certify.certify(
        victim.weights, extraction.weights,
        domains.Box(np.full(size, low), np.full(size, high)),
        centred=experiment.access != Access.LOGITS, report=progress.Stages())
    result["proof"] = {"least": proof.lower, "most": proof.upper,
                       "seconds": proof.seconds}
  return result | figures


def _attack(experiment: Experiment, run: RunFolder, dataset: Dataset,
            parts: Parts, oracle: Oracle,
            placement: Placement) -> Extraction:
  from wsl_extraction.attacks.attack import Surroundings
  from wsl_extraction.report import progress, training_log

  def shown_and_recorded(name: str, *size: int) -> list[Any]:
    shown = training_log.Progress(name, *size)
    if name != "surrogate":
      path = run.path / f"{name.split('/')[0].replace(' ', '_')}.jsonl"
      return [training_log.MetricsFile(path), shown]
    return [training_log.MetricsFile(run.metrics),
            training_log.TensorBoard(run.events), shown]

  surroundings = Surroundings(
      value_range=dataset.value_range, folder=run.path,
      callbacks=shown_and_recorded,
      compile_options=devices.compile_options(placement.replicas),
      read=_read, placement=placement, progress=progress.Stages())
  return experiment.attack(oracle, parts.pool, experiment.seed, surroundings)


def _read(batches: Any) -> Any:
  """Reads batches of images that are files still."""
  from wsl_extraction.runtime import workers

  return workers.read_ahead(batches, cli.FLAGS.workers)


def _result(experiment: Experiment, extraction: Extraction, dataset: Dataset,
            parts: Parts, victim: Victim) -> dict[str, Any]:
  return {
      "attack": experiment.attack.name,
      "status": extraction.status.value,
      "seed": experiment.seed,
      **devices.describe(),
      "access": experiment.access.name.lower(),
      "k": experiment.k,
      "decimals": experiment.decimals,
      "dtype": experiment.dtype,
      "budget": experiment.budget,
      "queries": extraction.queries,
      "dataset": {
          "name": dataset.name, "fingerprint": dataset.fingerprint,
          "private": len(parts.private), "pool": len(parts.pool),
          "test": len(parts.test), "overlap": parts.overlap},
      "victim": victim.fingerprint,
      "licence": victim.licence or None,
      "notes": dict(extraction.notes),
  }


if __name__ == "__main__":
  sys.exit(cli.launch(main, define_flags))
