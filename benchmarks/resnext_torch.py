"""ResNet and ResNeXt in plain torch, with the names of torchvision's.

Images are [n, c, h, w], with mean and deviation already taken out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

BOTTLENECKS = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3),
               101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BASIC = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
  if stride == 1 and inputs == outputs:
    return None
  return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                       nn.BatchNorm2d(outputs))


class Basic(nn.Module):

  def __init__(self, inputs: int, planes: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(planes)
    self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(planes)
    self.downsample = _projection(inputs, planes, stride)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = torch.relu(self.bn1(self.conv1(x)))
    y = self.bn2(self.conv2(y))
    return torch.relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):

  def __init__(self, inputs: int, planes: int, stride: int, groups: int,
               width_per_group: int):
    super().__init__()
    inner = int(planes * (width_per_group / 64.0)) * groups
    self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(inner)
    self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups,
                           bias=False)
    self.bn2 = nn.BatchNorm2d(inner)
    self.conv3 = nn.Conv2d(inner, planes * 4, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(planes * 4)
    self.downsample = _projection(inputs, planes * 4, stride)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = torch.relu(self.bn1(self.conv1(x)))
    y = torch.relu(self.bn2(self.conv2(y)))
    y = self.bn3(self.conv3(y))
    return torch.relu(y + (self.downsample(x) if self.downsample else x))


class ResNeXt(nn.Module):

  def __init__(self, num_classes: int, depth: int, groups: int = 1,
               width_per_group: int = 64, width: int = 64, channels: int = 3):
    super().__init__()
    self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.maxpool = nn.MaxPool2d(3, 2, 1)
    inputs = width
    for stage, blocks in enumerate((BOTTLENECKS | BASIC)[depth]):
      made = []
      for index in range(blocks):
        planes, stride = width * 2**stage, 2 if stage and not index else 1
        if depth in BASIC:
          made.append(Basic(inputs, planes, stride))
          inputs = planes
        else:
          made.append(
              Bottleneck(inputs, planes, stride, groups, width_per_group))
          inputs = planes * 4
      self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
    self.fc = nn.Linear(inputs, num_classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
    for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
      x = stage(x)
    return self.fc(x.mean((2, 3)))


@torch.no_grad()
def randomised(module: ResNeXt, seed: int = 0) -> ResNeXt:
  """Gives all layers an effect, normalisation included; for evaluation."""
  numbers = torch.Generator().manual_seed(seed)
  for name, value in module.state_dict().items():
    if name == "fc.weight":
      value.normal_(0, 8 * value.shape[1] ** -0.5, generator=numbers)
    elif value.dim() > 1:
      value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=numbers)
    elif name.endswith("num_batches_tracked"):
      value.fill_(7)
    elif name.endswith("running_var"):
      value.uniform_(0.5, 1.5, generator=numbers)
    elif name.endswith("weight"):
      # Sums over shortcuts would grow with the depth otherwise.
      value.uniform_(0.2, 0.6, generator=numbers)
    else:
      value.normal_(0, 0.1, generator=numbers)
  return module.eval()


@torch.no_grad()
def logits(module: ResNeXt, images: np.ndarray, mean, std) -> np.ndarray:
  """The answers [n, classes] to images [n, h, w, c] of 0..255."""
  x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
  shape = (1, -1, 1, 1)
  x = (x - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
  return module(x).numpy()
