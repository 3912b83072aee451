"""What the machine runs on, and the settings that suit it.

The only place that asks which backend is in use. Keras is imported inside the
functions, as some of them have to act before its first import.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.metadata
import importlib.util
import json
import logging
import os
import pathlib
import platform
import sys
from collections.abc import Iterator
from typing import Any

from wsl_extraction.errors import InputError

BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")

# On CPUs TensorFlow otherwise maps and unmaps memory at every step, and leaves
# oneDNN off on some processors: together they cost more than half the speed
# (benchmarks/tensorflow_cpu.py).
_DEFAULTS = {
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def set_environment_defaults() -> None:
  """Sets what helps on CPUs, unless the user has set it."""
  for name, value in _DEFAULTS.items():
    os.environ.setdefault(name, value)


def check_backend() -> None:
  """Makes sure that Keras' backend can be imported, before Keras tries to.

  Raises:
    InputError: It is unknown or not installed.
  """
  name = os.environ.get("KERAS_BACKEND") or _configured_backend()
  if name not in BACKENDS:
    raise InputError(f"KERAS_BACKEND is {name!r}; set it to one of "
                     f"{', '.join(BACKENDS)}")
  if importlib.util.find_spec(name) is None:
    raise InputError(f"the backend {name!r} is not installed; install it, or "
                     "set KERAS_BACKEND to another of "
                     f"{', '.join(BACKENDS)}")


def start_backend() -> None:
  """Imports the backend and finds its devices, without its chatter.

  TensorFlow greets the standard error with a dozen lines that no setting
  silences (tensorflow/tensorflow issue 100442), so it is turned away
  meanwhile. Set TF_CPP_MIN_LOG_LEVEL to see them.

  Raises:
    InputError: The backend is unknown, not installed or does not start.
  """
  check_backend()
  # Asked before the backend is imported: jax sets it for itself.
  silent = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
  if silent:
    # Keras on another backend imports TensorFlow to save or load a model.
    sys.meta_path.insert(0, _QuietTensorFlow())
    # It warns of each model that is new, of which rounds have one each.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
  with _quiet() if silent else contextlib.nullcontext():
    try:
      _device_names()
    except ImportError as error:
      raise InputError(f"the backend cannot be imported ({error}); install it "
                       "anew or set KERAS_BACKEND to another") from error


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
  """Keeps TensorFlow quiet whoever imports it, and whenever."""

  def find_spec(self, fullname, path=None, target=None):
    if fullname != "tensorflow":
      return None
    sys.meta_path.remove(self)
    spec = importlib.util.find_spec(fullname)
    if spec and spec.loader:
      execute = spec.loader.exec_module
      spec.loader.exec_module = lambda module: _quiet()(execute)(module)
    return spec


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Turns away what libraries write to the process's standard error."""
  if sys.stderr is None:
    yield
    return
  sys.stderr.flush()
  kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, 2)
  try:
    yield
  finally:
    sys.stderr.flush()
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)


def _configured_backend() -> str:
  home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
  path = pathlib.Path(home).expanduser() / "keras.json"
  try:
    return json.loads(path.read_text()).get("backend", "tensorflow")
  except (OSError, ValueError):
    return "tensorflow"


def jit_compile() -> bool:
  """Whether Keras should compile training steps with XLA here.

  On CPUs TensorFlow's XLA runs convolutions at half the speed of its own
  kernels (benchmarks/tensorflow_cpu.py); torch has no XLA.
  """
  import keras

  backend = keras.backend.backend()
  if backend == "tensorflow":
    return _has_accelerator()
  return backend == "jax"


def set_precision(name: str) -> None:
  """Chooses in what numbers networks compute that are made from now on.

  "mixed_bfloat16" keeps weights, losses and what normalises in float32, and
  computes the rest in bfloat16: about twice as fast on GPUs and TPUs, and no
  faster on CPUs. A network keeps the precision that it was made with, on
  disk too.

  Args:
    name: "float32", "mixed_bfloat16", or "auto" for the one that suits the
      device.

  Raises:
    InputError: There is no such precision.
  """
  import keras

  check_precision(name, "precision")
  if name == "auto":
    name = "mixed_bfloat16" if _has_accelerator() else "float32"
  keras.config.set_dtype_policy(name)


def check_precision(name: str, where: str) -> None:
  """Raises InputError, about the setting `where`, if there is no such one."""
  if name not in PRECISIONS:
    raise InputError(f"{where} is {name!r}; give one of "
                     f"{', '.join(PRECISIONS)}")


def compile_options() -> dict[str, Any]:
  """What Keras' `compile` should be told here, beside the optimizer.

  With several steps in one execution the device need not wait for Python after
  each of them (benchmarks/student_fit.py); Keras offers it on tensorflow and
  jax. The results are the same to the last bit.
  """
  import keras

  several = keras.backend.backend() != "torch"
  return {"jit_compile": jit_compile(),
          "steps_per_execution": 4 if several else 1}


def describe() -> dict[str, Any]:
  """Backend, devices, precision and versions, for the record of a run."""
  import keras

  backend = keras.backend.backend()
  packages = ("wsl-extraction", "keras", backend, "numpy", "grain")
  return {
      "backend": backend,
      "device": f"{', '.join(_device_names())} ({platform.machine()}, "
                f"{os.cpu_count()} cores)",
      "precision": keras.config.dtype_policy().name,
      "versions": {"python": platform.python_version(),
                   **{name: _version(name) for name in packages}},
  }


def _device_names() -> list[str]:
  import keras

  if keras.backend.backend() == "torch":
    # Keras' distribution knows nothing of torch.
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return names or ["cpu:0"]
  return [str(name) for name in keras.distribution.list_devices()]


def _has_accelerator() -> bool:
  return any("cpu" not in name.lower() for name in _device_names())


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"
