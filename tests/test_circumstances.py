"""What the input cannot help: Ctrl-C, closed pipes, locks, full disks."""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import time

import pytest

from fixtures import commands
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files


@pytest.fixture(name="shared", scope="module")
def fixture_shared(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shared")
  commands.write_modules(folder)
  return folder


@pytest.mark.parametrize("name, place, binding", [
    # While modules are imported, and while the victim answers.
    ("train", "--workdir=new/run", "import slow_import"),
    ("label", "--output=new.sqlite",
     "function.Function.function = @numpy_victim.slow"),
])
def test_an_interrupt_ends_in_one_line(tmp_path, shared, name, place, binding):
  process = subprocess.Popen(
      commands.interruptible(commands.command(
          name, f"--gin_file={shared / 'base.gin'}", place,
          f"--gin_bindings={binding}")),
      cwd=tmp_path, env=commands.environment(shared), text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  deadline = time.monotonic() + 120
  while not (tmp_path / "waiting").exists():
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  stdout, stderr = process.communicate(timeout=60)
  assert (process.returncode, stdout) == (130, "")
  assert stderr == "interrupted; run the same command again to go on\n"
  left = {path.name for path in tmp_path.iterdir()} - {"waiting"}
  assert left <= {"new.sqlite"}  # empty, and taken up by the next run


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path, shared):
  reading, writing = os.pipe()
  os.close(reading)
  try:
    done = subprocess.run(
        commands.command("train", "--help"), stdout=writing, text=True,
        stderr=subprocess.PIPE, env=commands.environment(shared), timeout=60,
        check=False)
  finally:
    os.close(writing)
  assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_standard_output_is_named(shared):
  with open("/dev/full", "w") as full:
    done = subprocess.run(
        commands.command("train", "--help"), stdout=full, text=True,
        stderr=subprocess.PIPE, env=commands.environment(shared), timeout=60,
        check=False)
  assert done.returncode == 2
  assert done.stderr == (
      "error: cannot write to the standard output: No space left on device; "
      "send it elsewhere\n")


def test_a_run_folder_in_use_is_left_alone(tmp_path, shared):
  folder = tmp_path / "run"
  folder.mkdir()
  with open(folder / ".lock", "w") as lock:
    lock.write("12345\n")
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = commands.run(
        commands.command("train", f"--gin_file={shared / 'base.gin'}",
                         "--workdir=run"), tmp_path,
        commands.environment(shared))
  assert (done.status, done.stdout) == (2, "")
  assert done.stderr == (
      "error: run is in use by process 12345; wait until it ends, or choose "
      "another --workdir\n")
  assert done.after == done.before


@pytest.mark.parametrize("backend, said", [
    ("tensorflow", "Experiment.budget is 0"),
    ("torch", "the backend 'torch' is not installed"),
])
def test_backends_do_not_add_to_the_line(tmp_path, shared, backend, said):
  if backend == "torch" and not _missing("torch"):
    pytest.skip("torch is installed")
  done = commands.run(
      commands.command(
          "train", f"--gin_file={shared / 'base.gin'}", "--workdir=new",
          "--gin_bindings=experiment.Experiment.budget = 0"), tmp_path,
      commands.environment(shared, KERAS_BACKEND=backend), cold=True)
  assert (done.status, done.stdout, done.after) == (2, "", {})
  assert done.stderr.startswith(f"error: {said}")
  assert done.stderr.count("\n") == 1


def _missing(package: str) -> bool:
  import importlib.util

  return importlib.util.find_spec(package) is None


@pytest.fixture(name="small_disk")
def fixture_small_disk(tmp_path):
  """Mounts file systems of so many KiB; root may, elsewhere this is skipped."""
  mounted = []

  def mount(kib: int) -> pathlib.Path:
    path = tmp_path / f"disk{kib}"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(path)]
    try:
      refused = subprocess.run(
          words, capture_output=True, check=False).returncode
    except OSError:
      refused = 1
    if refused:
      pytest.skip("this user may not mount a small file system")
    mounted.append(path)
    return path

  yield mount
  for path in mounted:
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kib, name", [
    (4, "train"),  # has no room for config.gin
    # has room for the responses, not for a checkpoint
    pytest.param(80, "train", marks=pytest.mark.slow),
    (8, "label"),
])
def test_a_full_disk_is_named_and_nothing_is_cut(
    tmp_path, shared, small_disk, kib, name):
  disk = small_disk(kib)
  place = "--workdir" if name == "train" else "--output"
  done = commands.run(
      commands.command(name, f"--gin_file={shared / 'base.gin'}",
                       f"{place}={disk / 'new'}"), tmp_path,
      commands.environment(shared))
  assert (done.status, done.stdout) == (2, ""), done.stderr
  *shown, line = done.stderr.splitlines()
  # Training shows its progress before it comes to a full disk.
  assert all(text.startswith("surrogate  ") for text in shown)
  assert line.startswith("error: ")
  assert "full" in line or "No space left" in line
  assert "free some space, then run the same command again" in line
  kept = {path.name for path in disk.rglob("*") if path.is_file()} - {".lock"}
  if kib < 80:
    assert not kept
    return
  # What was paid for stays, and with more space the same command ends well.
  assert {"config.gin", "responses.sqlite"} <= kept
  assert not any(name.startswith(".") for name in kept)
  subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
  again = commands.run(
      commands.command(name, f"--gin_file={shared / 'base.gin'}",
                       f"{place}={disk / 'new'}"), tmp_path,
      commands.environment(shared))
  assert again.status == 0, again.stderr
  assert "32 charged of a budget of 32" in again.stdout


@pytest.mark.parametrize("number, remedy", [
    (errno.ENOSPC, "free some space"),
    (errno.EROFS, "choose a folder that you may write to"),
])
def test_what_the_system_refuses_leaves_the_old_file(
    tmp_path, monkeypatch, number, remedy):
  """Simulated in this process, where no small disk can be mounted."""
  path = tmp_path / "result.json"
  path.write_text("old")

  def refuse(descriptor):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(os, "fsync", refuse)
  with (pytest.raises(InputError, match=remedy),
        files.atomic_write(path) as temporary):
    temporary.write_text("new")
  assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [
      ("result.json", "old")]
