"""Elements of a data set made ahead of time, by processes or by threads.

The processes are Python's own interpreter, started anew, and talk through
pipes. So they import nothing but what the elements need (no backend, and not
the program that started them), leave nothing behind, and end when the program
ends, however it does.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import io
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any

import cloudpickle

from wsl_extraction import checks
from wsl_extraction.errors import InputError

_NUMBER = struct.Struct("<q")
_START = "from wsl_extraction.runtime import workers; workers.serve()"
# Linux' largest for users: fewer switches between the two ends of a pipe.
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031


def default() -> int:
  """Returns how many processes may work: a CPU less than there are."""
  if hasattr(os, "sched_getaffinity"):
    return max(1, len(os.sched_getaffinity(0)) - 1)
  return max(1, (os.cpu_count() or 1) - 1)


def read_ahead(elements: Any, workers: int | None = None,
               ahead: int = 2) -> Iterator[Any]:
  """Yields all elements in order, made by several processes.

  Element i is `elements[i]` whatever the number of workers. To start at a step
  give `elements[step:]`.

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
  with contextlib.ExitStack() as stack:
    threads = workers or default()
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    if workers:
      make = stack.enter_context(_Processes(elements, workers)).make
    else:
      make = elements.__getitem__
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    # First of all to be left, lest threads ask processes that have ended.
    stack.callback(_stop, pool, waiting)
    for step in range(len(elements)):
      waiting.append(pool.submit(make, step))
      if len(waiting) >= threads * ahead:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


def _stop(pool: concurrent.futures.Executor,
          waiting: collections.deque[concurrent.futures.Future]) -> None:
  for future in waiting:
    future.cancel()
  pool.shutdown()


class _Processes:
  """Interpreters that make elements; each makes one at a time."""

  def __init__(self, elements: Any, count: int):
    self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = (
        queue.SimpleQueue())
    self._all: list[subprocess.Popen[bytes]] = []
    copied = cloudpickle.dumps(elements)
    try:
      for _ in range(count):
        self._all.append(_started())
      for process in self._all:
        assert process.stdin
        _send(process.stdin, copied)
        process.stdin.flush()
        self._idle.put(process)
    except BaseException:
      self.__exit__()
      raise

  def __enter__(self) -> _Processes:
    return self

  def __exit__(self, *_) -> None:
    for process in self._all:
      process.kill()
    for process in self._all:
      process.wait()
      for pipe in filter(None, (process.stdin, process.stdout)):
        # What is buffered for a process that has ended cannot be written.
        with contextlib.suppress(OSError):
          pipe.close()

  def make(self, step: int) -> Any:
    process = self._idle.get()
    try:
      assert process.stdin and isinstance(process.stdout, io.BufferedReader)
      process.stdin.write(_NUMBER.pack(step))
      process.stdin.flush()
      is_made, result = _receive(process.stdout)
    except (OSError, EOFError) as error:
      raise InputError(
          f"a process that reads images ended (exit status {process.wait()}),"
          " perhaps for lack of memory; give fewer workers") from error
    finally:
      self._idle.put(process)
    if is_made:
      return result
    error, trace = result
    error.add_note(trace)
    raise error


def _started() -> subprocess.Popen[bytes]:
  environment = {
      **os.environ,
      # What this program can import, they can.
      "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
      # They have no business with an accelerator.
      "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu",
  }
  process = subprocess.Popen(
      [sys.executable, "-c", _START], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, env=environment)
  _widen(process.stdout)
  return process


def serve() -> None:
  """Makes elements, as a process that `read_ahead` has started."""
  # Ctrl-C reaches all of a terminal's processes; the one that started this one
  # decides, and its end ends the loop.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  questions = os.fdopen(0, "rb", closefd=False)
  answers = os.fdopen(os.dup(1), "wb")
  # What libraries print must not get among the answers.
  os.dup2(2, 1)
  with contextlib.suppress(EOFError, BrokenPipeError):
    try:
      make = pickle.loads(_take(questions)).__getitem__
    except Exception as error:
      make = _raiser(error)
    while True:
      (step,) = _NUMBER.unpack(_exactly(questions, _NUMBER.size))
      _answer(answers, _attempt(make, step))


def _raiser(error: Exception) -> Callable[[int], Any]:
  def fail(step: int) -> Any:
    raise error
  return fail


def _attempt(make: Callable[[int], Any], step: int) -> tuple[bool, Any]:
  """True and the element, or False with the error and its trace."""
  try:
    return True, make(step)
  except Exception as error:
    trace = traceback.format_exc()
    try:
      pickle.loads(cloudpickle.dumps(error))
    except Exception:
      error = RuntimeError(f"{type(error).__name__}: {error}")
    return False, (error.with_traceback(None), trace)


def _answer(pipe: IO[bytes], result: Any) -> None:
  """Sends an object; its arrays go as they lie in memory."""
  buffers: list[pickle.PickleBuffer] = []
  frame = cloudpickle.dumps(
      result, protocol=5, buffer_callback=buffers.append)
  _send(pipe, frame)
  pipe.write(_NUMBER.pack(len(buffers)))
  for buffer in buffers:
    _send(pipe, buffer.raw())
  pipe.flush()


def _receive(pipe: io.BufferedReader) -> Any:
  frame = _take(pipe)
  (count,) = _NUMBER.unpack(_exactly(pipe, _NUMBER.size))
  return pickle.loads(frame, buffers=[_take(pipe) for _ in range(count)])


def _send(pipe: IO[bytes], frame: bytes | memoryview) -> None:
  pipe.write(_NUMBER.pack(len(frame)))
  pipe.write(frame)


def _take(pipe: io.BufferedReader) -> bytearray:
  (size,) = _NUMBER.unpack(_exactly(pipe, _NUMBER.size))
  return _exactly(pipe, size)


def _exactly(pipe: io.BufferedReader, size: int) -> bytearray:
  frame = bytearray(size)
  view = memoryview(frame)
  while view:
    count = pipe.readinto(view)
    if not count:
      raise EOFError("the pipe was closed")
    view = view[count:]
  return frame


def _widen(pipe: Any) -> None:
  with contextlib.suppress(ImportError, OSError):
    import fcntl

    if sys.platform == "linux":
      fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)
