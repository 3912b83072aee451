"""Processes that share what one knows, and hear why another ends."""

from __future__ import annotations

import pytest

from fixtures import host_commands
from fixtures.met_hosts import run, start
from wsl_extraction.runtime.hosts import Hosts
from wsl_extraction.runtime.placement import Placement


def test_what_the_first_shares_all_have_and_nobody_passes_early(tmp_path):
  late = f"open({str(tmp_path / 'late')!r}, 'w').close()"
  shares = ("hosts.share({'a': ['ä', hosts.index]}), "
            "hosts.share('b' * 900)[898:]")
  first = f"""
print({shares})
time.sleep(0.5)
{late}
hosts.wait()
"""
  other = f"""
print({shares})
hosts.wait()
print(os.path.exists({str(tmp_path / 'late')!r}))
"""
  shared = "{'a': ['ä', 0]} bb\n"
  assert run(first, other) == [(0, shared, ""), (0, f"{shared}True\n", "")]


WAITS = "hosts.wait()\nhosts.wait()"
DISK = "raise InputError('no disk;\\n buy one')"


def test_the_end_of_one_ends_the_other_with_its_reason():
  first, other = run(WAITS, DISK)
  assert first == (2, "", "error: process 1: no disk; buy one\n")
  assert other[:2] == (2, "")
  assert other[2] == "error: no disk;\n buy one\n"


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_the_end_of_one_of_four_ends_all(failing):
  bodies = [WAITS, WAITS, WAITS, WAITS]
  bodies[failing] = DISK
  ends = run(*bodies)
  del ends[failing]
  assert ends == [
      (2, "", f"error: process {failing}: no disk; buy one\n")] * 3


@pytest.mark.slow
def test_a_defect_keeps_its_traceback_and_its_status():
  ends = run(WAITS, "raise KeyError('here')")
  assert [end[0] for end in ends] == [1, 1]
  assert "KeyError: 'here'" in ends[1][2]
  assert ends[0][2].startswith("error: process 1: failed (KeyError: 'here')")


@pytest.mark.slow
def test_a_killed_process_ends_one_that_waits():
  """The one whom jax's coordinator outlives; else jax may abort it."""
  ends = run(WAITS, "os.kill(os.getpid(), 9)")
  assert ends[1][0] == -9
  assert ends[0][:2] == (2, "")
  assert ends[0][2].startswith(
      "error: another process is gone, or cannot be reached (")
  assert ends[0][2].endswith(
      "see what it said, then run the same command again on all hosts to go "
      "on\n")


@pytest.mark.slow
def test_an_interruption_is_heard_while_waiting_and_ends_all():
  address = f"localhost:{host_commands.free_port()}"
  said = "print('met', flush=True)"
  first = start(0, f"{said}\n{WAITS}", address)
  other = start(1, f"{said}\nhosts.wait()\ntime.sleep(60)\n{WAITS}", address)
  for process in (first, other):
    assert process.stdout and process.stdout.readline() == "met\n"
  other.send_signal(2)
  ends = host_commands.finish(first, other)
  assert ends[1][0] == 130
  # Before the second wait it could tell; inside jax it is only gone.
  assert ends[0][0] in (2, 130)
  assert ends[0][2].startswith("error: ")


@pytest.mark.slow
def test_a_failure_in_a_common_computation_cannot_be_told():
  """The others would take what tells it for a part of the computation."""
  body = """
with hosts.watch(Placement()).scope():
  if hosts.index:
    raise InputError("no disk")
  hosts.wait()
"""
  first, other = run(body, body)
  assert other == (2, "", "error: no disk\n")
  assert first[0] == 2
  assert "another process is gone" in first[2]


@pytest.mark.slow
def test_other_versions_and_other_counts_do_not_go_together():
  address = f"localhost:{host_commands.free_port()}"
  first, other = host_commands.finish(
      start(0, WAITS, address, 2), start(1, WAITS, address, 3))
  reason = ("process 1 runs version 1 of --num_processes 3, process 0 runs "
            "version 1 of --num_processes 2; start the same on all hosts\n")
  assert first == (2, "", f"error: process 1: {reason}")
  assert other == (2, "", f"error: {reason}")


def test_one_process_needs_nobody():
  with Hosts() as hosts:
    hosts.wait()
    assert (hosts.share(3), hosts.first, hosts.count) == (3, True, 1)
    placement = Placement()
    assert hosts.watch(placement) is placement
