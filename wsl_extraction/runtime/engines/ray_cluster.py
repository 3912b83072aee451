"""Ray's actors and tasks as workers, on one machine or on a cluster.

References:
  P. Moritz, R. Nishihara, S. Wang, et al. Ray: A Distributed Framework for
    Emerging AI Applications. OSDI 2018.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import importlib
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import silence_logs
from wsl_extraction.runtime.engines.engine import (
    Engine,
    Holder,
    Make,
    Worker,
    WorkerLost,
    unpacked,
)
from wsl_extraction.runtime.engines.shares import available_cpus, share

_LOOPBACK = ("127.", "localhost", "[::1]", "::1")
_ANSWERS_WITHIN = 5.0  # seconds for a first connection
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report to its makers
}


class RayCluster(Engine):
  """Ray's workers: actors that hold their object, or a task for each call.

  Lost work is sent again by `crew`, never by Ray, which knows no charges.
  """

  is_remote = True

  def __init__(self, address: str | None, workers: int | None,
               devices: int | None, patience: float,
               environment: Mapping[str, str], *, keeps: bool):
    """Connects to a cluster.

    Args:
      address: "auto" for the cluster that this machine is part of, or
        "host:port" of one; None starts Ray on this machine alone.
      workers: How many there should be; None for as many as there are devices,
        or hosts where there are no accelerators.
      devices: The accelerators that each takes; None for one where there are
        any.
      patience: Seconds in which one of them has to have a place.
      environment: Variables that differ in workers, beside those of threads.
      keeps: Whether a worker keeps its object, as an actor. Else each call is
        a task in a process that ends with it.

    Raises:
      InputError: Ray is not installed, nothing answers at the address, or the
        cluster has no room for so many workers.
    """
    self._keeps, self.patience = keeps, patience
    self.noun = "actor" if keeps else "task"
    self.depth = 2 if keeps else 1
    address = address or os.environ.get("RAY_ADDRESS")
    self._ray = ray = _imported(address)
    _connect(ray, address)
    try:
      nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
      self._share = share(nodes, workers, devices)
    except BaseException:
      ray.shutdown()
      raise
    self.workers = self._share.workers
    self._environment = {**environment, **self._share.environment}

  def start(self, make: Make, number: int) -> Worker:
    name = f"{self.noun} {number}"
    options = {**self._share.options, "scheduling_strategy": "SPREAD",
               "runtime_env": {"env_vars": self._environment}}
    if self._keeps:
      return _Actor(self._ray, name, make, options)
    return _Tasks(self._ray, name, make, options)

  def shortage(self) -> str:
    return (f"{super().shortage()}: each takes {self._share}; see with `ray "
            "status` what is free, or give fewer --processes")

  def close(self) -> None:
    self._ray.shutdown()


class _Actor(Worker):
  """An actor that holds its object."""

  def __init__(self, ray: Any, name: str, make: Make,
               options: Mapping[str, Any]):
    self.name, self._ray = name, ray
    # The next batch is decoded, and the last one copied, while one is answered.
    actor = ray.remote(Holder).options(
        **options, max_restarts=0, max_concurrency=2)
    self._actor = actor.remote()
    self._place = self._actor.here.remote().future()
    self.ready = self._actor.begin.remote(make).future()

  @property
  def has_place(self) -> bool:
    return self._place.done()

  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    return self._actor.call.remote(method, arguments).future()

  def result(self, future: concurrent.futures.Future) -> Any:
    return _result(self._ray, future)

  def close(self) -> None:
    self._ray.kill(self._actor)


class _Tasks(Worker):
  """A place for one task at a time, each in a process of its own."""

  def __init__(self, ray: Any, name: str, make: Make,
               options: Mapping[str, Any]):
    self.name, self._ray, self._make = name, ray, make
    # A process ends with its call: none sees another's compiled code, random
    # state or memory.
    remote = ray.remote(max_calls=1, max_retries=0, **options)
    self._task = remote(_make_and_call)
    self._last = remote(_here).remote()
    self.ready = self._last.future()

  @property
  def has_place(self) -> bool:
    return self.ready.done()

  def call(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    self._last = self._task.remote(self._make, method, arguments)
    return self._last.future()

  def result(self, future: concurrent.futures.Future) -> Any:
    return _result(self._ray, future)

  def close(self) -> None:
    self._ray.cancel(self._last, force=True)


def _here() -> tuple[bool, Any]:
  return True, Holder().here()


def _make_and_call(make: Make, method: str, arguments: tuple[Any, ...]
                   ) -> tuple[bool, Any]:
  holder = Holder()
  outcome = holder.begin(make)
  return holder.call(method, arguments) if outcome[0] else outcome


def _result(ray: Any, future: concurrent.futures.Future) -> Any:
  errors = ray.exceptions
  try:
    return unpacked(future.result())
  except errors.RayTaskError:
    raise  # a defect, with its traceback
  except errors.TaskUnschedulableError as error:
    raise InputError(f"Ray has no place for it: {_sentence(error)}") from error
  except errors.RayError as error:
    raise WorkerLost(_sentence(error)) from error


def _sentence(error: Exception) -> str:
  """The cause in Ray's report of an end, which has a page of advice."""
  text = " ".join(str(error).split())
  if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
    return "Ray ended it for lack of memory"
  if re.search(r"\bnode\b.*\b(died|dead|terminated|preempted)", text):
    return "its node was lost"
  detail = re.search(r"Worker exit detail: ([^.]*\.[^.]*)", text)
  if detail or "died unexpectedly" in text or "crashed" in text:
    return "its process was killed or crashed"
  return text[:200]


