"""Victims in torchvision's checkpoint files: ResNet, ResNeXt, Wide ResNet.

References:
  torchvision's state dict naming: conv1, bn1, layer1.0.conv1, fc, and so on.
    https://github.com/pytorch/vision, torchvision/models/resnet.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence

import keras

from wsl_extraction import checks
from wsl_extraction.data.split import Parts
from wsl_extraction.errors import InputError
from wsl_extraction.networks import resnext
from wsl_extraction.runtime import files
from wsl_extraction.victims import torch_checkpoint
from wsl_extraction.victims.keras_file import cached
from wsl_extraction.victims.torchvision_layers import assign, design_of
from wsl_extraction.victims.victim import (
    Victim,
    VictimSource,
    digest,
    in_batches,
    quantities_of,
    range_facts,
)

CLASSES = ("imagenet", "number", "any")
_PRECISIONS = ("float32", "mixed_bfloat16")
# Of ImageNet's 1,000 synsets in order, a line each: its first and last are
# n01440764 and n15075141.
_SYNSETS = (
    "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchvisionFile(VictimSource):
  """A ResNet, ResNeXt or Wide ResNet whose state dict torch has saved.

  The file is read without torch, and nothing in it is run. Its network is
  converted to `.keras` once and kept in the cache, where the next run finds it.
  It answers with logits.

  The images are the data set's. What their authors evaluate such networks on,
  the shorter side resized to 256 pixels and the middle 224 x 224, is what a
  data set with `image_size` 224 holds; mean and deviation are the network's
  first layer.

  Attributes:
    path: The file. If its name ends in a hash, as in `resnet50-11ad3fa6.pth`,
      the content must have it.
    depth: Of the network, see `resnext.resnext`; None is what the shapes in
      the file say.
    groups: Likewise.
    width_per_group: Likewise.
    mean: Of each channel of the images that it was trained on, in 0..1.
    std: Likewise, the standard deviation.
    classes: How the data set's classes must fit: "imagenet" for the 1,000
      synsets in sorted order, as tensorflow-datasets and class folders have
      them; "number" for as many; "any" for an adversary whose images are of
      other classes, in which case accuracy means nothing.
    precision: In what numbers it computes, "float32" or "mixed_bfloat16",
      whatever the experiment's are: the labels that it gives should not depend
      on the device.
    batch_size: Images that it sees at once.
    split_groups: See `resnext.resnext`; try False on GPUs.
    licence: Of the weights, one line.
  """

  path: str
  depth: int | None = None
  groups: int | None = None
  width_per_group: int | None = None
  mean: Sequence[float] = resnext.IMAGENET_MEAN
  std: Sequence[float] = resnext.IMAGENET_STD
  classes: str = "number"
  precision: str = "float32"
  batch_size: int = 64
  split_groups: bool = True
  licence: str = ""

  def __post_init__(self):
    for name, allowed in (("classes", CLASSES), ("precision", _PRECISIONS)):
      checks.one_of(f"TorchvisionFile.{name}", getattr(self, name), allowed)
    checks.text("TorchvisionFile.path", self.path, "the path of a checkpoint")
    checks.flag("TorchvisionFile.split_groups", self.split_groups)
    checks.instance("TorchvisionFile.licence", self.licence, str, "a line")
    object.__setattr__(self, "batch_size", checks.whole(
        "TorchvisionFile.batch_size", self.batch_size, 1))
    for name in ("mean", "std"):
      values = getattr(self, name)
      if not isinstance(values, (tuple, list)) or not all(
          map(checks.is_number, values)):
        checks.refuse(f"TorchvisionFile.{name}", values,
                      "a number for each channel")

  def load(self, parts, runtime):
    """Loads the network, from the cache or from the checkpoint.

    Raises:
      InputError: The file cannot be read, holds other things than tensors,
        has another hash than its name says or another architecture, or the
        data set has other channels or classes; the cache cannot be written.
    """
    checkpoint = os.path.expanduser(self.path)
    content = torch_checkpoint.sha256(checkpoint)
    key = digest(content, parts.space.shape, range_facts(parts.space),
                 self._settings(), self.split_groups)
    path = runtime.cache / "victims" / f"{key}.keras"
    with _computing_in(self.precision):
      network = cached(path)
      if network is None:
        network = self._converted(checkpoint, parts)
        with files.atomic_write(path) as temporary:
          network.save(temporary)
    num_classes = network.output_shape[1]
    self._check_classes(parts, num_classes)
    return Victim(
        parts.space, num_classes,
        quantities_of("logits", in_batches(network, self.batch_size)),
        digest(content, range_facts(parts.space), self._settings()),
        self.licence)

  def _settings(self) -> tuple:
    return (self.depth, self.groups, self.width_per_group, tuple(self.mean),
            tuple(self.std), self.precision)

  def _converted(self, path: str, parts: Parts) -> keras.Model:
    state = torch_checkpoint.read(path)
    design = design_of(path, state)
    design |= {name: size for name in ("depth", "groups", "width_per_group")
               if (size := getattr(self, name)) is not None}
    channels = state["conv1.weight"].shape[1]
    if channels != parts.space.shape[-1]:
      raise InputError(
          f"the network in {path} takes images of {channels} channels, "
          f"those of the data set have {parts.space.shape[-1]}; use a data "
          "set of the kind that it was made for")
    num_classes = state["fc.bias"].size
    self._check_classes(parts, num_classes)
    height, width, _ = parts.space.shape
    network = resnext.resnext(
        (height, width, channels), num_classes, depth=design["depth"],
        groups=design["groups"], width_per_group=design["width_per_group"],
        width=design["width"], value_range=parts.space.value_range,
        mean=self.mean, std=self.std, split_groups=self.split_groups)
    assign(network, state, path)
    return network

  def _check_classes(self, parts: Parts, num_classes: int) -> None:
    if self.classes == "any":
      return
    if num_classes != parts.num_classes:
      raise InputError(
          f"the network in {self.path} has {num_classes} classes, the data set "
          f"{parts.num_classes}; use the data set that it was made for, or "
          "set classes to 'any'")
    if self.classes == "imagenet" and not is_imagenet(parts.class_names or ()):
      raise InputError(
          f"the network in {self.path} has ImageNet's classes, those of the "
          "data set are not its 1,000 synsets (n01440764, n01443537, ...) in "
          "sorted order; use imagenet2012 or its class folders, or set classes "
          "to 'any'")


def is_imagenet(class_names: Sequence[str]) -> bool:
  """True for the 1,000 synsets of ImageNet in sorted order."""
  text = "\n".join(class_names).encode(errors="surrogateescape")
  return hashlib.sha256(text).hexdigest() == _SYNSETS


@contextlib.contextmanager
def _computing_in(precision: str) -> Iterator[None]:
  before = keras.config.dtype_policy()
  keras.config.set_dtype_policy(precision)
  try:
    yield
  finally:
    keras.config.set_dtype_policy(before)
