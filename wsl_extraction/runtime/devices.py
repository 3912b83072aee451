"""Devices and precisions, and the settings of training that suit a backend.

Beside `backend` and `distribution` the only place that asks which backend is in
use. Keras is imported inside the functions, for those who only look at one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import TYPE_CHECKING, Any

from wsl_extraction.errors import InputError

if TYPE_CHECKING:
  import keras

PRECISIONS = ("auto", "float32", "mixed_bfloat16")


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
