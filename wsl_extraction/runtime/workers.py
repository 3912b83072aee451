"""Elements of a data set made ahead of time, by grain's processes or threads.

The processes are Python's own interpreter, started anew. They import what the
elements need, start no backend, leave accelerators and Ctrl-C to the program,
and end when it ends, however it does.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import cloudpickle
import grain

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.runtime.engines.shares import available_cpus

# Each worker makes its elements one after the other. Measured beside threads in
# it and other sizes: benchmarks/pipeline.py.
_ONE_BY_ONE = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
# Arrays from this size on go through shared memory. What goes through a pipe
# must fit into it: else a process that is told to end waits until it is killed.
_SHARED_BYTES = 1 << 12


def default() -> int:
  """Returns how many processes may work: a CPU less than there are."""
  return max(1, available_cpus() - 1)


def read_ahead(elements: Any, workers: int | None = None,
               ahead: int = 2) -> Iterator[Any]:
  """Yields all elements in order, made by several processes.

  Element i is `elements[i]` whatever the number of workers. To start at a step
  give `elements[step:]`. grain reads flags of its own, so with processes absl's
  must have been parsed, as those of a command are.

  Args:
    elements: What has `len` and can be indexed, such as a grain `MapDataset`.
      With processes it is copied to each once, by cloudpickle, and one element
      is made as a whole by one of them.
    workers: How many processes; None takes `default()`, 0 makes the elements
      in threads of this process.
    ahead: How many elements for each worker are in the making or wait.

  Raises:
    InputError: `workers` or `ahead` cannot be; a process ended unexpectedly.
    Exception: What making an element raises, with its traceback as a note.
  """
  workers = default() if workers is None else workers
  checks.whole("workers", workers)
  checks.whole("ahead", ahead, 1)
  return _read_ahead(elements, workers, ahead)


def _read_ahead(elements: Any, workers: int, ahead: int) -> Iterator[Any]:
  attempts = grain.MapDataset.source(_Attempts(elements, bool(workers)))
  if workers:
    made = iter(grain.experimental.WithOptionsIterDataset(
        attempts.to_iter_dataset(_ONE_BY_ONE),
        grain.experimental.DatasetOptions(min_shm_size=_SHARED_BYTES),
    ).mp_prefetch(
        # A worker makes one more while these wait.
        grain.MultiprocessingOptions(workers, max(1, ahead - 1)), _begin))
  else:
    threads = default()
    made = iter(attempts.to_iter_dataset(
        grain.ReadOptions(threads, threads * ahead)))
  try:
    for result, trace in made:
      if trace is None:
        yield result
      else:
        error = pickle.loads(result) if workers else result
        if workers:
          error.add_note(trace)
        raise error
  except RuntimeError as error:
    if "terminated unexpectedly" not in str(error):
      raise
    raise InputError(
        f"a process that reads images ended ({_ending(error)}), perhaps for "
        "lack of memory; give fewer workers") from error
  finally:
    made.close()


def _ending(error: RuntimeError) -> str:
  return str(error).split("unexpectedly with ")[-1].split(".")[0]


class _Attempts:
  """Elements, or errors in their place: those come in order as well.

  An element is a pair of it and None, or of an error and its traceback.
  """

  def __init__(self, elements: Any, is_copied: bool):
    self._elements, self._is_copied = elements, is_copied

  def __len__(self) -> int:
    return len(self._elements)

  def __getitem__(self, step: int) -> tuple[Any, str | None]:
    try:
      return self._elements[step], None
    except Exception as error:
      trace = traceback.format_exc()
      return (_copied(error) if self._is_copied else error), trace


def _copied(error: Exception) -> bytes:
  error = error.with_traceback(None)
  try:
    frame = cloudpickle.dumps(error)
    pickle.loads(frame)
  except Exception:
    frame = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
  return frame


def _begin(index: int, count: int) -> None:
  """Sets up a process before it makes elements."""
  del index, count
  # Ctrl-C reaches all of a terminal's processes; the program decides.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # What libraries print must not get into the program's output.
  os.dup2(2, 1)
  os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
  threading.Thread(target=_end_with_program, daemon=True).start()


def _end_with_program() -> None:
  program = multiprocessing.parent_process()
  if program is not None:
    program.join()
    os._exit(1)
