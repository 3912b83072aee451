"""Files of torchvision's networks made without torch, and their victims."""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import pytest

import pickles
from wsl_extraction.data.datasets import Dataset
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnext import resnext
from wsl_extraction.victims import torchvision
from wsl_extraction.victims.victim import Surroundings

SMALL = dict(depth=14, groups=4, width_per_group=16)


def dataset_of(classes=("a", "b", "c"), channels=3, scale=1):
  # Of few tiles, since the means of much noise are all alike.
  tiles = np.random.default_rng(0).integers(
      0, 256, (12, 4, 5, channels), "uint8")
  images = tiles.repeat(8, 1).repeat(8, 2)
  if scale != 1:
    images = (images * scale).astype("float32")
  labels = np.arange(12, dtype=np.int32) % 3
  return Dataset("tiles", Examples(images, labels), None, tuple(classes),
                 (0.0, 255.0 * scale))


def state_of(network):
  """A network's weights under torchvision's names and axes."""
  return {name: np.transpose(variable.numpy(), np.argsort(axes))
          for layer in network.layers if layer.weights
          for name, (variable, axes) in torchvision._sources(layer).items()}


@functools.cache
def small_state():
  return state_of(resnext((32, 40, 3), 3, width=16, seed=0, **SMALL))


def written(path, state=None, old=True, **changes):
  """Writes a state dict, by default of a small network; gives its path."""
  state = {name: value for name, value in (
      (state or small_state()) | changes).items() if value is not None}
  pickles.write_state(path, state, old)
  return str(path)


def made(make, folder, dataset=None):
  dataset = dataset or dataset_of()
  parts = Split(private=0, pool=6, test=6)(dataset)
  return make(dataset, parts, Surroundings(folder / "cache"))


def refused(make, folder, match, dataset=None):
  with pytest.raises(InputError, match=match) as caught:
    made(make, folder, dataset)
  assert "\n" not in str(caught.value)
  assert not list((folder / "cache").glob("**/*.keras"))


def names_in(path):
  """A list of ImageNet's classes that tensorflow-datasets brings along."""
  import tensorflow_datasets

  folder = pathlib.Path(tensorflow_datasets.__file__).parent
  return (folder / path).read_text().split()


def synsets():
  return names_in("datasets/imagenet2012/labels.txt")
