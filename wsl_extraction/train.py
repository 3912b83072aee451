r"""Extracts a model: runs one attack, scores the surrogate, keeps the results.

  python -m wsl_extraction.train --gin_file=gin/rotation.gin

The folder runs/rotation, or another that --workdir names, then holds config.gin
(what was asked for), operative.gin (every parameter in force), queries.json
(which examples were asked about), responses.sqlite (charges and responses),
measured.sqlite (the victim's answers to the test set, unless --measured names a
folder of them), round_*.jsonl (the trainings between rounds, if there are any),
checkpoint.npz, metrics.jsonl, events/ (for TensorBoard, if it is installed),
surrogate.keras and result.json.
The same command goes on where an interrupted one stopped, to the same weights,
and shows the result of a finished one. KERAS_BACKEND chooses tensorflow, jax or
torch.

Batches are divided among all devices that the backend sees. On jax several
hosts train as one: start the command on each of them, in the same folder of a
file system that all share, with the same --coordinator_address and
--num_processes, and --process_id from 0 (docs/guide/devices.md).
"""

from __future__ import annotations

import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

import gin
from absl import flags

import wsl_extraction
from wsl_extraction import cli
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import backend, devices, distribution, files

if TYPE_CHECKING:
  from wsl_extraction.data.examples import Dataset
  from wsl_extraction.data.split import Parts
  from wsl_extraction.experiment import Experiment
  from wsl_extraction.report.run_folder import RunFolder
  from wsl_extraction.runtime.hosts import Hosts
  from wsl_extraction.runtime.placement import Placement
  from wsl_extraction.victims.victim import Victim


def define_flags() -> None:
  """Defines this command's own flags."""
  flags.DEFINE_string(
      "workdir", None, "The folder of this run; by default one below runs/ "
      "named after the gin file.")
  flags.DEFINE_string(
      "measured", None, "A folder of victims' answers to test sets, which "
      "several runs share so that each victim is asked once; by default the "
      "folder of the run.")
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
      "multihost", False, "Several hosts; what a TPU pod, Slurm, Open MPI or "
      "Kubernetes knows of the three settings above is taken from there.")
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
  from wsl_extraction.runtime import host_connection

  flags = cli.FLAGS
  if flags.multihost or (flags.num_processes or 1) > 1:
    backend.check_hosts()
  return host_connection.connect(
      flags.coordinator_address, flags.num_processes, flags.process_id,
      flags.multihost, flags.initialization_timeout,
      f"wsl_extraction {wsl_extraction.__version__}")


def _train(folder: pathlib.Path, hosts: Hosts) -> None:
  # Not at the top of the file: see `cli.launch`.
  from wsl_extraction.report import damage, run_folder, run_table

  start = time.monotonic()
  experiment = cli.experiment()
  placement = hosts.watch(distribution.place(
      cli.FLAGS.devices, hosts.index, hosts.count))
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
    hosts.share(result is None)
    if result is None:
      result = _extract(experiment, run, config, start, hosts, placement)
    with damage.reading(run.result):
      table = run_table.result_table(result)
    cli.show(f"{table}\n\n{run.path}")


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
  """Trains with process 0, which asks, writes and measures."""
  from wsl_extraction import api
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.published import PublishedResponses
  from wsl_extraction.oracle.replays import Replay
  from wsl_extraction.report import recorded_runtime

  if not hosts.share():
    return  # the run is finished
  _, parts = cli.load_data(experiment)
  victim = hosts.share()
  if not run.published.is_dir():
    raise InputError(f"there is no {run.published} on this host, which process "
                     "0 has made; give a --workdir that all hosts share")
  settings = experiment.oracle
  responses = PublishedResponses(
      run.published, settings.reveal, victim["outputs"],
      max(settings.resolution, victim["resolution"]))
  oracle = Oracle(
      Replay(responses, parts.space, victim["outputs"], settings.reveal),
      settings.budget)
  experiment.attack(
      oracle, api.knowledge_of(experiment.attack, parts), experiment.seed,
      recorded_runtime.runtime(run, placement, cli.FLAGS.workers))


def _extract(experiment: Experiment, run: RunFolder, config: str,
             start: float, hosts: Hosts,
             placement: Placement) -> dict[str, Any]:
  from wsl_extraction import api
  from wsl_extraction.oracle import published
  from wsl_extraction.report import (
      metrics_file,
      notices,
      recorded_runtime,
      stages,
  )
  from wsl_extraction.runtime import keras_saving

  begun = [path for path in (run.checkpoint, run.queries, *run.round_files())
           if path.exists()]
  if begun and not run.responses.exists():
    raise InputError(
        f"{run.responses} is missing, on which {begun[0]} depends; put it "
        "back, or delete the folder to pay for the responses again")
  dataset, parts = cli.load_data(experiment)
  runtime = recorded_runtime.runtime(run, placement, cli.FLAGS.workers)
  experiment.check(parts, runtime)
  victim = cli.load_victim(experiment, parts)
  with cli.without_traces(run.path):
    is_new = not run.config.exists()
    run.prepare(config)
    earlier = sum(map(metrics_file.recorded_seconds, (
        run.metrics, *run.path.glob("round_*.jsonl"))))
    try:
      copy = api.perform(
          victim, experiment.attack, parts, experiment.oracle,
          seed=experiment.seed, runtime=runtime,
          stores=experiment.stores(
              run.responses, _measured(run, victim, dataset),
              run.published if placement.count > 1 else None),
          fingerprint=dataset.fingerprint,
          provenance=_provenance(dataset, parts),
          measures=experiment.measures,
          begin=lambda: hosts.share(victim.facts()), stage=stages.Stages(),
          warn=notices.warn)
    except BaseException:
      if is_new and not run.has_work():
        run.discard()
      raise
  published.remove(run.published)
  with files.atomic_write(run.surrogate) as path:
    keras_saving.save(copy.surrogate, path)
  run.write_text("operative.gin", gin.operative_config_str())
  run.write_json("result.json", {
      **copy.result, "replicas": placement.replicas,
      "processes": placement.count,
      "seconds": earlier + time.monotonic() - start})
  return run.read_json("result.json") or {}


def _measured(run: RunFolder, victim: Victim,
              dataset: Dataset) -> pathlib.Path:
  """The file of the victim's answers to the test set.

  In a folder that runs share, each victim has its own. What it answers depends
  on backend and precision as well.
  """
  if not cli.FLAGS.measured:
    return run.measured
  from wsl_extraction.victims.victim import digest

  facts = devices.describe()
  name = digest(victim.fingerprint, dataset.fingerprint, facts["backend"],
                facts["precision"])
  return files.expanded(cli.FLAGS.measured) / f"{name}.sqlite"


def _provenance(dataset: Dataset, parts: Parts) -> dict[str, Any]:
  return {"dataset": {
      "name": dataset.name, "fingerprint": dataset.fingerprint,
      "private": len(parts.private), "pool": len(parts.pool),
      "test": len(parts.test), "overlap": parts.overlap,
      **({} if dataset.pool is None else {"pool_dataset": dataset.pool.name})}}


def launch() -> int:
  """Runs the command; returns its exit status."""
  return cli.launch(main, define_flags)


if __name__ == "__main__":
  sys.exit(launch())
