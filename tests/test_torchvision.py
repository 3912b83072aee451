"""Victims in torchvision's files: as torch answers, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

import pickles
from source_tree import ROOT
from wsl_extraction.data.datasets import Dataset, Split
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnext import IMAGENET_MEAN, IMAGENET_STD, resnext
from wsl_extraction.oracle import Oracle
from wsl_extraction.victims import torchvision, wsl
from wsl_extraction.victims.torchvision import Checkpoint
from wsl_extraction.victims.victim import Surroundings
from wsl_extraction.victims.wsl import WSL

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


def written(path, sizes=None, classes=3, width=16, old=True, **changes):
  """Writes a random network, made and read without torch; gives its path."""
  network = resnext((32, 40, 3), classes, width=width, seed=0,
                    **(sizes or SMALL))
  state = {name: np.array(value) for name, value in state_of(network).items()}
  state |= changes
  state = {name: value for name, value in state.items() if value is not None}
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


@pytest.fixture
def torch_module(monkeypatch):
  """Makes a network of torch, with what it answers."""
  torch = pytest.importorskip("torch", reason="torch is not installed")
  monkeypatch.syspath_prepend(ROOT / "benchmarks")
  import resnext_torch

  def make(path, old=True, convert=None, classes=3, **sizes):
    module = resnext_torch.randomised(resnext_torch.ResNeXt(classes, **sizes))
    if convert:
      getattr(module, convert)()
    torch.save(module.state_dict(), path,
               _use_new_zipfile_serialization=not old)
    module.float()
    return lambda images: resnext_torch.logits(
        module, images, IMAGENET_MEAN, IMAGENET_STD)

  return make


SIZES = [
    dict(depth=10, width=16), dict(depth=18, width=8),
    dict(depth=14, width=16, groups=4, width_per_group=16),
    dict(depth=26, width=8, groups=2, width_per_group=128),
    dict(depth=14, width=64, groups=32, width_per_group=4),
    dict(depth=50, width=8), dict(depth=14, width=8, width_per_group=128)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("old", [False, True])
def test_answers_as_torch(tmp_path, torch_module, sizes, old):
  answer = torch_module(tmp_path / "x.pth", old, **sizes)
  dataset = dataset_of()
  victim = made(Checkpoint(path=str(tmp_path / "x.pth"), batch_size=5),
                tmp_path, dataset)
  assert victim.outputs == "logits"
  assert (victim.input_shape, victim.num_classes) == ((32, 40, 3), 3)
  expected = answer(dataset.train.images)
  assert expected.std(0).min() > 0.01
  np.testing.assert_allclose(victim.predict(dataset.train.images), expected,
                             rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind, precise", [("half", 1e-4), ("bfloat16", 1e-4),
                                           ("double", 1e-4)])
def test_other_numbers_become_float32(tmp_path, torch_module, kind, precise):
  # torch's own module keeps what the rounding to 16 bits has left.
  answer = torch_module(tmp_path / "x.pth", convert=kind, **SMALL, width=16)
  dataset = dataset_of()
  victim = made(Checkpoint(path=str(tmp_path / "x.pth")), tmp_path, dataset)
  np.testing.assert_allclose(
      victim.predict(dataset.train.images), answer(dataset.train.images),
      rtol=0, atol=precise)


def test_images_of_another_range(tmp_path):
  path = written(tmp_path / "x.pth")
  of_bytes, of_floats = dataset_of(), dataset_of(scale=1 / 255)
  answers = [made(Checkpoint(path=path), tmp_path, dataset).predict(
      dataset.train.images) for dataset in (of_bytes, of_floats)]
  np.testing.assert_allclose(*answers, rtol=0, atol=1e-4)


def test_converted_once_and_found_again(tmp_path, monkeypatch):
  path = written(tmp_path / "x.pth")
  dataset = dataset_of()
  first = made(Checkpoint(path=path), tmp_path)
  (file,) = (tmp_path / "cache" / "victims").iterdir()
  assert file.suffix == ".keras"
  monkeypatch.setattr(torchvision.pth, "read", None)
  again = made(Checkpoint(path=path), tmp_path)
  np.testing.assert_array_equal(again.predict(dataset.train.images),
                                first.predict(dataset.train.images))
  assert again.fingerprint == first.fingerprint
  # Where it lies and how it computes are not what it answers.
  moved = pathlib.Path(path).rename(tmp_path / "y.pth")
  assert made(Checkpoint(path=str(moved), batch_size=1),
              tmp_path).fingerprint == first.fingerprint


def test_what_changes_answers_changes_the_fingerprint(tmp_path):
  path = written(tmp_path / "x.pth")
  victims = [made(Checkpoint(path=path, **changes), tmp_path) for changes in (
      {}, dict(mean=(0, 0, 0)), dict(std=(1, 1, 1)),
      dict(precision="mixed_bfloat16"))]
  other = written(tmp_path / "y.pth", **{"fc.bias": np.ones(3, "<f4")})
  victims.append(made(Checkpoint(path=other), tmp_path))
  assert len({victim.fingerprint for victim in victims}) == 5
  assert made(Checkpoint(path=path, split_groups=False),
              tmp_path).fingerprint == victims[0].fingerprint


def test_answers_in_float32_whatever_the_policy(tmp_path):
  path = written(tmp_path / "x.pth")
  images = dataset_of().train.images
  expected = made(Checkpoint(path=path), tmp_path).predict(images)
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    found_again = made(Checkpoint(path=path), tmp_path)
    converted = made(Checkpoint(path=path), tmp_path / "other")
    coarse = made(Checkpoint(path=path, precision="mixed_bfloat16"), tmp_path)
    answers = [victim.predict(images)
               for victim in (found_again, converted, coarse)]
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
  finally:
    keras.config.set_dtype_policy("float32")
  np.testing.assert_array_equal(answers[0], expected)
  np.testing.assert_array_equal(answers[1], expected)
  assert 1e-4 < np.abs(answers[2] - expected).max() < 0.3
  assert answers[2].dtype == np.float32


_PREDICT = """
import sys, keras, numpy as np
sys.path.insert(0, sys.argv[1])
import test_torchvision as t
victim = t.made(t.Checkpoint(path="x.pth"), t.pathlib.Path("other"))
np.save("answers.npy", victim.predict(t.dataset_of().train.images))
print(keras.backend.backend(), victim.fingerprint)
"""


def test_the_same_on_another_backend(tmp_path):
  other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
  pytest.importorskip(other, reason=f"{other} is not installed")
  path = written(tmp_path / "x.pth")
  done = subprocess.run(
      [sys.executable, "-c", _PREDICT, str(ROOT / "tests")], text=True,
      env={**os.environ, "KERAS_BACKEND": other, "PYTHONPATH": str(ROOT)},
      timeout=300, cwd=tmp_path, capture_output=True, check=False)
  victim = made(Checkpoint(path=path), tmp_path)
  assert done.stdout.split() == [other, victim.fingerprint], done.stderr
  np.testing.assert_allclose(
      np.load(tmp_path / "answers.npy"),
      victim.predict(dataset_of().train.images), rtol=0, atol=1e-4)


def test_it_answers_through_an_oracle(tmp_path):
  victim = made(Checkpoint(path=written(tmp_path / "x.pth")), tmp_path)
  oracle = Oracle(victim.predict, outputs=victim.outputs, access="scores",
                  input_shape=victim.input_shape, num_classes=3)
  answered = oracle.query(dataset_of().train.images)
  np.testing.assert_allclose(answered.values.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("layer, name", [
    ("conv1_conv", "conv1"), ("conv1_bn", "bn1"), ("logits", "fc"),
    ("conv2_block1_0_conv", "layer1.0.downsample.0"),
    ("conv2_block1_0_bn", "layer1.0.downsample.1"),
    ("conv4_block23_2_conv", "layer3.22.conv2"),
    ("conv5_block3_3_bn", "layer4.2.bn3")])
def test_names_of_layers(layer, name):
  assert torchvision.torch_name(layer) == name


@pytest.mark.parametrize("sizes", SIZES)
def test_the_shapes_tell_the_design(tmp_path, sizes):
  network = resnext((32, 32, 3), 3, **sizes)
  assert torchvision._design("it", state_of(network)) == {
      "groups": 1, "width_per_group": 64, **sizes}


@pytest.mark.parametrize("changes, match", [
    ({"layer3.0.bn2.bias": None}, r"1 missing \(layer3\.0\.bn2\.bias\)"),
    ({"fc.extra": np.ones(2, "<f4")}, r"1 unexpected \(fc\.extra\)"),
    ({"bn1.weight": np.ones(5, "<f4")},
     r"1 misshapen \(bn1\.weight \(5,\) instead of \(16,\)\)"),
    ({"layer1.0.conv3.weight": np.ones((64, 17, 1, 1), "<f4")},
     r"misshapen \(layer1\.0\.conv3\.weight"),
    ({"conv1.weight": None}, r"has no tensor conv1\.weight of 4 axes"),
    ({"fc.bias": None}, r"has no tensor fc\.bias of 1 axes"),
    ({"layer1.0.conv2.weight": np.ones(3, "<f4")}, r"has no tensor layer1"),
    ({"layer4.1.conv1.weight": np.ones((1, 1, 1, 1), "<f4")},
     r"has \(1, 1, 1, 2\) blocks"),
    ({"bn1.bias": np.full(16, np.nan, "<f4")}, r"has NaN or infinity in bn1"),
])
def test_another_architecture(tmp_path, changes, match):
  refused(Checkpoint(path=written(tmp_path / "x.pth", **changes)), tmp_path,
          match)


def test_counters_of_batches_are_ignored(tmp_path):
  path = written(tmp_path / "x.pth",
                 **{"bn1.num_batches_tracked": np.array(5, "<i8")})
  made(Checkpoint(path=path), tmp_path)


@pytest.mark.parametrize("given, match", [
    (dict(groups=2), r"resnext14_2x16d: .* misshapen .*or leave depth"),
    (dict(width_per_group=32), "resnext14_4x32d: .* misshapen"),
    (dict(depth=50), r"resnext50_4x16d: .* missing \(layer1\.1\.conv1\.weight"),
    (dict(depth=12), "there is no network of depth 12")])
def test_a_design_that_is_given_must_fit(tmp_path, given, match):
  path = written(tmp_path / "x.pth")
  refused(Checkpoint(path=path, **given), tmp_path, match)
  made(Checkpoint(path=path, **SMALL), tmp_path)


@pytest.mark.parametrize("name, match", [("classes", "imagenet, number, any"),
                                         ("precision", "float32, mixed_bf")])
def test_settings_that_cannot_be(name, match):
  with pytest.raises(InputError, match=f"Checkpoint.{name} is 'x'.*{match}"):
    Checkpoint(path="x.pth", **{name: "x"})


def test_data_of_another_kind(tmp_path):
  make = Checkpoint(path=written(tmp_path / "x.pth"))
  refused(make, tmp_path, "of 3 channels, those of the data set have 1",
          dataset_of(channels=1))
  four = dataset_of("abcd")
  refused(make, tmp_path, "has 3 classes, the data set 4", four)
  victim = made(dataclasses.replace(make, classes="any"), tmp_path, four)
  assert victim.num_classes == 3
  # One that lies in the cache by now is refused all the same.
  with pytest.raises(InputError, match="has 3 classes, the data set 4"):
    made(make, tmp_path, four)


def names_in(path):
  """A list of ImageNet's classes that tensorflow-datasets brings along."""
  import tensorflow_datasets

  folder = pathlib.Path(tensorflow_datasets.__file__).parent
  return (folder / path).read_text().split()


