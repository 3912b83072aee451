"""What the machine runs on, and the settings that suit it.

The only place that asks which backend is in use. Keras is imported inside the
functions, as some of them have to act before its first import.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import logging
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsl_extraction import quiet
from wsl_extraction.errors import InputError
from wsl_extraction.placement import Placement

if TYPE_CHECKING:
  import keras

BACKENDS = ("tensorflow", "jax", "torch")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")

# On CPUs TensorFlow otherwise maps and unmaps memory at every step, and leaves
# oneDNN off on some processors: together they cost more than half the speed
# (benchmarks/tensorflow_cpu.py).
_DEFAULTS = {
    "TF_CPU_ALLOCATOR_USE_BFC": "true",
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
# Asked before jax is imported, which sets it for itself.
_SILENT = "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def set_environment_defaults() -> None:
  """Sets what helps on CPUs, unless the user has set it."""
  for name, value in _DEFAULTS.items():
    os.environ.setdefault(name, value)


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
  meanwhile. Set TF_CPP_MIN_LOG_LEVEL to see them.

  Raises:
    InputError: The backend is unknown, not installed or does not start.
  """
  check_backend()
  if _SILENT:
    # Keras on another backend imports TensorFlow to save or load a model.
    sys.meta_path.insert(0, quiet.QuietTensorFlow())
    # It warns of each model that is new, of which rounds have one each.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
  with quiet.silenced(sys.stderr) if _SILENT else contextlib.nullcontext():
    try:
      _device_names()
    except ImportError as error:
      raise InputError(f"the backend cannot be imported ({error}); install it "
                       "anew or set KERAS_BACKEND to another") from error


def _chosen_backend() -> str:
  if name := os.environ.get("KERAS_BACKEND"):
    return name
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


def compile_options(replicas: int = 1) -> dict[str, Any]:
  """What Keras' `compile` should be told here, beside the optimizer.

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


def place(limit: int | None = None, index: int = 0, count: int = 1,
          wait: Callable[[], None] = lambda: None) -> Placement:
  """Divides batches among the devices, which keep the same weights.

  jax places data on `keras.distribution`, tensorflow on `tf.distribute`; torch
  has one device. Started with `start_backend`.

  Args:
    limit: How many of the devices to use; None is all of them.
    index: This process among those that train as one.
    count: How many those are; with several, all devices are used.
    wait: See `Placement`.

  Raises:
    InputError: There are fewer devices, or the hosts do not have equally many.
  """
  import keras

  backend, names = keras.backend.backend(), _device_names()
  if limit is not None and not 1 <= limit <= len(names):
    raise InputError(f"--devices is {limit}; this process sees {len(names)} on "
                     f"{backend}: {', '.join(names)}; give a number up to that")
  if count > 1:
    _check_equal_hosts(limit, count)
  names = names[:limit]
  tpu = backend == "tensorflow" and names[0].startswith("tpu")
  if backend == "torch" or (len(names) == 1 and not tpu):
    return Placement()
  placed = Placement(index, count, len(names), alone=_alone, wait=wait)
  if backend == "tensorflow":
    return dataclasses.replace(
        placed, scope=_strategy(names).scope, joined=_synchronize, rereads=True)
  # One program sees the whole batch: nothing is to be joined.
  return dataclasses.replace(placed, scope=keras.distribution.DataParallel(
      devices=names, auto_shard_dataset=False).scope)


def check_batches(sizes: Mapping[str, int], replicas: int,
                  count: int = 1) -> None:
  """Refuses batches that cannot be divided among the devices.

  Args:
    sizes: The sizes of batches, by the names of the settings.
    replicas: How many devices there are.
    count: On how many hosts.

  Raises:
    InputError: One of them is not a multiple of `replicas`.
  """
  for name, size in sizes.items():
    if size % replicas:
      below = size // replicas * replicas
      near = " or ".join(str(n) for n in (below, below + replicas) if n)
      hosts = f" of {count} hosts" if count > 1 else ""
      raise InputError(
          f"{name} is {size}, which does not divide among {replicas} devices"
          f"{hosts}; give {near}, or use fewer devices (--devices, "
          "CUDA_VISIBLE_DEVICES)")


def _check_equal_hosts(limit: int | None, count: int) -> None:
  import jax

  if limit is not None:
    raise InputError(f"--devices is {limit}, but several hosts use all of "
                     "their devices; leave it out")
  if jax.local_device_count() * count != jax.device_count():
    raise InputError(
        f"this host has {jax.local_device_count()} of {jax.device_count()} "
        f"devices; {count} hosts must have equally many: hide some of them "
        "(CUDA_VISIBLE_DEVICES)")


def _strategy(names: Sequence[str]) -> Any:
  import tensorflow as tf

  if names[0].startswith("tpu"):
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
  return tf.distribute.MirroredStrategy(list(names))


def _synchronize(student: keras.Model) -> None:
  """Makes batch normalisation take its statistics over all replicas.

  A replica of `tf.distribute` has its own otherwise, of a smaller batch.
  """
  import keras

  for layer in student._flatten_layers():
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.synchronized = True


def _alone(network: keras.Model) -> keras.Model:
  import keras

  copy = keras.models.clone_model(network)
  copy.set_weights(network.get_weights())
  for layer in copy._flatten_layers():
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.synchronized = False
  return copy


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


@dataclasses.dataclass(frozen=True)
class Device:
  """What computes.

  Attributes:
    name: As the backend counts it: "gpu:0".
    kind: What it is, "cpu" or the maker's name of it: "NVIDIA A100-SXM4-80GB".
    memory: Bytes that the backend may use of its own; None where it does not
      tell.
  """

  name: str
  kind: str
  memory: int | None = None


def inventory() -> list[Device]:
  """The devices of this host that the backend sees, without using them."""
  import keras

  return _INVENTORIES[keras.backend.backend()]()


def _of_tensorflow() -> list[Device]:
  import tensorflow as tf

  # What memory there is it tells of no device.
  found = [(device, tf.config.experimental.get_device_details(device))
           for device in tf.config.list_physical_devices()]
  return [
      Device(f"{device.device_type.lower()}:{device.name.split(':')[-1]}",
             details.get("device_name", device.device_type.lower()))
      for device, details in found]


def _of_jax() -> list[Device]:
  import jax

  # None of a CPU. Of a GPU it is what jax takes, three quarters by default.
  return [
      Device(f"{device.platform}:{device.id}", device.device_kind,
             (device.memory_stats() or {}).get("bytes_limit"))
      for device in jax.local_devices()]


def _of_torch() -> list[Device]:
  import torch

  found = [torch.cuda.get_device_properties(i)
           for i in range(torch.cuda.device_count())]
  return [Device(f"cuda:{i}", one.name, one.total_memory)
          for i, one in enumerate(found)] or [Device("cpu:0", "cpu")]


_INVENTORIES = {
    "tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}


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
