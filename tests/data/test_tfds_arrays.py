"""Data sets that tensorflow-datasets prepared, and the cache."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fixtures.image_files import (
    ROOT,
    own_cache,  # noqa: F401
    pixels,
    png,
    refused,
)
from fixtures.prepared_files import example, prepare, write_records
from wsl_extraction.data import cache, datasets
from wsl_extraction.data.images import decode


def records_of(arrays, classes=3):
  return [(png(array), i % classes) for i, array in enumerate(arrays)]


@pytest.fixture
def prepared(tmp_path):
  splits = {"train": records_of(pixels(9)),
            "test": records_of(pixels(4, seed=1))}
  return prepare(tmp_path / "tfds", splits, (6, 6, 3))


def test_prepared_data_set(prepared):
  dataset = datasets.load("cifar10", data_dir=str(prepared))
  np.testing.assert_array_equal(dataset.train.rows, pixels(9))
  assert dataset.test is not None
  np.testing.assert_array_equal(dataset.test.rows, pixels(4, seed=1))
  np.testing.assert_array_equal(dataset.test.labels, [0, 1, 2, 0])
  assert dataset.class_names == ("ant", "bee", "cat")
  assert dataset.space.value_range == (0, 255)


def test_prepared_data_set_by_version_folder_and_variable(
    prepared, monkeypatch):
  first = datasets.load("cifar10", data_dir=str(prepared)).fingerprint
  folder = prepared / "cifar10" / "3.0.2"
  assert datasets.load(str(folder)).fingerprint == first
  monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
  assert datasets.load("cifar10:3.0.2").fingerprint == first
  monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
  assert datasets.load("cifar10", str(prepared)).fingerprint == first


def test_data_set_of_ones_own_needs_no_registration(tmp_path):
  splits = {"train": records_of(pixels(6))}
  prepare(tmp_path, splits, (6, 6, 3), name="my_own")
  dataset = datasets.load("my_own", data_dir=str(tmp_path))
  assert len(dataset.train) == 6
  assert dataset.test is None


def test_tfrecord_gives_the_same(prepared, tmp_path):
  pytest.importorskip("tensorflow")
  splits = {"train": records_of(pixels(9)),
            "test": records_of(pixels(4, seed=1))}
  other = prepare(tmp_path / "tf", splits, (6, 6, 3), form="tfrecord")
  a, b = (datasets.load("cifar10", str(d)) for d in (prepared, other))
  assert a.fingerprint == b.fingerprint


def test_tfrecord_without_tensorflow_is_refused(tmp_path, monkeypatch):
  pytest.importorskip("tensorflow")
  import importlib.util
  splits = {"train": records_of(pixels(2)), "test": records_of(pixels(2))}
  prepare(tmp_path, splits, (6, 6, 3), form="tfrecord")
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with refused("tfrecord", "install tensorflow", "array_record"):
    datasets.load("cifar10", str(tmp_path))


def test_reading_needs_neither_tensorflow_nor_keras(prepared):
  code = (
      "import sys\n"
      "from wsl_extraction.data import datasets\n"
      "heavy = 'tensorflow_datasets sklearn PIL scipy pandas mlxtend'.split()\n"
      "assert not [name for name in heavy if name in sys.modules]\n"
      f"datasets.load('cifar10', {str(prepared)!r})\n"
      "heavy = 'tensorflow keras jax torch sklearn'.split()\n"
      "assert not [name for name in heavy if name in sys.modules]\n")
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_unlabelled_test_split_is_passed_over(tmp_path):
  hidden = [(image, -1) for image, _ in records_of(pixels(3))]
  splits = {"train": records_of(pixels(3)), "test": hidden,
            "validation": records_of(pixels(2))}
  prepare(tmp_path, splits, (6, 6, 3))
  dataset = datasets.load("cifar10", str(tmp_path))
  assert dataset.test is not None and len(dataset.test) == 2


def test_prepared_images_of_different_sizes(tmp_path):
  photographs = [*pixels(2, 20, 30), *pixels(1, 30, 20)]
  prepare(tmp_path, {"train": records_of(photographs)}, (-1, -1, 3))
  with refused("image 2", "cifar10", "20x30", "30x20", "image_size"):
    datasets.load("cifar10", str(tmp_path))
  dataset = datasets.load("cifar10", str(tmp_path), image_size=14)
  expected = decode.resize(Image.fromarray(photographs[2]), 14, crop=True)
  np.testing.assert_array_equal(dataset.train.rows[2], expected)


def test_prepared_square_images_are_stretched(prepared):
  dataset = datasets.load("cifar10", str(prepared), image_size=12)
  expected = decode.resize(Image.fromarray(pixels(9)[3]), 12, crop=False)
  np.testing.assert_array_equal(dataset.train.rows[3], expected)


def test_prepared_data_set_that_does_not_fit(prepared, monkeypatch):
  monkeypatch.setattr(decode, "_free_memory", lambda: 2**20)
  with refused("cifar10", "13 images of 224x224x3", "GiB", "image_size"):
    datasets.load("cifar10", str(prepared), image_size=224)


def test_unknown_and_unprepared_names(tmp_path):
  with refused("cifra10", "mnist5k", "digits", "did you mean cifar10?"):
    datasets.load("cifra10")
  with refused("minst5k", "did you mean mnist5k?"):
    datasets.load("minst5k")
  for name in ("", "a b", "a/b/c", "no\nname", "x" * 300):
    with refused("no data set named"):
      datasets.load(name, str(tmp_path))
  with refused("svhn_cropped", "not prepared", tmp_path, "data_dir",
               "file_format='array_record'"):
    datasets.load("svhn_cropped", str(tmp_path))


def test_other_version_is_named(prepared):
  with refused("cifar10:9.9.9", "cifar10/3.0.2"):
    datasets.load("cifar10:9.9.9", str(prepared))


def test_file_that_is_no_npz(tmp_path):
  (tmp_path / "x.dat").write_text("1,2")
  with refused("x.dat", "is a file", ".npz"):
    datasets.load(str(tmp_path / "x.dat"))


@pytest.mark.parametrize(
    "file", ["dataset_info.json", "features.json",
             "cifar10-train.array_record-00000-of-00001"])
@pytest.mark.parametrize("damage", ["remove", "empty", "cut", "text", "flip"])
def test_damaged_prepared_data_set(prepared, file, damage):
  path = prepared / "cifar10" / "3.0.2" / file
  content = path.read_bytes()
  if damage == "remove":
    path.unlink()
  else:
    middle = len(content) // 2
    flipped = bytes(byte ^ 255 for byte in content[middle:middle + 64])
    path.write_bytes({
        "empty": b"", "cut": content[:middle], "text": b"no such thing",
        "flip": content[:middle] + flipped + content[middle + 64:]}[damage])
  with refused("cifar10"):
    datasets.load("cifar10", str(prepared))


def test_fewer_class_names_than_classes_are_refused(prepared):
  (prepared / "cifar10" / "3.0.2" / "label.labels.txt").write_text("ant\nbee\n")
  with refused("cifar10", "label 2 of 2 classes", "prepare"):
    datasets.load("cifar10", str(prepared))


def test_prepared_image_that_is_damaged(tmp_path):
  records = records_of(pixels(3))
  records[1] = (b"no image", 1)
  prepare(tmp_path, {"train": records}, (6, 6, 3))
  with refused("image 1", "cifar10", "not an image"):
    datasets.load("cifar10", str(tmp_path))


def test_prepared_data_set_without_one_class_each(prepared):
  path = prepared / "cifar10" / "3.0.2" / "features.json"
  path.write_text(path.read_text().replace('"label"', '"other"'))
  with refused("cifar10", "it has image, other", "classification"):
    datasets.load("cifar10", str(prepared))


# The cache.


def test_what_took_long_is_read_from_the_cache(prepared, monkeypatch):
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0.0)
  first = datasets.load("cifar10", str(prepared)).fingerprint
  kept = list((cache.folder() / "datasets").iterdir())
  assert len(kept) == 1
  monkeypatch.setattr(decode, "decode", None)
  assert datasets.load("cifar10", str(prepared)).fingerprint == first
  monkeypatch.undo()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_cache_is_decoded_anew(prepared, monkeypatch, damage):
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0.0)
  first = datasets.load("cifar10", str(prepared)).fingerprint
  kept, = (cache.folder() / "datasets").iterdir()
  content = bytearray(kept.read_bytes())
  content[300] ^= 255
  kept.write_bytes(
      {"cut": content[:500], "flip": content, "empty": b""}[damage])
  assert datasets.load("cifar10", str(prepared)).fingerprint == first


def test_cache_is_not_used_for_other_files_or_sizes(prepared, monkeypatch):
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0.0)
  datasets.load("cifar10", str(prepared))
  assert datasets.load(
      "cifar10", str(prepared), image_size=8).space.shape == (8, 8, 3)
  path = prepared / "cifar10" / "3.0.2"
  path /= "cifar10-train.array_record-00000-of-00001"
  records = [example(*r) for r in records_of(pixels(9, seed=5))]
  write_records(path, records, "array_record")
  dataset = datasets.load("cifar10", str(prepared))
  np.testing.assert_array_equal(dataset.train.rows, pixels(9, seed=5))


def test_cache_that_cannot_be_written_is_done_without(
    prepared, monkeypatch, tmp_path):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path / "file"))
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0.0)
  assert len(datasets.load("cifar10", str(prepared)).train) == 9


# Real data, where it lies prepared.


@pytest.fixture
def real():
  folder = os.environ.get("WSL_TEST_TFDS")
  if not folder:
    pytest.skip("WSL_TEST_TFDS names no folder with cifar10 and imagenet2012")
  return folder


def test_real_cifar10(real):
  dataset = datasets.load("cifar10", real)
  assert dataset.test is not None
  assert np.bincount(dataset.train.known_labels).tolist() == [5000] * 10
  assert np.bincount(dataset.test.known_labels).tolist() == [1000] * 10
  # The channel means that are quoted everywhere; JPEG moves them a little.
  rows = np.asarray(dataset.train.rows)
  np.testing.assert_allclose(
      rows.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=2e-3)


def test_real_photographs(real):
  with refused("imagenet2012", "image_size"):
    datasets.load("imagenet2012", real)
  dataset = datasets.load("imagenet2012", real, image_size=224)
  assert dataset.train.rows.shape == (95, 224, 224, 3)
  assert dataset.num_classes == 1000
  assert dataset.class_names[0] == "n01440764"
