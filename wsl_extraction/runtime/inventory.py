"""The devices of a host, as its backend describes them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Device:
  """A device that computes.

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
  detailed = [(device, tf.config.experimental.get_device_details(device))
              for device in tf.config.list_physical_devices()]
  return [
      Device(f"{device.device_type.lower()}:{device.name.split(':')[-1]}",
             details.get("device_name", device.device_type.lower()))
      for device, details in detailed]


def _of_jax() -> list[Device]:
  import jax

  # None of a CPU. Of a GPU it is what jax takes, three quarters by default.
  return [
      Device(f"{device.platform}:{device.id}", device.device_kind,
             (device.memory_stats() or {}).get("bytes_limit"))
      for device in jax.local_devices()]


def _of_torch() -> list[Device]:
  import torch

  properties = [torch.cuda.get_device_properties(i)
                for i in range(torch.cuda.device_count())]
  return [Device(f"cuda:{i}", one.name, one.total_memory)
          for i, one in enumerate(properties)] or [Device("cpu:0", "cpu")]


_INVENTORIES = {
    "tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}
