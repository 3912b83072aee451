"""Rendezvous of processes, over plain TCP and then in jax.

They meet at an address of process 0 before jax connects them in its own way:
jax would abort a process that waits in vain or does not fit, with a stack trace
instead of a reason. The connections stay open, so that the end of one process,
in whatever way, ends the others.
"""

from __future__ import annotations

import dataclasses
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import silence_logs
from wsl_extraction.runtime.hosts.hosts import GRACE, Hosts
from wsl_extraction.runtime.hosts.peer import Peer


@dataclasses.dataclass(frozen=True)
class Rendezvous:
  """The processes of a rendezvous, and its address.

  Attributes:
    address: "host:port" of process 0, which listens there.
    count: How many processes there are; one alone meets nobody.
    index: Which of them this is.
    seconds: How long to wait for the others.
  """

  address: str | None = None
  count: int = 1
  index: int = 0
  seconds: int = 300

  @classmethod
  def of(cls, address: str | None, count: int | None, index: int | None,
         detect: bool, seconds: int) -> Rendezvous:
    """Reads the flags of these names; without any, one process.

    Raises:
      InputError: They contradict each other, or some are missing.
    """
    if detect:
      address, count, index = _detected(address, count, index, seconds)
    flags = {"--coordinator_address": address, "--num_processes": count,
             "--process_id": index}
    absent = [name for name, value in flags.items() if value is None]
    if detect and absent:
      raise InputError(f"--multihost finds no {absent[0][2:]}: this is no TPU "
                       "pod, Slurm or Open MPI job; give the three flags "
                       f"{', '.join(flags)}")
    if len(absent) == len(flags):
      return cls()
    if address is None or count is None or index is None:
      raise InputError(f"{absent[0]} is missing; give all of "
                       f"{', '.join(flags)}, or none for one process")
    if count < 1 or not 0 <= index < count:
      raise InputError(f"--process_id is {index} of --num_processes {count}; "
                       f"give a number from 0 to {max(count, 1) - 1}")
    _parsed(address)
    return cls(address, count, index, seconds)

  def connect(self, about: str) -> Hosts:
    """Connects the processes, in Python and then in jax.

    Args:
      about: What must be the same in all, such as the package's version.

    Raises:
      InputError: They do not all come, or do not fit together.
    """
    if self.count == 1 or self.address is None:
      return Hosts()
    host, port = _parsed(self.address)
    if self.index:
      peers, jax_port = self._call(host, port, about)
    else:
      peers = self._gather(host, port, about)
      jax_port = _free_port()
      for peer in peers.values():
        peer.send({"port": jax_port})
    hosts = Hosts(self.index, self.count, peers)
    try:
      host = f"[{host}]" if ":" in host else host
      _start_jax(f"{host}:{jax_port}", self.count, self.index)
    except BaseException:
      hosts.__exit__(*sys.exc_info())
      raise
    return hosts

  def _gather(self, host: str, port: int, about: str) -> dict[int, Peer]:
    """Waits for all others to call process 0."""
    peers: dict[int, Peer] = {}
    end = time.monotonic() + self.seconds
    with _listening(host, port) as server:
      while len(peers) < self.count - 1:
        server.settimeout(max(0.01, end - time.monotonic()))
        try:
          connection, _ = server.accept()
        except TimeoutError:
          _refuse(peers.values(), self._absent(peers))
        peer = Peer(connection)
        hello = peer.hello(min(GRACE, self.seconds))
        if not isinstance(hello, dict) or {*hello} != {
            "index", "count", "about"}:
          peer.close()  # a stranger
          continue
        if wrong := self._misfit(hello, about, peers):
          _refuse([peer, *peers.values()], wrong)
        peers[hello["index"]] = peer
    return peers

  def _absent(self, peers: Mapping[int, Peer]) -> str:
    absent = sorted({*range(1, self.count)} - {*peers})
    return (f"process {absent[0]} did not come to {self.address} within "
            f"{self.seconds} s ({len(absent)} of {self.count} are missing); "
            "start the same command on all hosts")

  def _misfit(self, hello: Mapping[str, Any], about: str,
              peers: Mapping[int, Peer]) -> str | None:
    index, count = hello["index"], hello["count"]
    if count != self.count:
      return (f"--num_processes is {count} in process {index} and {self.count} "
              "in process 0; give all the same")
    if index in peers or not index:
      return (f"two processes have --process_id={index}; number them from 0 to "
              f"{count - 1}")
    if hello["about"] != about:
      return (f"process {index} runs {hello['about']}, process 0 runs {about}; "
              "install the same on all hosts")
    return None

  def _call(self, host: str, port: int,
            about: str) -> tuple[dict[int, Peer], int]:
    """Calls process 0 until it answers; gives jax's port too."""
    end = time.monotonic() + self.seconds
    while True:
      try:
        connection = socket.create_connection(
            (host, port), max(0.01, end - time.monotonic()))
        break
      except OSError as error:
        if time.monotonic() > end:
          raise InputError(
              f"nobody answers at {self.address} within {self.seconds} s "
              f"({error.strerror or error}); start the same command with "
              "--process_id=0 there, or mend --coordinator_address") from error
        time.sleep(0.2)
    peer = Peer(connection)
    peer.send({"index": self.index, "count": self.count, "about": about})
    answer = peer.hello(self.seconds + GRACE)
    if isinstance(answer, dict) and "port" in answer:
      return {0: peer}, answer["port"]
    peer.close()
    if isinstance(answer, dict) and "failed" in answer:
      raise InputError(f"process 0: {answer['failed'][2]}")
    raise InputError(f"what answers at {self.address} is no process 0 that "
                     "waits for this one; mend --coordinator_address")


def _refuse(peers: Iterable[Peer], text: str) -> NoReturn:
  for peer in peers:
    peer.send({"failed": [0, 2, text]})
    peer.close()
  raise InputError(text)


def _start_jax(address: str, count: int, index: int) -> None:
  import jax
  from jax.experimental import multihost_utils

  # It would keep SIGTERM from ending a process.
  jax.config.update("jax_enable_preemption_service", False)
  with silence_logs.silenced(sys.stdout):
    try:
      jax.distributed.initialize(address, count, index)
      # The first exchange also says on the standard output that it works.
      multihost_utils.sync_global_devices("start")
    except (RuntimeError, ValueError) as error:
      first = str(error).strip().split("\n")[0]
      raise InputError(f"the hosts cannot exchange data ({first}); let them "
                       "reach each other on all ports") from error


def _detected(address: str | None, count: int | None, index: int | None,
             seconds: int) -> tuple[str | None, int | None, int | None]:
  """Fills in what a TPU pod, Slurm or Open MPI knows of the processes."""
  # There is no public way to ask before connecting.
  from jax._src import clusters

  detected = clusters.ClusterEnv.auto_detect_unset_distributed_params(
      address, count, index, None, None, seconds)
  return detected[:3]


def _parsed(address: str) -> tuple[str, int]:
  host, _, port = address.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise InputError(f"--coordinator_address is {address!r}; give the host and "
                     "a free port of process 0, such as 10.0.0.1:8476")
  return host.strip("[]"), int(port)


def _listening(host: str, port: int) -> socket.socket:
  try:
    family, *_, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(place[:2], family=family)
  except OSError as error:
    raise InputError(
        f"process 0 cannot listen at {host}:{port} "
        f"({error.strerror or error}); give an address of this host and a "
        "free port as --coordinator_address") from error


def _free_port() -> int:
  with socket.create_server(("", 0)) as server:
    return server.getsockname()[1]
