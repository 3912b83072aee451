"""Dividing batches among devices and hosts, as each backend does it.

Beside `devices` the only place that asks which backend is in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsl_extraction.errors import InputError
from wsl_extraction.runtime import devices
from wsl_extraction.runtime.placement import Placement

if TYPE_CHECKING:
  import keras


def place(limit: int | None = None, index: int = 0,
          count: int = 1) -> Placement:
  """Divides batches among the devices, which keep the same weights.

  jax places data on `keras.distribution`, tensorflow on `tf.distribute`; torch
  has one device. Started with `backend.start_backend`.

  Args:
    limit: How many of the devices to use; None is all of them.
    index: This process among those that train as one.
    count: How many those are; with several, all devices are used.

  Raises:
    InputError: There are fewer devices, or the hosts do not have equally many.
  """
  import keras

  backend, names = keras.backend.backend(), devices.names()
  if limit is not None and not 1 <= limit <= len(names):
    raise InputError(f"--devices is {limit}; this process sees {len(names)} on "
                     f"{backend}: {', '.join(names)}; give a number up to that")
  if count > 1:
    _check_equal_hosts(limit, count)
  names = names[:limit]
  tpu = backend == "tensorflow" and names[0].startswith("tpu")
  if backend == "torch" or (len(names) == 1 and not tpu):
    return Placement()
  placed = Placement(index, count, len(names),
                     on_one_device=_on_one_device)
  if backend == "tensorflow":
    return dataclasses.replace(
        placed, scope=_strategy(names).scope, synchronize=_synchronize,
        rereads=True)
  # One program sees the whole batch: statistics are global already.
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


def _on_one_device(network: keras.Model) -> keras.Model:
  import keras

  from wsl_extraction.runtime import keras_saving

  with keras_saving.without_tensorflow():  # it copies configurations
    copy = keras.models.clone_model(network)
  copy.set_weights(network.get_weights())
  for layer in copy._flatten_layers():
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.synchronized = False
  return copy
