"""Torchvision's names and shapes of layers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from wsl_extraction.data.images.decode import printable
from wsl_extraction.errors import InputError
from wsl_extraction.networks import resnext

_NAMED_KEYS = 3
_COUNTER = ".num_batches_tracked"


def assign(network: keras.Model, state: Mapping[str, np.ndarray],
           path: str | os.PathLike) -> None:
  """Gives a network of `resnext.resnext` the weights of a state dict.

  Args:
    network: All of its weights are replaced.
    state: Name in torchvision -> tensor [out, in, h, w], [out, in] or [n]; any
      kind of number.
    path: What the state dict is called in an error.

  Raises:
    InputError: Tensors are missing, unexpected, of another shape, or not
      finite; nothing is replaced then.
  """
  wanted = {}
  for layer in network.layers:
    if layer.weights:
      wanted |= sources(layer)
  _compare(network.name, wanted, state, path)
  for name, (variable, axes) in wanted.items():
    value = np.transpose(state[name], axes).astype(np.float32)
    if not np.isfinite(value).all():
      raise InputError(f"{path} has NaN or infinity in {name}; get it again")
    variable.assign(value)


def torch_name(layer: str) -> str:
  """Torchvision's name of the layer that `resnext.resnext` calls `layer`."""
  if layer == "logits":
    return "fc"
  inner = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
  if inner is None:
    return "conv1" if layer == "conv1_conv" else "bn1"
  stage, block, place, kind = inner.groups()
  within = f"{kind}{place}"
  if place == "0":
    within = "downsample.0" if kind == "conv" else "downsample.1"
  return f"layer{int(stage) - 1}.{int(block) - 1}.{within}"


def sources(layer: keras.layers.Layer) -> dict[str, tuple]:
  """Name -> (variable, the axes of the tensor in the variable's order)."""
  if isinstance(layer, keras.layers.BatchNormalization):
    variables = {
        "weight": (layer.gamma, (0,)), "bias": (layer.beta, (0,)),
        "running_mean": (layer.moving_mean, (0,)),
        "running_var": (layer.moving_variance, (0,))}
  elif isinstance(layer, keras.layers.Dense):
    variables = {"weight": (layer.kernel, (1, 0)), "bias": (layer.bias, (0,))}
  else:
    variables = {"weight": (layer.kernel, (2, 3, 1, 0))}
  name = torch_name(layer.name)
  return {f"{name}.{part}": source for part, source in variables.items()}


def _compare(network: str, wanted: Mapping[str, tuple],
             state: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
  missing = [name for name in wanted if name not in state]
  unexpected = [name for name in state
                if name not in wanted and not name.endswith(_COUNTER)]
  misshapen = []
  for name, (variable, axes) in wanted.items():
    shape = [0] * len(axes)
    for place, axis in enumerate(axes):
      shape[axis] = variable.shape[place]
    if name in state and state[name].shape != tuple(shape):
      misshapen.append(f"{name} {state[name].shape} instead of {tuple(shape)}")
  faults = [f"{len(names)} {fault} ({_first(names)})" for fault, names in (
      ("missing", missing), ("unexpected", unexpected),
      ("misshapen", misshapen)) if names]
  if faults:
    raise InputError(f"{path} is not of {network}: {'; '.join(faults)}; name "
                     "another file, or leave depth, groups and width_per_group "
                     "to it")


def _first(names: Sequence[str]) -> str:
  shown = ", ".join(printable(name)[:80] for name in names[:_NAMED_KEYS])
  return shown + (", ..." if len(names) > _NAMED_KEYS else "")


def design_of(path: str | os.PathLike,
            state: Mapping[str, np.ndarray]) -> dict[str, int]:
  """Depth, groups, width_per_group and width that the shapes speak of."""
  needed = {"conv1.weight": 4, "layer1.0.conv1.weight": 4,
            "layer1.0.conv2.weight": 4, "fc.bias": 1}
  for name, axes in needed.items():
    if name not in state or state[name].ndim != axes or not state[name].size:
      raise InputError(
          f"{path} has no tensor {name} of {axes} axes, which a ResNet or "
          "ResNeXt of torchvision has; use a checkpoint of one of these")
  bottleneck = "layer1.0.conv3.weight" in state
  stages = tuple(
      len({name.split(".")[1] for name in state
           if name.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4))
  depths = [depth for depth, design in resnext.DESIGNS.items()
            if design == (bottleneck, stages)]
  if not depths:
    raise InputError(f"{path} has {stages} blocks in its four stages, as no "
                     "ResNet or ResNeXt of torchvision has; use a checkpoint "
                     "of one of these")
  width = state["conv1.weight"].shape[0]
  inner, share = state["layer1.0.conv2.weight"].shape[:2]
  groups = max(inner // share, 1)
  # Basic blocks have no groups and no width of their own.
  per_group = round(64 * inner / groups / width) if bottleneck else 64
  return {"depth": depths[0], "groups": groups if bottleneck else 1,
          "width_per_group": max(per_group, 1), "width": width}
