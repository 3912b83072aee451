"""The choice of Keras' backend, its start, and its environment.

All of this acts before Keras is imported for the first time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import pathlib
import sys

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import devices, files, silence_logs

BACKENDS = ("tensorflow", "jax", "torch")

_DEFAULTS = {
    # On CPUs TensorFlow otherwise maps and unmaps memory at every step, and
    # leaves oneDNN off on some processors: together they cost more than half
    # the speed (benchmarks/tensorflow_cpu.py).
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Torch's threads wait for each other at the end of every operation, by GNU
    # OpenMP's default in a loop of 300,000 rounds. Where other programs use the
    # cores too, that costs most of the speed (benchmarks/student_fit.py). It
    # would overrule OMP_WAIT_POLICY.
    "GOMP_SPINCOUNT": "10000",
    # Warnings and errors, no information, which it gives in mid-training too.
    "TF_CPP_MIN_LOG_LEVEL": "1",
}
# Asked before jax is imported, which sets it for itself.
_SILENT = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") != "0"


def set_environment_defaults() -> None:
  """Sets what helps on CPUs, unless the user has set it."""
  for name, value in _DEFAULTS.items():
    if name != "GOMP_SPINCOUNT" or "OMP_WAIT_POLICY" not in os.environ:
      os.environ.setdefault(name, value)
  try:
    pathlib.Path.home()
  except RuntimeError:  # these would make a folder that is called "~", or warn
    for name, folder in (("KERAS_HOME", ".keras"),
                         ("MPLCONFIGDIR", ".matplotlib")):
      os.environ.setdefault(name, str(files.in_home(folder)))


def check_backend() -> None:
  """Makes sure that Keras' backend can be imported, before Keras tries to.

  Raises:
    InputError: It is unknown or not installed.
  """
  name = chosen()
  if name not in BACKENDS:
    raise InputError(f"KERAS_BACKEND is {name!r}; set it to one of "
                     f"{', '.join(BACKENDS)}")
  if importlib.util.find_spec(name) is None:
    raise InputError(f"the backend {name!r} is not installed; install it, or "
                     "set KERAS_BACKEND to another of "
                     f"{', '.join(BACKENDS)}")


def check_hosts() -> None:
  """Makes sure that several processes can train as one.

  Raises:
    InputError: The backend is not jax.
  """
  check_backend()
  name = chosen()
  if name != "jax":
    raise InputError(f"several hosts train together on jax alone, this is "
                     f"{name}; set KERAS_BACKEND=jax")


def start_backend() -> None:
  """Imports the backend and finds its devices, without its chatter.

  TensorFlow greets the standard error with a dozen lines that no setting
  silences (tensorflow/tensorflow issue 100442), so it is turned away
  meanwhile. TF_CPP_MIN_LOG_LEVEL=0 shows them.

  Raises:
    InputError: The backend is unknown, not installed or does not start.
  """
  check_backend()
  if _SILENT:
    # Keras on another backend imports TensorFlow to save or load a model.
    silence_logs.SilentImport.install()
    # It warns of each model that is new, of which rounds have one each.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
  with (silence_logs.silenced(sys.stderr) if _SILENT
        else contextlib.nullcontext()):
    try:
      devices.names()
    except ImportError as error:
      raise InputError(f"the backend cannot be imported ({error}); install it "
                       "anew or set KERAS_BACKEND to another") from error


def hide_accelerators() -> None:
  """Hides them from this process, which would take their memory from others.

  Before a backend is imported.
  """
  os.environ |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def compute_elsewhere() -> None:
  """Prepares a process that describes networks, and has others compute.

  It sees no accelerators, and takes jax where it is installed: that needs half
  of the 0.8 GiB that TensorFlow takes before it does anything. Before a backend
  is imported.
  """
  hide_accelerators()
  if "keras" not in sys.modules and importlib.util.find_spec("jax"):
    os.environ["KERAS_BACKEND"] = "jax"


def title() -> str:
  """The name of the backend as its makers write it."""
  return {"tensorflow": "TensorFlow", "jax": "JAX",
          "torch": "PyTorch"}[chosen()]


def chosen() -> str:
  """The name of the backend that Keras takes, or would take."""
  if name := os.environ.get("KERAS_BACKEND"):
    return name
  home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
  path = pathlib.Path(os.path.expanduser(home), "keras.json")
  try:
    return json.loads(path.read_text()).get("backend", "tensorflow")
  except (OSError, ValueError):
    return "tensorflow"
