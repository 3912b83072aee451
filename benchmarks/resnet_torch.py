"""ResNet-50 in plain torch: network and training loop, as written by hand.

Version 1.5: normalisation after each convolution, and the stride in a
bottleneck's 3 x 3 convolution (He et al. 2016; torchvision has the same).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

_BLOCKS = (3, 4, 6, 3)
_READY = 4


def _normed(inputs: int, filters: int, kernel: int,
            stride: int = 1) -> nn.Sequential:
  return nn.Sequential(
      nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, bias=False),
      nn.BatchNorm2d(filters))


class Bottleneck(nn.Module):
  """1 x 1, 3 x 3, and 1 x 1 with four times the filters."""

  def __init__(self, inputs: int, filters: int, stride: int):
    super().__init__()
    self.narrow = _normed(inputs, filters, 1)
    self.middle = _normed(filters, filters, 3, stride)
    self.wide = _normed(filters, 4 * filters, 1)
    self.shortcut = nn.Identity()
    if stride > 1 or inputs != 4 * filters:
      self.shortcut = _normed(inputs, 4 * filters, 1, stride)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = functional.relu(self.narrow(x))
    y = functional.relu(self.middle(y))
    return functional.relu(self.wide(y) + self.shortcut(x))


class ResNet50(nn.Module):
  """Images of 0..255 [n, h, w, 3] to logits [n, classes]."""

  def __init__(self, num_classes: int = 1000, width: int = 64):
    super().__init__()
    self.stem = _normed(3, width, 7, 2)
    blocks, inputs = [], width
    for stage, count in enumerate(_BLOCKS):
      for block in range(count):
        stride = 2 if stage and not block else 1
        blocks.append(Bottleneck(inputs, width * 2**stage, stride))
        inputs = 4 * width * 2**stage
    self.blocks = nn.Sequential(*blocks)
    self.logits = nn.Linear(inputs, num_classes)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    # A view: what comes in the order of numpy is "channels last" here.
    x = images.permute(0, 3, 1, 2) / 127.5 - 1
    x = functional.max_pool2d(functional.relu(self.stem(x)), 3, 2, 1)
    return self.logits(self.blocks(x).mean((2, 3)))


def forward_flops(side: int, classes: int, width: int) -> list[int]:
  """Of one image in each convolution and dense layer, in order."""
  found = []

  def note(layer, _, output):
    found.append(2 * layer.weight.numel() * output.shape[2:].numel())

  with torch.device("meta"):
    network = ResNet50(classes, width)
    for layer in network.modules():
      if isinstance(layer, nn.Conv2d | nn.Linear):
        layer.register_forward_hook(note)
    network(torch.zeros(1, side, side, 3))
  return found


def training(steps: int, images: np.ndarray, scores: np.ndarray, batch: int,
             width: int, compiled: bool) -> Callable[[], None]:
  """What trains for `steps` steps, in bfloat16 where that is safe.

  Args:
    steps: Of one call.
    images: [n, h, w, 3] uint8.
    scores: [n, classes] float32, what the images are known to be.
    batch: Images in a step.
    width: Of the network; 64 is ResNet-50.
    compiled: Whether torch compiles the network.
  """
  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  torch.backends.cudnn.benchmark = True
  network = ResNet50(scores.shape[1], width).to(
      device, memory_format=torch.channels_last)
  optimizer = torch.optim.SGD(
      network.parameters(), 0.01, momentum=0.9,
      fused=device.type == "cuda")
  forward = torch.compile(network) if compiled else network
  ready = _batches(images, scores, batch, pinned=device.type == "cuda")

  def train() -> None:
    for step in range(steps):
      pixels, targets = (
          part.to(device, non_blocking=True)
          for part in ready[step % len(ready)])
      with torch.autocast(device.type, torch.bfloat16):
        logits = forward(pixels)
      loss = functional.cross_entropy(logits.float(), targets)
      optimizer.zero_grad(set_to_none=True)
      loss.backward()
      optimizer.step()
    if device.type == "cuda":
      torch.cuda.synchronize()

  return train


def _batches(images, scores, batch: int, pinned: bool):
  """Some batches, from which a GPU can copy without waiting for a CPU."""
  rng = np.random.default_rng(0)
  ready = []
  for _ in range(_READY):
    rows = rng.choice(len(images), batch, replace=False)
    parts = [torch.from_numpy(array[rows]) for array in (images, scores)]
    ready.append([part.pin_memory() if pinned else part for part in parts])
  return ready


def peak_memory() -> float:
  """Bytes that tensors had at most; NaN without a GPU."""
  if not torch.cuda.is_available():
    return float("nan")
  return float(torch.cuda.max_memory_allocated())
