"""The network of networks/wide_resnet.py in plain torch, images [n, c, h, w].

Its layers have the names of the Keras network's, so that weights can be copied.
torch's own batch normalisation keeps the unbiased variance as its moving
average, where Keras keeps the biased one.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_SLOPE = 0.1


class WideResNet(nn.Module):
  """WRN-depth-width: images of 0..255 to logits [n, classes]."""

  def __init__(self, channels: int, num_classes: int, depth: int = 28,
               width: int = 2, momentum: float = 0.999):
    super().__init__()
    self.momentum = momentum
    self.parts = nn.ModuleDict({"conv1": nn.Conv2d(channels, 16, 3)})
    self.blocks = []
    filters = 16
    for stage in range(3):
      for block in range(1, (depth - 4) // 6 + 1):
        name = f"conv{stage + 2}_block{block}"
        stride = 2 if stage and block == 1 else 1
        self._add_block(name, filters, 16 * width * 2**stage)
        self.blocks.append((name, stride))
        filters = 16 * width * 2**stage
    self.parts["post_bn"] = self._norm(filters)
    self.parts["logits"] = nn.Linear(filters, num_classes)

  def _norm(self, filters: int) -> nn.Module:
    return nn.BatchNorm2d(filters, eps=1e-3, momentum=1 - self.momentum)

  def _add_block(self, name: str, inputs: int, filters: int) -> None:
    self.parts[f"{name}_1_bn"] = self._norm(inputs)
    self.parts[f"{name}_1_conv"] = nn.Conv2d(inputs, filters, 3)
    self.parts[f"{name}_2_bn"] = self._norm(filters)
    self.parts[f"{name}_2_conv"] = nn.Conv2d(filters, filters, 3)
    if inputs != filters:
      self.parts[f"{name}_0_conv"] = nn.Conv2d(inputs, filters, 1)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    x = self._conv("conv1", images / 127.5 - 1, 1)
    for index, (name, stride) in enumerate(self.blocks):
      x = self._block(name, x, stride, index == 0)
    return self.parts["logits"](self._active("post", x).mean((2, 3)))

  def _block(self, name: str, x: torch.Tensor, stride: int,
             first: bool) -> torch.Tensor:
    active = self._active(f"{name}_1", x)
    shortcut = active if first else x
    if f"{name}_0_conv" in self.parts:
      shortcut = self._conv(f"{name}_0_conv", shortcut, stride)
    x = self._conv(f"{name}_1_conv", active, stride)
    x = self._conv(f"{name}_2_conv", self._active(f"{name}_2", x), 1)
    return shortcut + x

  def _active(self, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(self.parts[f"{name}_bn"](x), _SLOPE)

  def _conv(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    conv = self.parts[name]
    kernel = conv.kernel_size[0]
    if stride == 1:
      return functional.conv2d(x, conv.weight, conv.bias, padding=kernel // 2)
    (left, right), (top, bottom) = (
        _same(side, kernel, stride) for side in (x.shape[3], x.shape[2]))
    x = functional.pad(x, (left, right, top, bottom))
    return functional.conv2d(x, conv.weight, conv.bias, stride)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
  """TensorFlow's padding: what is odd of it comes last."""
  total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
  return total // 2, total - total // 2


@torch.no_grad()
def copy_weights(network, module: WideResNet) -> None:
  """Gives a torch network the weights of the Keras network of its size."""
  left = set(module.parts)
  for layer in network.layers:
    if not layer.weights:
      continue
    left.remove(layer.name)
    mine = module.parts[layer.name]
    values = [torch.from_numpy(value) for value in layer.get_weights()]
    if isinstance(mine, nn.Conv2d):
      values[0] = values[0].permute(3, 2, 0, 1)
    elif isinstance(mine, nn.Linear):
      values[0] = values[0].T
    for target, value in zip(_tensors(mine), values, strict=True):
      target.copy_(value)
  if left:
    raise ValueError(f"the Keras network has no {', '.join(sorted(left))}")


def _tensors(layer: nn.Module) -> list[torch.Tensor]:
  """A layer's tensors in the order of Keras."""
  if isinstance(layer, nn.BatchNorm2d):
    return [layer.weight, layer.bias, layer.running_mean, layer.running_var]
  return [layer.weight, layer.bias]
