"""What goes wrong on one of two hosts ends both, with one line."""

from __future__ import annotations

import pytest

from fixtures import host_commands as hosts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("failures")
  hosts.prepare(folder)
  return folder


def test_another_configuration(folder):
  first, other = hosts.finish(*hosts.start_hosts(
      folder, "configured",
      others=("--gin_bindings=surrogate/Recipe.batch_size = 32",)))
  reason = ("process 1 has another configuration than process 0: "
            "surrogate/recipe.Recipe.batch_size is 32 here and 16 there; give "
            "all the same gin files and bindings\n")
  assert first == (2, "", f"error: process 1: {reason}")
  assert other == (2, "", f"error: {reason}")
  assert not (folder / "configured").exists()


def test_more_hosts_than_rows(folder):
  first, other = hosts.finish(*hosts.start_hosts(
      folder, "small", "--gin_bindings=surrogate/Recipe.batch_size = 1"))
  reason = ("Recipe.batch_size is 1, which does not divide among 2 devices "
            "of 2 hosts; give 2, or use fewer devices (--devices, "
            "CUDA_VISIBLE_DEVICES)\n")
  assert first == (2, "", f"error: {reason}")
  assert other == (2, "", f"error: process 0: {reason}")
  assert not (folder / "small.log").exists(), "the oracle was asked"


def test_a_folder_that_the_hosts_do_not_share(folder):
  first, other = hosts.finish(*hosts.start_hosts(
      folder, "apart", others=("--workdir=elsewhere",)))
  reason = ("there is no elsewhere/published on this host, which "
            "process 0 has made; give a --workdir that all hosts share\n")
  assert other == (2, "", f"error: {reason}")
  # Process 0 may have begun to show its progress.
  assert first[:2] == (2, "")
  assert first[2].endswith(f"error: process 1: {reason}")
  assert not (folder / "elsewhere").exists()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_training_of_the_other(killed, folder):
  """And does not leave it waiting. Without process 0, jax may abort it."""
  run = f"killed{killed}"
  pair = hosts.start_hosts(
      folder, run, "--gin_bindings=surrogate/Recipe.steps = 20000")
  victim, other = pair[killed], pair[1 - killed]
  try:
    hosts.kill_after(4, folder, run, victim)
    ((status, _, errors),) = hosts.finish(other)
  finally:
    for process in pair:
      process.kill()
  ours = "error: another process is gone, or cannot be reached ("
  again = "then run the same command again on all hosts to go on\n"
  if killed:
    assert status == 2
    assert ours in errors and again in errors
  else:
    assert status in (2, -6)
    assert ours in errors or (
        "the JAX distributed service detected fatal errors" in errors)
  assert "Traceback" not in errors


@pytest.mark.parametrize(("flags", "message"), [
    (("--num_processes=2",), "--coordinator_address is missing; give all of"),
    (("--coordinator_address=localhost:1", "--num_processes=2",
      "--process_id=7"), "--process_id is 7 of --num_processes 2; give a"),
])
def test_flags_that_cannot_be(flags, message, folder):
  ((status, out, errors),) = hosts.finish(hosts.start(folder, "none", *flags))
  assert (status, out) == (2, "")
  assert errors.startswith(f"error: {message}")
  assert errors.count("\n") == 1
  assert not (folder / "none").exists()


def test_several_hosts_on_another_backend(folder):
  ((status, _, errors),) = hosts.finish(hosts.start(
      folder, "none", "--coordinator_address=localhost:1", "--num_processes=2",
      "--process_id=0", KERAS_BACKEND="tensorflow"))
  assert (status, errors) == (
      2, "error: several hosts train together on jax alone, this is "
      "tensorflow; set KERAS_BACKEND=jax\n")
