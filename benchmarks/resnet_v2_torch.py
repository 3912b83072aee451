"""ResNet-v2-8 in plain torch: network and training loop, as written by hand.

The layers of `networks.resnet_v2` at depth 8 with the stem "cifar": three
stages of one basic block, pre-activation (He et al. 2016, figure 4e).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def _norm(channels: int) -> nn.BatchNorm2d:
  return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)


class Block(nn.Module):
  """Two 3 x 3 convolutions behind batch normalisation and ReLU."""

  def __init__(self, inputs: int, filters: int, stride: int):
    super().__init__()
    self.first_norm, self.second_norm = _norm(inputs), _norm(filters)
    self.first = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
    self.second = nn.Conv2d(filters, filters, 3, 1, 1)
    self.shortcut = (nn.Conv2d(inputs, filters, 1, stride)
                     if inputs != filters else None)
    self.stride = stride

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    active = functional.relu(self.first_norm(x))
    shortcut = (self.shortcut(active) if self.shortcut
                else x[:, :, ::self.stride, ::self.stride])
    y = functional.relu(self.second_norm(self.first(active)))
    return shortcut + self.second(y)


class ResNetV2(nn.Module):
  """Images of 0..255 [n, h, w, channels] to logits [n, classes]."""

  def __init__(self, channels: int, classes: int, width: int = 16):
    super().__init__()
    self.stem = nn.Conv2d(channels, width, 3, 1, 1)
    self.blocks = nn.Sequential(
        Block(width, width, 2), Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 1))
    self.norm = _norm(4 * width)
    self.logits = nn.Linear(4 * width, classes)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    x = self.stem(images.permute(0, 3, 1, 2) / 127.5 - 1)
    x = functional.relu(self.norm(self.blocks(x)))
    return self.logits(x.mean((2, 3)))


class Training:
  """Cross-entropy with soft targets, SGD with momentum, images shifted.

  Args:
    images: uint8 [n, h, w, channels].
    targets: float32 [n, classes], probabilities.
    batch: Images in a step.
    shift: The largest translation along each axis, in pixels.
  """

  def __init__(self, images: np.ndarray, targets: np.ndarray, batch: int,
               shift: int):
    torch.manual_seed(0)
    self._images = torch.from_numpy(images)
    self._targets = torch.from_numpy(targets)
    self._batch, self._shift = batch, shift
    self._network = ResNetV2(images.shape[-1], targets.shape[1])
    self._optimizer = torch.optim.SGD(
        self._network.parameters(), 0.01, momentum=0.9, nesterov=True)

  @property
  def parameters(self) -> int:
    """Trainable weights of the network."""
    return sum(weight.numel() for weight in self._network.parameters())

  def __call__(self) -> None:
    """One pass over all images in a new order."""
    for rows in torch.randperm(len(self._images)).split(self._batch):
      logits = self._network(self._shifted(self._images[rows].float()))
      loss = functional.cross_entropy(logits, self._targets[rows])
      self._optimizer.zero_grad(set_to_none=True)
      loss.backward()
      self._optimizer.step()

  def _shifted(self, images: torch.Tensor) -> torch.Tensor:
    n, height, width, _ = images.shape
    most = self._shift
    padded = functional.pad(images.permute(0, 3, 1, 2), (most,) * 4, "reflect")
    padded = padded.permute(0, 2, 3, 1)
    offsets = torch.randint(0, 2 * most + 1, (2, n, 1))
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None],
                  columns[:, None, :]]
