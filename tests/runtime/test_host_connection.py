"""Who meets where: flags, jax's detection, and processes that do not come."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from fixtures import host_commands
from fixtures.image_files import refused
from fixtures.met_hosts import start
from wsl_extraction.runtime import host_connection


def connect(address, count, index, detect=False):
  return host_connection.connect(address, count, index, detect, 1, "")


@pytest.mark.parametrize(("flags", "message"), [
    ((None, 2, 0), "--coordinator_address is missing; give all of --coord"),
    (("a:1", None, 0), "--num_processes is missing"),
    (("a:1", 2, None), "--process_id is missing"),
    (("a:1", 2, 2), "--process_id is 2 of --num_processes 2; give a number "
                    "from 0 to 1"),
    (("a:1", 2, -1), "--process_id is -1 of"),
    (("a:1", 0, 0), "--process_id is 0 of --num_processes 0"),
    (("a", 2, 0), "--coordinator_address is 'a'; give the host and a free"),
    (("a:0", 2, 0), "--coordinator_address is 'a:0'"),
    ((":80", 2, 0), "--coordinator_address is ':80'"),
])
def test_flags_that_cannot_be(flags, message):
  with refused(message):
    connect(*flags)


def test_without_flags_or_with_a_count_of_one_there_is_one_process():
  assert connect(None, None, None).count == 1
  assert connect("a:1", 1, 0).count == 1


def slurm(index):
  """The variables of a job step of two tasks, as srun sets them."""
  return {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost",
          "SLURM_NTASKS": "2", "SLURM_PROCID": str(index),
          "SLURM_LOCALID": "0"}


def open_mpi(index):
  """The variables of two processes, as mpirun of Open MPI 4 sets them."""
  return {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
          "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(index),
          "OMPI_COMM_WORLD_LOCAL_RANK": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [slurm, open_mpi])
def test_jax_finds_the_processes_of_a_cluster_s_job(cluster):
  """They meet by the variables alone; the port is jax's own otherwise."""
  port = str(host_commands.free_port())
  ends = host_commands.finish(*[
      start(0, "print(hosts.index, hosts.count, hosts.share(hosts.index))",
            "detected", JAX_COORDINATOR_PORT=port, **cluster(index))
      for index in range(2)])
  assert ends == [(0, "0 2 0\n", ""), (0, "1 2 0\n", "")]


@pytest.mark.slow
def test_a_wait_may_take_longer_than_jax_allows():
  """XLA's own limit on CPUs is 1800 s; a given one is heeded."""
  limit = "--xla_cpu_collective_timeout_seconds"
  waits = "if not hosts.index: time.sleep(4)\nhosts.wait()"
  address = f"localhost:{host_commands.free_port()}"
  ends = host_commands.finish(*[
      start(index, waits, address, XLA_FLAGS=f"{limit}=1")
      for index in range(2)])
  assert "Timed out waiting 1000ms" in ends[1][2]
  shows = "print(os.environ['XLA_FLAGS'])"
  address = f"localhost:{host_commands.free_port()}"
  ends = host_commands.finish(*[
      start(index, shows, address, XLA_FLAGS="") for index in range(2)])
  assert [end[:2] for end in ends] == [(0, f"{limit}={7 * 24 * 3600}\n")] * 2


def test_outside_of_a_cluster_the_flags_are_asked_for():
  ((_, _, errors),) = host_commands.finish(start(0, "pass", "detected"))
  assert errors.startswith(
      "error: --multihost finds no cluster that jax knows (coordinator_address "
      "should be defined.); give --coordinator_address")
  assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_processes_that_wait_in_vain_end_in_one_line(index):
  """Where jax by itself would abort with a stack trace."""
  address = f"localhost:{host_commands.free_port()}"
  ((status, out, errors),) = host_commands.finish(
      start(index, "pass", address, seconds=2))
  assert (status, out) == (2, "")
  assert errors == (
      f"error: the processes did not meet at {address} within 2 s; start the "
      "same command on all hosts, with the address of process 0 and each "
      "--process_id once\n")


@pytest.mark.slow
def test_one_number_given_twice_ends_all_of_them():
  """jax aborts the first that has it; the others wait for it in vain."""
  address = f"localhost:{host_commands.free_port()}"
  ends = host_commands.finish(*[
      start(index, "pass", address, 3, seconds=8) for index in (0, 1, 1)])
  assert all(status for status, _, _ in ends)
  assert f"error: the processes did not meet at {address}" in ends[0][2]


def test_a_wait_can_be_interrupted():
  port = host_commands.free_port()
  process = start(0, "pass", f"localhost:{port}")
  end = time.monotonic() + host_commands.PATIENCE
  while not is_listening(port):
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.02)
  process.send_signal(signal.SIGINT)
  ((status, _, errors),) = host_commands.finish(process)
  assert status == 130, errors


def is_listening(port):
  with socket.socket() as caller:
    return caller.connect_ex(("127.0.0.1", port)) == 0
