"""Weights for ImageNet and their classes; and files that are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

from fixtures import pickles
from fixtures.torchvision_files import (
    SMALL,
    dataset_of,
    made,
    names_in,
    refused,
    state_of,
    synsets,
    written,
)
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnext import resnext
from wsl_extraction.victims import torchvision, wsl
from wsl_extraction.victims.torchvision import TorchvisionFile
from wsl_extraction.victims.wsl import WSL


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
  path = written(tmp_path / "x.pth", **changes)
  refused(TorchvisionFile(path=path), tmp_path, match)


def test_counters_of_batches_are_ignored(tmp_path):
  path = written(tmp_path / "x.pth",
                 **{"bn1.num_batches_tracked": np.array(5, "<i8")})
  made(TorchvisionFile(path=path), tmp_path)


@pytest.mark.parametrize("given, match", [
    (dict(groups=2), r"resnext14_2x16d: .* misshapen .*or leave depth"),
    (dict(width_per_group=32), "resnext14_4x32d: .* misshapen"),
    (dict(depth=26), r"resnext26_4x16d: .* missing \(layer1\.1\.conv1\.weight"),
    (dict(depth=12), "there is no network of depth 12")])
def test_a_design_that_is_given_must_fit(tmp_path, given, match):
  path = written(tmp_path / "x.pth")
  refused(TorchvisionFile(path=path, **given), tmp_path, match)
  made(TorchvisionFile(path=path, **SMALL), tmp_path)


@pytest.mark.parametrize("name, match", [("classes", "imagenet, number, any"),
                                         ("precision", "float32, mixed_bf")])
def test_settings_that_cannot_be(name, match):
  wrong: Any = "x"
  with pytest.raises(InputError, match=f"File.{name} is 'x'; choose.*{match}"):
    TorchvisionFile(path="x.pth", **{name: wrong})


def test_data_of_another_kind(tmp_path):
  source = TorchvisionFile(path=written(tmp_path / "x.pth"))
  refused(source, tmp_path, "of 3 channels, those of the data set have 1",
          dataset_of(channels=1))
  four = dataset_of("abcd")
  refused(source, tmp_path, "has 3 classes, the data set 4", four)
  victim = made(dataclasses.replace(source, classes="any"), tmp_path, four)
  assert victim.outputs == 3
  # One that lies in the cache by now is refused all the same.
  with pytest.raises(InputError, match="has 3 classes, the data set 4"):
    made(source, tmp_path, four)


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
  path = written(tmp_path / "x.pth", **{
      "fc.weight": np.ones((1000, 512), "<f4"),
      "fc.bias": np.ones(1000, "<f4")})
  source = TorchvisionFile(path=path, classes="imagenet")
  names = synsets()
  made(source, tmp_path, dataset_of(names))
  numbers = dataset_of(map(str, range(1000)))
  refused(source, tmp_path / "new", "are not its 1,000 synsets", numbers)
  for classes in ("number", "any"):
    made(dataclasses.replace(source, classes=classes), tmp_path, numbers)


class TestWSL:

  def test_a_wsl_file(self, tmp_path):
    network = resnext((32, 40, 3), 1000, depth=101, groups=32,
                      width_per_group=1)
    path = pathlib.Path(written(tmp_path / "x.pth", state_of(network)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(tmp_path / f"ig_resnext101_32x1-{digest[:8]}.pth")
    dataset = dataset_of(synsets())
    # How it is computed is tested above, and takes long to compile.
    victim = made(WSL(path=str(path), split_groups=False), tmp_path, dataset)
    assert victim.predict(dataset.train.rows[:2]).shape == (2, 1000)
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
    refused(WSL(path=path, classes="any"), tmp_path,
            r"not of resnext101_32x\d+d: .* missing .*misshapen")


def test_no_licence_is_none(tmp_path):
  path = written(tmp_path / "x.pth")
  assert made(TorchvisionFile(path=path), tmp_path).licence == ""
  mine = TorchvisionFile(path=path, licence="mine")
  assert made(mine, tmp_path).licence == "mine"


class _Command:

  def __init__(self, mark):
    self.mark = mark

  def __reduce__(self):
    return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("make", [TorchvisionFile, WSL])
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
  written(path, None, old)
  damage(path)
  refused(TorchvisionFile(path=str(path)), tmp_path, match)
