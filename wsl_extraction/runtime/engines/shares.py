"""The share of a cluster's devices and CPUs that each worker takes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from wsl_extraction.errors import InputError

_ACCELERATORS = ("GPU", "TPU")


@dataclasses.dataclass(frozen=True)
class Share:
  """What each of some workers takes.

  Attributes:
    workers: How many they are.
    cpus: CPUs.
    kind: "GPU", "TPU", or "" where there are no accelerators.
    devices: The number of these.
  """

  workers: int
  cpus: int
  kind: str = ""
  devices: int = 0

  @property
  def options(self) -> dict[str, Any]:
    """As options of Ray."""
    options: dict[str, Any] = {"num_cpus": self.cpus}
    if self.kind == "GPU":
      options["num_gpus"] = self.devices
    elif self.kind:
      options["resources"] = {self.kind: self.devices}
    return options

  @property
  def environment(self) -> dict[str, str]:
    """As variables that libraries read."""
    return threads(self.cpus)

  def __str__(self) -> str:
    return f"{self.cpus} CPUs" + (
        f" and {self.devices} {self.kind}s" if self.kind else "")


def available_cpus() -> int:
  """The number of CPUs that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(
      os, "sched_getaffinity") else os.cpu_count() or 1


def threads(cpus: int) -> dict[str, str]:
  """Variables by which libraries compute in so many threads."""
  return {name: str(cpus) for name in (
      "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
      "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")}


def share(nodes: Sequence[Mapping[str, float]], workers: int | None,
          devices: int | None) -> Share:
  """Divides the hosts of a cluster among workers, none over two hosts.

  Args:
    nodes: What each host has, by Ray's names: CPU, GPU, TPU.
    workers: How many there should be; None for one on each accelerator, or on
      each host where there are none.
    devices: The accelerators of each worker; None for one where there are any.

  Raises:
    InputError: There is no room for so many.
  """
  kind = next((name for name in _ACCELERATORS
               if any(node.get(name) for node in nodes)), "")
  if devices and not kind:
    raise InputError(f"--devices={devices}, and the cluster has no GPU and no "
                     "TPU; leave it out to compute on CPUs")
  each = (devices if devices is not None else 1) if kind else 0
  places = [int(node.get(kind, 0)) // each if each else int(node.get("CPU", 0))
            for node in nodes]
  if workers is None:
    if not each:
      places = [min(place, 1) for place in places]
    workers = sum(places)
  room = _room(nodes, places, 1)
  if not 1 <= workers <= room:
    raise InputError(
        f"there is room for {room} workers on the {len(nodes)} hosts of the "
        f"cluster{f', of {each} {kind}s each' if each else ''}; give "
        f"--processes up to that" if room and workers else
        "the cluster has no host for a worker"
        f"{f' of {each} {kind}s' if each else ''}; give fewer --devices, or "
        "add hosts to it")
  cpus = max(cpus for cpus in range(1, 1 + int(
      max(node.get("CPU", 0) for node in nodes)))
             if _room(nodes, places, cpus) >= workers)
  return Share(workers, cpus, kind if each else "", each)


def _room(nodes: Sequence[Mapping[str, float]], places: Sequence[int],
          cpus: int) -> int:
  """The number of workers of so many CPUs that fit."""
  return sum(min(place, int(node.get("CPU", 0)) // cpus)
             for node, place in zip(nodes, places, strict=True))
