"""The start of several processes that run one program together.

`jax.distributed` finds out who they are and connects them, over TCP: nothing is
encrypted, and who reaches the port of process 0 is believed.
"""

from __future__ import annotations

import os
import sys

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import silence_logs
from wsl_extraction.runtime.hosts import (
    GRACE,
    Hosts,
    first_line,
    in_thread,
    leave_at_exit,
)

_LIMIT = "--xla_cpu_collective_timeout_seconds"
_WEEK = 7 * 24 * 3600


def connect(address: str | None, count: int | None, index: int | None,
            detect: bool, seconds: int, about: str) -> Hosts:
  """Connects the processes by the flags of `train`; without any, one alone.

  Args:
    address: "host:port" of process 0, where jax listens.
    count: How many processes there are.
    index: Which of them this is.
    detect: Whether jax looks for what is not given: it knows TPU pods, Slurm,
      Open MPI and Kubernetes.
    seconds: How long they wait for each other.
    about: What must be the same in all, such as the package's version.

  Raises:
    InputError: The flags contradict each other, the processes do not all come,
      or they do not fit together.
  """
  flags = {"--coordinator_address": address, "--num_processes": count,
           "--process_id": index}
  absent = [name for name, value in flags.items() if value is None]
  if not detect and len(absent) == len(flags):
    return Hosts()
  if not detect and absent:
    raise InputError(f"{absent[0]} is missing; give all of {', '.join(flags)}, "
                     "or none for one process")
  _check(address, count, index)
  if count == 1 and not detect:
    return Hosts()
  _start(address, count, index, seconds)
  import jax

  hosts = Hosts(jax.process_index(), jax.process_count())
  about = about if count is None else f"{about} of --num_processes {count}"
  try:
    if (expected := hosts.share(about)) != about:
      raise InputError(
          f"process {hosts.index} runs {about}, process 0 runs {expected}; "
          "start the same on all hosts")
    hosts.wait()
  except BaseException:
    hosts.__exit__(*sys.exc_info())
    raise
  return hosts


def _check(address: str | None, count: int | None, index: int | None) -> None:
  if count is not None and (
      count < 1 or (index is not None and not 0 <= index < count)):
    raise InputError(f"--process_id is {index} of --num_processes {count}; "
                     f"give a number from 0 to {max(count, 1) - 1}")
  host, _, port = (address or "host:1").rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise InputError(f"--coordinator_address is {address!r}; give the host and "
                     "a free port of process 0, such as 10.0.0.1:8476")


def _start(address: str | None, count: int | None, index: int | None,
           seconds: int) -> None:
  import jax
  from jax.experimental import multihost_utils

  # On CPUs an exchange breaks off after half an hour: others may wait for days
  # while process 0 asks the oracle. XLA reads this with its first computation.
  if _LIMIT not in (xla := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{xla} {_LIMIT}={_WEEK}".strip()
  # It would keep SIGTERM from ending a process.
  jax.config.update("jax_enable_preemption_service", False)

  def meet() -> None:
    # When its own time is over, jax aborts.
    jax.distributed.initialize(address, count, index,
                               initialization_timeout=seconds + int(GRACE))
    # The first exchange also says on the standard output that it works.
    multihost_utils.sync_global_devices("start")

  try:
    with silence_logs.silenced(sys.stdout):
      in_thread(meet, seconds)
  except BaseException as error:
    end = _explained(error, address, seconds)
    leave_at_exit(end)
    raise end from error


def _explained(error: BaseException, address: str | None,
               seconds: int) -> BaseException:
  if isinstance(error, TimeoutError):
    return InputError(
        f"the processes did not meet at {address or 'their address'} within "
        f"{seconds} s; start the same command on all hosts, with the address "
        "of process 0 and each --process_id once")
  if isinstance(error, ValueError):  # of jax's detection
    return InputError(
        f"--multihost finds no cluster that jax knows ({first_line(error)}); "
        "give --coordinator_address, --num_processes and --process_id")
  if isinstance(error, Exception):
    return InputError(f"the hosts cannot exchange data ({first_line(error)}); "
                      "let them reach each other on all ports")
  return error
