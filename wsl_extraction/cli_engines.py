"""The flags that choose what computes: this machine, or a cluster of Ray's."""

from __future__ import annotations

from absl import flags

from wsl_extraction import cli_workers
from wsl_extraction.errors import InputError
from wsl_extraction.runtime.engines import in_process, processes
from wsl_extraction.runtime.engines.engine import Engine

_RAY_ONLY = ("ray_address", "devices", "start_timeout")


def define_flags(work: str) -> None:
  """Defines the flags; `work` is what is divided, such as "runs"."""
  flags.DEFINE_enum(
      "engine", "local", ["local", "ray"], f"What computes the {work}: this "
      "machine, or the hosts of a Ray cluster, which need the package and its "
      "data (docs/guide/scale.md).")
  flags.DEFINE_string(
      "ray_address", None, "With --engine=ray: auto for the cluster that this "
      "machine is part of, or host:port of another; by default $RAY_ADDRESS, "
      "or else Ray is started on this machine alone.")
  flags.DEFINE_integer(
      "processes", None, f"How many processes compute {work} at once; by "
      "default 1 on this machine, and with --engine=ray one on each "
      "accelerator, or on each host where there are none.", lower_bound=1)
  flags.DEFINE_integer(
      "devices", None, "With --engine=ray: the accelerators of each of them; "
      "by default 1 where there are any, 0 leaves them alone.", lower_bound=0)
  flags.DEFINE_integer(
      "start_timeout", 300, "With --engine=ray: for how many seconds the "
      "cluster may have no place for any of them.", lower_bound=1)


def check_flags() -> None:
  """Raises InputError where flags contradict each other."""
  chosen = flags.FLAGS
  if chosen.engine == "local":
    for name in _RAY_ONLY:
      if not chosen[name].using_default_value:
        raise InputError(f"--{name} is for --engine=ray; add that, or leave "
                         "it out")


def engine(keeps: bool) -> Engine:
  """Starts the engine that the flags name.

  Args:
    keeps: Whether its workers keep what they have made, such as a victim. Else
      each task is a process of its own, or starts one.

  Raises:
    InputError: Flags contradict each other, or Ray cannot be used.
  """
  check_flags()
  chosen = flags.FLAGS
  if chosen.engine == "local":
    count = chosen.processes or 1
    if not keeps:
      return in_process.Threads(count) if count > 1 else in_process.InProcess()
    return in_process.InProcess() if count == 1 else processes.Processes(count)
  from wsl_extraction.runtime.engines import ray_cluster

  return ray_cluster.RayCluster(
      chosen.ray_address, chosen.processes, chosen.devices,
      chosen.start_timeout, cli_workers.environment(), keeps=keeps)
