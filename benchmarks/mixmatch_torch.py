"""MixMatch in plain torch: one training loop, as it might be written by hand.

The same computation as the package's: Berthelot et al. 2019 with guesses and
learning in one pass each, Adam, and weight decay of the kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import wide_resnet_torch
from torch.nn import functional

_ALPHA, _WEIGHT, _GUESSES, _TEMPERATURE, _RAMP = 0.75, 75.0, 2, 0.5, 16_384
_RATE, _DECAY = 0.002, 0.02


def training(steps: int, images: np.ndarray, scores: np.ndarray, batch: int,
             depth: int, width: int) -> Callable[[], None]:
  """What trains for `steps` steps.

  Args:
    steps: Of one call.
    images: [n, h, w, c] uint8, the first of them labelled.
    scores: [m, classes], the labels of the first m.
    batch: Labelled, and as many unlabelled, images in a step.
    depth: Of the network.
    width: Of the network.
  """
  # The faster layout of the two.
  network = wide_resnet_torch.WideResNet(
      images.shape[3], scores.shape[1], depth, width).to(
          memory_format=torch.channels_last)
  optimizer = torch.optim.Adam(network.parameters(), _RATE)
  rng = np.random.default_rng(0)
  pool = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
  targets = torch.from_numpy(scores.astype(np.float32))
  done = 0

  def train() -> None:
    nonlocal done
    for _ in range(steps):
      known = torch.from_numpy(rng.choice(len(scores), batch, replace=False))
      others = torch.from_numpy(rng.integers(len(scores), len(images), batch))
      _step(network, optimizer, pool[known].float(), targets[known],
            pool[others].float(), min(done / _RAMP, 1.0))
      done += 1

  return train


def _step(network, optimizer, labeled, labels, unlabeled, ramp: float) -> None:
  count = len(labeled)
  views = [_moved(unlabeled) for _ in range(_GUESSES)]
  guess = _guess(network, torch.cat(views))
  images = torch.cat([_moved(labeled), *views])
  labels = torch.cat([labels, *[guess] * _GUESSES])
  lead = torch.distributions.Beta(_ALPHA, _ALPHA).sample((len(images), 1))
  lead = torch.maximum(lead, 1 - lead)
  partner = torch.randperm(len(images))
  labels = lead * labels + (1 - lead) * labels[partner]
  lead = lead[:, :, None, None]
  images = lead * images + (1 - lead) * images[partner]
  logits = network(images.to(memory_format=torch.channels_last))
  known = functional.cross_entropy(logits[:count], labels[:count])
  guessed = (labels[count:] - logits[count:].softmax(1)).square().mean()
  optimizer.zero_grad()
  (known + ramp * _WEIGHT * guessed).backward()
  optimizer.step()
  _decay(network)


@torch.no_grad()
def _guess(network, images: torch.Tensor) -> torch.Tensor:
  """Sharpened mean probabilities, without a trace in moving averages."""
  norms = [layer for layer in network.modules()
           if isinstance(layer, torch.nn.BatchNorm2d)]
  for norm in norms:
    norm.track_running_stats = False
  logits = network(images.to(memory_format=torch.channels_last))
  for norm in norms:
    norm.track_running_stats = True
  mean = torch.stack(logits.softmax(1).chunk(_GUESSES)).mean(0)
  sharp = mean ** (1 / _TEMPERATURE)
  return sharp / sharp.sum(1, keepdim=True)


@torch.no_grad()
def _decay(network) -> None:
  for layer in network.modules():
    if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
      layer.weight.mul_(1 - _RATE * _DECAY)


def _moved(images: torch.Tensor, shift: int = 4) -> torch.Tensor:
  """Moves each image by up to `shift` pixels, and mirrors half of them."""
  count, _, height, width = images.shape
  padded = functional.pad(images, (shift,) * 4, mode="reflect")
  rows = torch.arange(height) + torch.randint(2 * shift + 1, (count, 1))
  columns = torch.arange(width) + torch.randint(2 * shift + 1, (count, 1))
  columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
  index = torch.arange(count)[:, None, None]
  # Indices apart, so that the channels come last.
  return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(
      0, 3, 1, 2)