def _imported(address: str | None) -> Any:
  if importlib.util.find_spec("ray") is None:
    raise InputError("--engine=ray needs Ray, which is not installed; install "
                     "it with pip install 'ray>=2.50', or leave --engine out")
  # Read while Ray is imported.
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  if address is None or address.startswith(_LOOPBACK):
    # Else it takes this machine's address in the network for 127.0.0.1.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
  ray = importlib.import_module("ray")
  # Its reports of ended workers would go to the standard output, among tables;
  # `crew` says the same in one line.
  worker: Any = importlib.import_module("ray._private.worker")
  if hasattr(worker, "print_to_stdstream"):
    worker.print_to_stdstream = lambda *_, **__: None
  logging.getLogger("ray").setLevel(logging.ERROR)
  return ray


def _connect(ray: Any, address: str | None) -> None:
  settings: dict[str, Any] = {"address": address or "local"}
  if address is None:
    settings.update(include_dashboard=False, num_cpus=available_cpus(),
                    _node_ip_address="127.0.0.1")
  elif address != "auto":
    _check_address(address)
  try:
    with silence_logs.silenced(sys.stderr):
      ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
  except (ConnectionError, RuntimeError, ValueError, OSError,
          ray.exceptions.RayError) as error:
    where = address or "this machine"
    said = " ".join(str(error).split())[:200]
    raise InputError(
        f"Ray cannot be reached at {where} ({said}); see that it runs there "
        "with `ray status`, and that this machine has its token, or leave "
        "--ray_address out to start it here") from error


def _check_address(address: str) -> None:
  """Raises InputError where nothing listens, for which Ray waits minutes."""
  host, _, port = address.rpartition(":")
  if not (host and port.isdigit() and 0 < int(port) < 1 << 16) or "/" in host:
    raise InputError(f"--ray_address={address} is no address; give auto, or "
                     "host:port, such as 10.0.0.1:6379")
  probe = http.client.HTTPConnection(
      host.strip("[]"), int(port), timeout=_ANSWERS_WITHIN)
  try:
    probe.connect()
  except (OSError, OverflowError, UnicodeError) as error:
    raise InputError(
        f"nothing answers at --ray_address={address} ("
        f"{getattr(error, 'strerror', None) or error}); give the address that "
        "`ray start --head` has shown") from error
  finally:
    probe.close()
