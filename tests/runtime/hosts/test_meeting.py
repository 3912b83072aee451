"""Processes that meet: who comes, who does not, who fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fixtures import host_commands
from wsl_extraction.errors import InputError
from wsl_extraction.runtime.hosts import meeting
from wsl_extraction.runtime.hosts.hosts import Hosts

# `Rendezvous` without jax, and then what a test does with `hosts`.
ALONE = """
import os, sys, time
from wsl_extraction.runtime.hosts import meeting
meeting._start_jax = lambda *_: None
meeting.Hosts._part_jax = lambda _: None
address, count, index, seconds = sys.argv[1], *map(int, sys.argv[2:5])
rendezvous = meeting.Rendezvous(address, count, index, seconds)
with rendezvous.connect("version 1") as hosts:
"""


def start(index, body, address, count=2, seconds=30):
  """Runs the lines `body` in a process that has met the others."""
  indented = "".join(f"  {line}\n" for line in body.split("\n"))
  return subprocess.Popen(
      [sys.executable, "-c", ALONE + indented, address, str(count), str(index),
       str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env={**os.environ, "PYTHONPATH": str(host_commands.ROOT)})


def run(*bodies, **options):
  address = f"localhost:{host_commands.free_port()}"
  return host_commands.finish(*[
      start(index, body, address, len(bodies), **options)
      for index, body in enumerate(bodies)])


def test_what_the_first_shares_all_have():
  body = "print(hosts.share({'a': [hosts.index]}), hosts.share('b' * 9))"
  assert run(body, body, body) == [(0, "{'a': [0]} bbbbbbbbb\n", "")] * 3


def test_nobody_passes_before_all_have_come(tmp_path):
  late = f"time.sleep(1)\nopen({str(tmp_path / 'late')!r}, 'w').close()\n"
  early = f"hosts.wait()\nprint(os.path.exists({str(tmp_path / 'late')!r}))"
  for bodies in ((late + "hosts.wait()", early, early),
                 (early, early, late + "hosts.wait()")):
    (tmp_path / "late").unlink(missing_ok=True)
    ends = run(*bodies)
    assert [end[0] for end in ends] == [0, 0, 0], ends
    assert sorted(end[1] for end in ends) == ["", "True\n", "True\n"]


INPUT_ERROR = ("from wsl_extraction.errors import InputError\n"
               "raise InputError('no disk; buy one')")


@pytest.mark.parametrize("failing", [0, 1])
def test_the_end_of_one_ends_all_with_its_reason(failing):
  waits = "hosts.wait()\nhosts.wait()"
  bodies = [waits, waits, waits]
  bodies[failing] = INPUT_ERROR
  ends = run(*bodies)
  others = [end for number, end in enumerate(ends) if number != failing]
  reason = f"error: process {failing}: no disk; buy one\n"
  assert others == [(2, "", reason)] * 2
  # Its own command says why; here it is Python, and in time.
  assert ends[failing][0] == 2
  assert ends[failing][2].endswith("InputError: no disk; buy one\n")


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others(killed):
  waits = "hosts.wait()"
  bodies = [waits, waits]
  bodies[killed] = "os.kill(os.getpid(), 9)"
  ends = run(*bodies)
  assert ends[killed][0] == -9
  assert ends[1 - killed] == (
      2, "", f"error: process {killed}: it is gone; see what it said, then run "
      "the same command again on all hosts to go on\n")


def test_a_defect_keeps_its_traceback_and_its_status():
  ends = run("hosts.wait()", "raise KeyError('here')")
  assert [end[0] for end in ends] == [1, 1]
  assert "KeyError: 'here'" in ends[1][2]
  assert ends[0][2].startswith("error: process 1: failed (KeyError: 'here')")


def test_an_interruption_reaches_a_process_that_waits():
  address = f"localhost:{host_commands.free_port()}"
  first = start(0, "print('met', flush=True)\nhosts.wait()", address)
  other = start(1, "time.sleep(60)", address)
  assert first.stdout and first.stdout.readline() == "met\n"
  time.sleep(0.2)
  first.send_signal(2)
  ends = host_commands.finish(first, other)
  assert [end[0] for end in ends] == [130, 130]
  assert ends[1][2] == ("error: process 0: interrupted; run the same command "
                        "again on all hosts to go on\n")


def refusal(*arguments, **options):
  with pytest.raises(InputError) as caught:
    meeting.Rendezvous.of(*arguments, **{
        "detect": False, "seconds": 1, **options})
  assert "\n" not in str(caught.value)
  return str(caught.value)


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
  assert refusal(*flags).startswith(message)


def test_without_flags_there_is_one_process():
  alone = meeting.Rendezvous.of(None, None, None, False, 1)
  assert alone.connect("").count == 1
  with Hosts() as hosts:
    hosts.wait()
    assert (hosts.share(3), hosts.first, hosts.count) == (3, True, 1)


def test_multihost_outside_of_a_cluster(monkeypatch):
  for name in [name for name in os.environ if name.startswith("SLURM")]:
    monkeypatch.delenv(name)
  assert refusal(None, None, None, detect=True).startswith(
      "--multihost finds no coordinator_address: this is no TPU pod")


def test_multihost_reads_slurm(monkeypatch):
  for name, value in {
      "JOB_ID": "7", "STEP_NODELIST": "node[3-4]", "NTASKS": "2", "PROCID": "1",
      "LOCALID": "0"}.items():
    monkeypatch.setenv(f"SLURM_{name}", value)
  found = meeting.Rendezvous.of(None, None, None, True, 5)
  assert (found.count, found.index) == (2, 1)
  assert found.address and found.address.startswith("node3:")


def meet(index, address, count=2, seconds=1, about=""):
  try:
    meeting.Rendezvous(address, count, index, seconds).connect(about)
  except InputError as error:
    return str(error)
  raise AssertionError("they have met")


def test_nobody_answers():
  address = f"localhost:{host_commands.free_port()}"
  begun = time.monotonic()
  assert meet(1, address).startswith(
      f"nobody answers at {address} within 1 s (Connection refused); start the "
      "same command with --process_id=0 there")
  assert time.monotonic() - begun < 30


def test_some_do_not_come():
  address = f"localhost:{host_commands.free_port()}"
  assert meet(0, address, count=3).startswith(
      f"process 1 did not come to {address} within 1 s (2 of 3 are missing); "
      "start")


def test_an_address_of_another_host_or_in_use():
  assert meet(0, "192.0.2.1:8476").startswith(
      "process 0 cannot listen at 192.0.2.1:8476 (")
  with socket.create_server(("127.0.0.1", 0)) as taken:
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert "Address already in use" in meet(0, address)


def test_something_else_answers():
  with socket.create_server(("127.0.0.1", 0)) as server:
    def answer():
      connection, _ = server.accept()
      connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
      connection.close()

    threading.Thread(target=answer, daemon=True).start()
    address = f"127.0.0.1:{server.getsockname()[1]}"
    assert meet(1, address).startswith(
        f"what answers at {address} is no process 0")


@pytest.mark.parametrize(("hello", "message"), [
    ({"index": 1, "count": 3, "about": ""},
     "--num_processes is 3 in process 1 and 2 in process 0; give all the same"),
    ({"index": 0, "count": 2, "about": ""},
     "two processes have --process_id=0; number them from 0 to 1"),
    ({"index": 1, "count": 2, "about": "wsl_extraction 0"},
     "process 1 runs wsl_extraction 0, process 0 runs "),
])
def test_processes_that_do_not_fit(hello, message):
  port, said = host_commands.free_port(), []
  first = threading.Thread(target=lambda: said.append(
      meet(0, f"127.0.0.1:{port}", seconds=20)))
  first.start()
  for line in ('GET / HTTP/1.1\n{"index": 1}\n', json.dumps(hello) + "\n"):
    connection = connected(port)
    connection.sendall(line.encode())  # first a stranger, who is ignored
    if line[0] == "{":
      answer = json.loads(connection.makefile().readline())
    connection.close()
  first.join(30)
  assert said[0].startswith(message)
  assert answer == {"failed": [0, 2, said[0]]}


def connected(port):
  end = time.monotonic() + 20
  while True:
    try:
      return socket.create_connection(("127.0.0.1", port))
    except OSError:
      assert time.monotonic() < end
      time.sleep(0.02)
