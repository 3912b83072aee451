"""`train` as several processes on one machine, which believe to be hosts."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np

import commands
from stopped_commands import PARTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 240.0  # seconds for a process; enough on a machine that is busy
STEPS, EVERY = 24, 2

GIN = f"""
from __gin__ import dynamic_registration

import host_parts
import keras
from wsl_extraction import experiment
from wsl_extraction.attacks.learning import learning
from wsl_extraction.data import split
from wsl_extraction.training import augment
from wsl_extraction.objectives import distillation
from wsl_extraction.objectives import rotation
from wsl_extraction.strategies import uncertainty
from wsl_extraction.victims import function

experiment.Experiment.dataset = "digits"
experiment.Experiment.split = @split.Split()
experiment.Experiment.budget = 40
experiment.Experiment.victim = @function.Function()
experiment.Experiment.attack = @learning.Learning()
function.Function.function = @host_parts.slow
split.Split.private = 10
split.Split.pool = 100
split.Split.test = 50
augment.Augment.shift = 1
keras.optimizers.SGD.learning_rate = 0.05
keras.optimizers.SGD.momentum = 0.9
keras.optimizers.SGD.use_ema = True
keras.optimizers.SGD.ema_momentum = 0.9
learning.Learning.network = @host_parts.network
learning.Learning.optimizer = @keras.optimizers.SGD
learning.Learning.augment = @augment.Augment
learning.Learning.objective = @rotation.Rotation()
rotation.Rotation.base = @distillation.Distillation()
learning.Learning.steps = {STEPS}
learning.Learning.batch_size = 16
learning.Learning.unlabeled_batch_size = 8
learning.Learning.checkpoint_every = {EVERY}
"""


def prepare(folder: pathlib.Path) -> None:
  """Writes what the commands in this folder read."""
  (folder / "host_parts.py").write_text(PARTS)
  (folder / "hosts.gin").write_text(GIN)


def free_port() -> int:
  with socket.create_server(("localhost", 0)) as server:
    return server.getsockname()[1]


def start(folder: pathlib.Path, run: str, *arguments: str,
          **changes: str) -> subprocess.Popen[str]:
  """Starts `train` on the experiment above, in the run folder `run`."""
  return subprocess.Popen(
      [sys.executable, "-m", "wsl_extraction.train", "--gin_file=hosts.gin",
       f"--workdir={run}", "--cache_dir=cache", *arguments],
      cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True,
      env=commands.environment(
          folder, PYTHONWARNINGS="", VICTIM_LOG=str(folder / f"{run}.log"),
          **changes))


def start_hosts(folder: pathlib.Path, run: str, *arguments: str,
                others: tuple[str, ...] = ()) -> list[subprocess.Popen[str]]:
  """Starts two processes, the second with `others` in addition."""
  address = f"--coordinator_address=localhost:{free_port()}"
  return [start(folder, run, address, "--num_processes=2",
                f"--process_id={index}", *arguments,
                *(others if index else ())) for index in range(2)]


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
  """Waits for their end; gives status, output and errors of each."""
  try:
    ends = [process.communicate(timeout=PATIENCE) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(process.returncode, *end)
          for process, end in zip(processes, ends, strict=True)]


def kill_after(steps: int, folder: pathlib.Path, run: str,
               *processes: subprocess.Popen[str]) -> None:
  """Kills them all once the run folder records `steps` steps."""
  end = time.monotonic() + PATIENCE
  try:
    while not (found := losses(folder / run)) or max(found) < steps:
      assert time.monotonic() < end, "it did not come that far"
      for process in processes:
        assert process.poll() is None, ("it ended", *process.communicate())
      time.sleep(0.005)
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def losses(run: pathlib.Path) -> dict[int, float]:
  """The recorded loss by step, as far as whole lines go."""
  path = run / "metrics.jsonl"
  lines = path.read_text().split("\n")[:-1] if path.exists() else []
  return {record["step"]: record["loss"] for record in map(json.loads, lines)}


def weights(run: pathlib.Path) -> list[np.ndarray]:
  """All that the checkpoint holds, in its order."""
  with np.load(run / "checkpoint.npz") as saved:
    return [saved[name] for name in saved.files if name != "backend"]


def assert_same_training(one: pathlib.Path, other: pathlib.Path) -> None:
  """Equal losses at all steps to 1e-4, and equal weights at the end."""
  expected, found = losses(one), losses(other)
  assert list(expected) == list(range(EVERY, STEPS + 1, EVERY))
  assert list(found) == list(expected)
  np.testing.assert_allclose(
      list(found.values()), list(expected.values()), rtol=1e-4)
  for old, new in zip(weights(one), weights(other), strict=True):
    np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-4)
