"""Device selection, precision, and the settings that suit a backend.

Beside `distribution` the only place that asks which backend is in use. Keras is
imported inside the functions, as some of them have to act before its first
import.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import pathlib
import platform
import sys
from typing import TYPE_CHECKING, Any

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import files, silence_logs

if TYPE_CHECKING:
  import keras

BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")

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
  name = _chosen_backend()
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
  name = _chosen_backend()
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
      names()
    except ImportError as error:
      raise InputError(f"the backend cannot be imported ({error}); install it "
                       "anew or set KERAS_BACKEND to another") from error


def title() -> str:
  """The name of the backend as its makers write it."""
  return {"tensorflow": "TensorFlow", "jax": "JAX",
          "torch": "PyTorch"}[_chosen_backend()]


def _chosen_backend() -> str:
  if name := os.environ.get("KERAS_BACKEND"):
    return name
  home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
  path = pathlib.Path(os.path.expanduser(home), "keras.json")
  try:
    return json.loads(path.read_text()).get("backend", "tensorflow")
  except (OSError, ValueError):
    return "tensorflow"


def jit_compile() -> bool:
  """Returns True if Keras should compile training steps with XLA here.

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


def compile_options(replicas: int = 1) -> dict[str, Any]:
  """The arguments of Keras' `compile` that suit this machine.

  With several steps in one execution the device need not wait for Python after
  each of them (benchmarks/student_fit.py); Keras offers it on tensorflow and
  jax. The results are the same to the last bit.

  Args:
    replicas: The devices of the placement that the model is for.
  """
  import keras

  backend = keras.backend.backend()
  # With `tf.distribute` Keras would have XLA compile what runs on all replicas
  # as if it were for one device, and TensorFlow fails on their exchange inside
  # the loop over several steps.
  mirrored = backend == "tensorflow" and replicas > 1
  return {"jit_compile": jit_compile() and not mirrored,
          "steps_per_execution": 1 if mirrored or backend == "torch" else 4}


def adapt(network: keras.Model) -> None:
  """Fits the layers of a network to the backend, before it is trained.

  On torch, batch normalisation computes with torch's own kernel, where Keras
  takes eight (benchmarks/student_fit.py). Weights and files stay the same.

  Args:
    network: A network, or a student around one.
  """
  import keras

  if keras.backend.backend() == "torch":
    from wsl_extraction.runtime import torch_batch_norm

    torch_batch_norm.fuse(network)


def describe() -> dict[str, Any]:
  """Backend, devices, precision and versions, for the record of a run."""
  import keras

  backend = keras.backend.backend()
  packages = ("wsl-extraction", "keras", backend, "numpy", "grain")
  return {
      "backend": backend,
      "device": f"{', '.join(names())} ({platform.machine()}, "
                f"{os.cpu_count()} cores)",
      "precision": keras.config.dtype_policy().name,
      "versions": {"python": platform.python_version(),
                   **{name: _version(name) for name in packages}}}


def names() -> list[str]:
  """The devices that the backend sees, as it calls them."""
  import keras

  if keras.backend.backend() == "torch":
    # Keras' distribution knows nothing of torch.
    import torch

    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return names or ["cpu:0"]
  return [str(name) for name in keras.distribution.list_devices()]


def _has_accelerator() -> bool:
  return any("cpu" not in name.lower() for name in names())


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"