def synsets():
  return names_in("datasets/imagenet2012/labels.txt")


def test_classes_of_imagenet():
  names = synsets()
  assert len(names) == 1000 and names == sorted(names)
  assert torchvision.is_imagenet(tuple(names))
  # Its imagenet_resized has the same classes in another order.
  resized = names_in("image_classification/imagenet_resized_labels.txt")
  assert sorted(resized) == names
  for other in (resized, names[:-1], [*names, "n99999999"], [], names[::-1]):
    assert not torchvision.is_imagenet(other)


def test_weights_for_imagenet_need_its_classes(tmp_path):
  path = written(tmp_path / "x.pth", classes=1000)
  make = Checkpoint(path=path, classes="imagenet")
  names = synsets()
  made(make, tmp_path, dataset_of(names))
  numbers = dataset_of(map(str, range(1000)))
  refused(make, tmp_path / "new", "are not its 1,000 synsets", numbers)
  for classes in ("number", "any"):
    made(dataclasses.replace(make, classes=classes), tmp_path, numbers)


class TestWSL:

  def test_a_wsl_file(self, tmp_path):
    sizes = dict(depth=101, groups=32, width_per_group=1)
    path = pathlib.Path(written(tmp_path / "x.pth", sizes, 1000, width=64))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(tmp_path / f"ig_resnext101_32x1-{digest[:8]}.pth")
    dataset = dataset_of(synsets())
    victim = made(WSL(path=str(path)), tmp_path, dataset)
    assert victim.predict(dataset.train.images[:2]).shape == (2, 1000)
    assert "CC BY-NC 4.0" in victim.licence
    assert victim.licence == wsl.LICENCE
    assert len(victim.licence.splitlines()) == 1
    refused(WSL(path=str(path)), tmp_path / "new", "1,000 synsets",
            dataset_of(map(str, range(1000))))

  def test_a_wrong_hash(self, tmp_path):
    path = written(tmp_path / "ig_resnext101_32x16-c6f796b0.pth")
    refused(WSL(path=path), tmp_path, r"its name says c6f796b0; it is incomp")

  def test_another_network(self, tmp_path):
    path = written(tmp_path / "x.pth")
    refused(WSL(path=path), tmp_path,
            r"not of resnext101_32x2d: .* missing .*misshapen")


