"""Victims in torchvision's files: they answer as torch does, anywhere."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.special

from fixtures.commands import ROOT
from fixtures.torchvision_files import (
    SMALL,
    dataset_of,
    images_in,
    made,
    state_of,
    written,
)
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnext import IMAGENET_MEAN, IMAGENET_STD, resnext
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.victims import torchvision, torchvision_layers
from wsl_extraction.victims.torchvision import TorchvisionFile


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
    dict(depth=14, width=8, width_per_group=128)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("old", [False, True])
def test_answers_as_torch(tmp_path, torch_module, sizes, old):
  answer = torch_module(tmp_path / "x.pth", old, **sizes)
  dataset = dataset_of()
  victim = made(TorchvisionFile(path=str(tmp_path / "x.pth"), batch_size=5),
                tmp_path, dataset)
  assert set(victim.quantities) == {Quantity.LOGITS}
  assert (victim.space, victim.outputs) == (Images(32, 40, 3), 3)
  expected = answer(images_in(dataset))
  assert expected.std(0).min() > 0.01
  np.testing.assert_allclose(victim.predict(images_in(dataset)), expected,
                             rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_other_numbers_become_float32(tmp_path, torch_module, kind):
  # torch's own module keeps what the rounding to 16 bits has left.
  answer = torch_module(tmp_path / "x.pth", convert=kind, **SMALL, width=16)
  dataset = dataset_of()
  victim = made(
      TorchvisionFile(path=str(tmp_path / "x.pth")), tmp_path, dataset)
  np.testing.assert_allclose(
      victim.predict(images_in(dataset)), answer(images_in(dataset)),
      rtol=0, atol=1e-4)


def test_images_of_another_range(tmp_path):
  path = written(tmp_path / "x.pth")
  of_bytes, of_floats = dataset_of(), dataset_of(scale=1 / 255)
  answers = [made(TorchvisionFile(path=path), tmp_path, dataset).predict(
      images_in(dataset)) for dataset in (of_bytes, of_floats)]
  np.testing.assert_allclose(*answers, rtol=0, atol=1e-4)


def test_converted_once_and_found_again(tmp_path, monkeypatch):
  path = written(tmp_path / "x.pth")
  dataset = dataset_of()
  first = made(TorchvisionFile(path=path), tmp_path)
  (file,) = (tmp_path / "cache" / "victims").iterdir()
  assert file.suffix == ".keras"
  monkeypatch.setattr(torchvision.torch_checkpoint, "read", None)
  again = made(TorchvisionFile(path=path), tmp_path)
  np.testing.assert_array_equal(again.predict(images_in(dataset)),
                                first.predict(images_in(dataset)))
  assert again.fingerprint == first.fingerprint
  # Where it lies and how it computes are not what it answers.
  moved = pathlib.Path(path).rename(tmp_path / "y.pth")
  assert made(TorchvisionFile(path=str(moved), batch_size=1),
              tmp_path).fingerprint == first.fingerprint


def test_what_changes_answers_changes_the_fingerprint(tmp_path):
  path = written(tmp_path / "x.pth")
  victims = [made(source, tmp_path) for source in (
      TorchvisionFile(path=path),
      TorchvisionFile(path=path, mean=(0, 0, 0)),
      TorchvisionFile(path=path, std=(1, 1, 1)),
      TorchvisionFile(path=path, precision="mixed_bfloat16"))]
  other = written(tmp_path / "y.pth", **{"fc.bias": np.ones(3, "<f4")})
  victims.append(made(TorchvisionFile(path=other), tmp_path))
  assert len({victim.fingerprint for victim in victims}) == 5
  assert made(TorchvisionFile(path=path, split_groups=False),
              tmp_path).fingerprint == victims[0].fingerprint


def test_answers_in_float32_whatever_the_policy(tmp_path):
  path = written(tmp_path / "x.pth")
  images = images_in(dataset_of())
  expected = made(TorchvisionFile(path=path), tmp_path).predict(images)
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    found_again = made(TorchvisionFile(path=path), tmp_path)
    converted = made(TorchvisionFile(path=path), tmp_path / "other")
    coarse = made(
        TorchvisionFile(path=path, precision="mixed_bfloat16"), tmp_path)
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
import pathlib
from fixtures import torchvision_files, undrawn_weights
from wsl_extraction.victims.torchvision import TorchvisionFile
maker = TorchvisionFile(path="x.pth")
with undrawn_weights.undrawn():
  victim = torchvision_files.made(maker, pathlib.Path("other"))
images = torchvision_files.dataset_of().train.rows
np.save("answers.npy", victim.predict(images))
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
  victim = made(TorchvisionFile(path=path), tmp_path)
  assert done.stdout.split() == [other, victim.fingerprint], done.stderr
  np.testing.assert_allclose(
      np.load(tmp_path / "answers.npy"),
      victim.predict(images_in(dataset_of())), rtol=0, atol=1e-4)


def test_it_answers_through_an_oracle(tmp_path):
  victim = made(TorchvisionFile(path=written(tmp_path / "x.pth")), tmp_path)
  oracle = Oracle(Live(victim, Scores()))
  rows = images_in(dataset_of())
  response = oracle.query(rows)
  np.testing.assert_allclose(
      response.values, scipy.special.softmax(victim.predict(rows), axis=1),
      rtol=1e-5)


@pytest.mark.parametrize("layer, name", [
    ("conv1_conv", "conv1"), ("conv1_bn", "bn1"), ("logits", "fc"),
    ("conv2_block1_0_conv", "layer1.0.downsample.0"),
    ("conv2_block1_0_bn", "layer1.0.downsample.1"),
    ("conv4_block23_2_conv", "layer3.22.conv2"),
    ("conv5_block3_3_bn", "layer4.2.bn3")])
def test_names_of_layers(layer, name):
  assert torchvision_layers.torch_name(layer) == name


@pytest.mark.parametrize("sizes", SIZES)
def test_the_shapes_tell_the_design(tmp_path, sizes):
  network = resnext((32, 32, 3), 3, **sizes)
  assert torchvision_layers.design_of("it", state_of(network)) == {
      "groups": 1, "width_per_group": 64, **sizes}


def test_a_damaged_copy_in_the_cache_is_made_anew(tmp_path):
  path = written(tmp_path / "x.pth")
  first = made(TorchvisionFile(path=path), tmp_path)
  (copy,) = tmp_path.rglob("*.keras")
  copy.write_bytes(copy.read_bytes()[:1000])
  again = made(TorchvisionFile(path=path), tmp_path)
  images = images_in(dataset_of())
  np.testing.assert_array_equal(again.predict(images), first.predict(images))


@pytest.mark.parametrize("settings", [
    {"path": None}, {"path": 3}, {"mean": 0.5}, {"std": ("a", "b", "c")},
    {"batch_size": 0}, {"batch_size": "64"}, {"licence": 5},
    {"split_groups": "x"}])
def test_settings_of_a_wrong_type(settings):
  (name,) = settings
  with pytest.raises(InputError, match=f"TorchvisionFile.{name} is"):
    TorchvisionFile(**{"path": "x.pth", **settings})
