"""Elements made ahead, in processes and in threads."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator

import cloudpickle
import grain
import numpy as np
import psutil
import pytest

from fixtures.grain_flags import parsed_flags  # noqa: F401
from fixtures.image_files import ROOT, refused
from wsl_extraction.errors import InputError
from wsl_extraction.runtime import workers

# Its classes would else have to be importable where elements are made.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


pytestmark = pytest.mark.usefixtures("parsed_flags")
SLOW = pytest.mark.slow


class Elements:

  def __init__(self, make, count=12):
    self.make, self.count = make, count

  def __len__(self):
    return self.count

  def __getitem__(self, step):
    return self.make(step)


def children(pid=None):
  return [child for child in psutil.Process(pid).children()
          if "spawn_main" in " ".join(child.cmdline())]


def batch(step):
  rng = np.random.default_rng(step)
  return {"labeled": rng.integers(0, 256, (3, 8, 8, 3), np.uint8),
          "step": np.int64(step), "empty": np.zeros((0, 2), np.float32)}


@pytest.mark.parametrize("count", [
    0, 2, pytest.param(1, marks=SLOW), pytest.param(3, marks=SLOW)])
def test_element_i_is_that_of_step_i(count):
  made = list(workers.read_ahead(Elements(batch), count))
  assert len(made) == 12
  for step, element in enumerate(made):
    expected = batch(step)
    assert element.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(element[name], array)
      assert element[name].dtype == array.dtype
    element["labeled"] += 1  # callers may write
  assert not children()


def test_grain_data_sets_and_any_start():
  dataset = grain.MapDataset.range(20).map(lambda i: {"i": np.array(i)})
  made = workers.read_ahead(dataset[7:15], 2)
  assert [int(element["i"]) for element in made] == list(range(7, 15))


def test_no_more_is_made_than_was_asked_for_ahead():
  made = []
  stream = workers.read_ahead(Elements(lambda i: made.append(i) or i), 0, 1)
  assert isinstance(stream, Generator)
  next(stream)
  assert len(made) <= workers.default() + 1
  stream.close()


def test_processes_start_no_backend():
  """Grain itself imports jax, but looks for no device."""
  def make(step):
    import os
    import sys

    from jax._src import xla_bridge

    from wsl_extraction.data import lazy_datasets  # noqa: F401
    from wsl_extraction.data.images import lazy_images  # noqa: F401
    return (sorted({"keras", "tensorflow", "torch"} & set(sys.modules)),
            xla_bridge.backends_are_initialized(), os.environ["JAX_PLATFORMS"],
            os.environ["CUDA_VISIBLE_DEVICES"])
  assert next(workers.read_ahead(Elements(make), 1)) == ([], False, "cpu", "")


def test_several_processes_take_part_and_keep_the_order(capfd):
  """And what they print does no harm."""
  def make(step):
    import os
    import time
    print("loud", flush=True)
    time.sleep(0.1 * (step % 3 == 0))
    return step, os.getpid()
  steps, processes = zip(
      *workers.read_ahead(Elements(make), 2), strict=True)
  assert steps == tuple(range(12))
  assert len(set(processes)) == 2 and os.getpid() not in processes
  assert capfd.readouterr() == ("", 12 * "loud\n")


@pytest.mark.parametrize("count", [0, 2])
def test_errors_come_where_their_element_would(count):
  def make(step):
    if step == 3:
      raise InputError("p.jpg is not an image; remove it")
    return step
  stream = workers.read_ahead(Elements(make), count)
  assert [next(stream) for _ in range(3)] == [0, 1, 2]
  with refused("p.jpg is not an image") as _:
    next(stream)
  assert not children()


def test_errors_that_cannot_be_copied_keep_their_words():
  class Odd(Exception):
    def __init__(self, one, two):
      super().__init__(f"{one} and {two}")

  def make(step):
    raise Odd("this", "that")
  with pytest.raises(RuntimeError, match="Odd: this and that") as caught:
    next(workers.read_ahead(Elements(make), 1))
  assert "in make" in caught.value.__notes__[0]


def test_killed_process_is_named():
  stream = workers.read_ahead(Elements(lambda step: step, 1000), 1)
  next(stream)
  children()[0].kill()
  with refused("a process that reads images ended", "give fewer workers"):
    for _ in stream:
      pass
  assert not children()


def test_leaving_early_ends_processes_and_threads():
  before = threading.active_count()
  stream = workers.read_ahead(Elements(batch, 1000), 2)
  assert isinstance(stream, Generator)
  next(stream)
  assert len(children()) == 2
  stream.close()
  assert not children()
  # grain keeps one that gives shared memory back, in a pool with three more.
  assert threading.active_count() <= before + 4


_PROGRAM = """
import time
import numpy as np
from absl import flags
from collections.abc import Generator
from wsl_extraction.runtime import workers
class Elements:
  def __len__(self): return 1000
  def __getitem__(self, step): return np.zeros(1 << 21, np.uint8)
if __name__ == "__main__":
  flags.FLAGS.mark_as_parsed()
  stream = workers.read_ahead(Elements(), 2)
  next(stream)
  print("started", flush=True)
  time.sleep(60)
"""


def shared_memory():
  """The segments of Python's processes."""
  return list(pathlib.Path("/dev/shm").glob("psm_*"))


@pytest.mark.parametrize("number", [
    signal.SIGKILL, pytest.param(signal.SIGINT, marks=SLOW)])
def test_processes_end_with_their_program(number):
  before = set(shared_memory())
  program = subprocess.Popen(
      [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
  with program:
    assert program.stdout and program.stdout.readline() == b"started\n"
    assert len(children(program.pid)) == 2
    found = psutil.Process(program.pid).children()
    program.send_signal(number)
  _, alive = psutil.wait_procs(found, timeout=10)
  assert not alive
  assert set(shared_memory()) <= before


@pytest.mark.parametrize(("wrong", "words"), [
    ({"workers": -1}, "workers is -1"), ({"workers": 1.5}, "workers is 1.5"),
    ({"workers": True}, "workers is True"), ({"ahead": 0}, "ahead is 0"),
])
def test_arguments_are_checked_at_once(wrong, words):
  with refused(words):
    workers.read_ahead(Elements(batch), **wrong)


def test_default_leaves_one_cpu():
  count = workers.default()
  assert count == max(1, len(os.sched_getaffinity(0)) - 1)


@SLOW
def test_large_elements_pass():
  def make(step):
    return np.full((1 << 22,), step, np.uint8)
  started = time.monotonic()
  made = list(workers.read_ahead(Elements(make, 6), 2))
  assert [int(array[-1]) for array in made] == list(range(6))
  assert time.monotonic() - started < 60