def test_no_licence_is_none(tmp_path):
  path = written(tmp_path / "x.pth")
  assert made(Checkpoint(path=path), tmp_path).licence == ""
  assert made(Checkpoint(path=path, licence="mine"), tmp_path).licence == "mine"


class _Command:

  def __init__(self, mark):
    self.mark = mark

  def __reduce__(self):
    return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("make", [Checkpoint, WSL])
@pytest.mark.parametrize("write", [pickles.write_old, pickles.write_zip])
def test_code_is_refused_and_not_run(tmp_path, make, write):
  mark = tmp_path / "ran"
  path = write(tmp_path / "x.pth", pickle.dumps({"a": _Command(mark)}, 2))
  refused(make(path=str(path)), tmp_path, r"system, which is no tensor")
  assert not mark.exists()


@pytest.mark.parametrize("damage, match", [
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), "truncated"),
    (lambda path: path.write_bytes(b"no model"), "no checkpoint of torch"),
    (lambda path: path.unlink(), "there is no checkpoint"),
    (lambda path: (path.unlink(), path.mkdir()), "is a folder")])
@pytest.mark.parametrize("old", [False, True])
def test_files_that_cannot_be(tmp_path, damage, match, old):
  path = tmp_path / "x.pth"
  written(path, old=old)
  damage(path)
  refused(Checkpoint(path=str(path)), tmp_path, match)
