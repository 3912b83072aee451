"""The commands `label` and `train` as processes to be interrupted.

A process is stopped when the disk shows that it is where it is wanted, looked
at again while it stands still, and only then sent its signal: so it is known
what the signal hits, however slow the machine is.
"""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

POOL, BATCH = 600, 10
BUDGET = 96
VICTIM_STEPS, STEPS, EVERY = 60, 120, 2
PATIENCE = 240.0  # seconds for a process; enough on a machine that is busy

# What gin names: a surrogate with everything that a checkpoint must hold, and
# a victim that takes its time, writes down what it is asked, and answers a
# question in the same way always.
PARTS = """
import os
import time

import keras
import numpy as np
from keras import layers


def network(input_shape, num_classes, value_range, seed):
  weights = keras.initializers.GlorotUniform(seed=seed)
  images = keras.Input(input_shape)
  x = layers.Flatten()(layers.Rescaling(1 / value_range[1])(images))
  x = layers.Dense(8, kernel_initializer=weights)(x)
  x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
  x = layers.Dropout(0.1, seed=seed)(x)
  return keras.Model(
      images, layers.Dense(num_classes, kernel_initializer=weights)(x))


def slow(images):
  with open(os.environ["VICTIM_LOG"], "a") as log:
    log.write(f"{len(images)}\\n")
  time.sleep(0.02)
  weights = np.random.default_rng(0).normal(size=(images[0].size, 10))
  scores = np.exp(images.reshape(len(images), -1) @ weights / 50)
  return scores / scores.sum(axis=1, keepdims=True)
"""

COMMON = f"""
from __gin__ import dynamic_registration

import interrupted_parts
import keras
from wsl_extraction import experiment
from wsl_extraction.attacks.learning import learning
from wsl_extraction.data import split
from wsl_extraction.training import augment
from wsl_extraction.objectives import distillation
from wsl_extraction.objectives import rotation
from wsl_extraction.victims import function
from wsl_extraction.victims import trained

experiment.Experiment.dataset = "digits"
experiment.Experiment.split = @split.Split()
split.Split.private = 300
split.Split.pool = {POOL}
split.Split.test = 100
augment.Augment.shift = 1
keras.optimizers.Adam.learning_rate = 0.01
keras.optimizers.SGD.learning_rate = 0.05
keras.optimizers.SGD.momentum = 0.9

experiment.Experiment.attack = @learning.Learning()
learning.Learning.network = @interrupted_parts.network
learning.Learning.optimizer = @keras.optimizers.Adam
learning.Learning.augment = @augment.Augment
learning.Learning.objective = @rotation.Rotation()
rotation.Rotation.base = @distillation.Distillation()
learning.Learning.steps = {STEPS}
learning.Learning.batch_size = 16
learning.Learning.unlabeled_batch_size = 8
learning.Learning.query_batch_size = 4
learning.Learning.checkpoint_every = {EVERY}
"""

LABEL = COMMON + """
experiment.Experiment.victim = @function.Function()
function.Function.function = @interrupted_parts.slow
"""

TRAIN = COMMON + f"""
experiment.Experiment.budget = {BUDGET}
experiment.Experiment.victim = @trained.Trained()
trained.Trained.network = @interrupted_parts.network
trained.Trained.optimizer = @keras.optimizers.SGD
trained.Trained.augment = @augment.Augment
trained.Trained.steps = {VICTIM_STEPS}
trained.Trained.batch_size = 16
trained.Trained.checkpoint_every = {EVERY}
"""


def prepare(folder):
  """Writes what the commands in folders below this one read."""
  (folder / "interrupted_parts.py").write_text(PARTS)
  (folder / "label.gin").write_text(LABEL)
  (folder / "train.gin").write_text(TRAIN)


@dataclasses.dataclass(frozen=True)
class Command:
  """`label` or `train`, with all that it reads and writes in `folder`."""

  folder: pathlib.Path
  backend: str
  program: str
  arguments: tuple[str, ...] = ()

  @property
  def run(self):
    return self.folder / "run"

  @property
  def store(self):
    return self.run / "responses.sqlite"

  def start(self):
    self.folder.mkdir(exist_ok=True)
    own = ([f"--workdir={self.run}"] if self.program == "train" else
           [f"--output={self.store}", f"--batch_size={BATCH}"])
    parent = self.folder.parent
    paths = [str(parent), str(pathlib.Path(__file__).parent.parent)]
    return subprocess.Popen(
        [sys.executable, "-m", f"wsl_extraction.{self.program}", *own,
         f"--gin_file={self.program}.gin", f"--cache_dir={self.folder}",
         *self.arguments],
        cwd=parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KERAS_BACKEND": self.backend,
             "VICTIM_LOG": str(self.folder / "victim.log"),
             "PYTHONPATH": os.pathsep.join(paths)})

  def finish(self):
    """Runs it to its end; gives what it printed."""
    with self.start() as process:
      try:
        out, err = process.communicate(timeout=PATIENCE)
      finally:
        process.kill()
    assert process.returncode == 0, err
    return out

  def hit(self, moment, pause, blow=signal.SIGKILL):
    """Sends the signal `blow` to the running command at `moment(self)`.

    Args:
      moment: Tells from the disk whether it is time.
      pause: Seconds to let pass then; it must still be time after them.
      blow: The signal.

    Returns:
      The exit status and the standard error.
    """
    before = self._traces()
    with self.start() as process:
      try:
        end = time.monotonic() + PATIENCE
        while not self._stands_at(process, moment, pause) or (
            # Its own work must have begun: what an earlier one left may be at
            # the moment already, and Python that starts knows no Ctrl-C yet.
            blow == signal.SIGINT and self._traces() == before):
          process.send_signal(signal.SIGCONT)
          assert process.poll() is None, (
              "it ended before its moment", *process.communicate())
          assert time.monotonic() < end, "the moment did not come"
          time.sleep(0.0005)
        process.send_signal(blow)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=PATIENCE)
      finally:
        process.kill()
    return process.returncode, err

  def _traces(self):
    """What changes with each checkpoint, and with each batch asked."""
    paths = (self.run / "checkpoint.npz", self.folder / "victim.log")
    return [path.stat().st_mtime_ns for path in paths if path.exists()]

  def _stands_at(self, process, moment, pause):
    if not moment(self):
      return False
    time.sleep(pause)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if moment(self):
      return True
    process.send_signal(signal.SIGCONT)
    return False
