"""Files of arrays."""

import pathlib

import numpy as np
import pytest

from fixtures.image_files import (
    own_cache,  # noqa: F401
    pixels,
    refused,
)
from wsl_extraction.data import datasets
from wsl_extraction.data.images import decode


def save(tmp_path, **arrays):
  path = tmp_path / "data.npz"
  np.savez(path, **arrays)
  return str(path)


def test_npz_of_bytes(tmp_path):
  x, y = pixels(6), np.array([0, 1, 2, 0, 1, 2], np.uint8)
  dataset = datasets.load(save(tmp_path, x=x, y=y, other=np.array([{}])))
  np.testing.assert_array_equal(dataset.train.rows, x)
  np.testing.assert_array_equal(dataset.train.labels, y)
  assert dataset.train.known_labels.dtype == np.int32
  assert dataset.space.value_range == (0, 255)
  assert dataset.class_names == ("0", "1", "2")
  assert dataset.test is None


def test_npz_of_floats_with_a_test_set(tmp_path):
  x = np.random.default_rng(0).random((6, 5, 4))
  dataset = datasets.load(save(
      tmp_path, x_train=x, y_train=np.arange(6)[:, np.newaxis] % 3,
      x_test=x[:2], y_test=np.array([1, 4])))
  assert dataset.train.rows.dtype == np.float32
  assert dataset.test is not None
  np.testing.assert_allclose(dataset.test.rows[..., 0], x[:2], rtol=1e-6)
  assert dataset.space.shape == (5, 4, 1)
  assert dataset.space.value_range == (0, 1)
  assert dataset.num_classes == 5


def test_npz_is_resized(tmp_path):
  x = np.full((2, 10, 20, 2), 0.25, np.float32)
  x[..., 1] = 0.75
  dataset = datasets.load(
      save(tmp_path, x=x, y=np.arange(2)), image_size=12)
  assert dataset.space.shape == (12, 12, 2)
  np.testing.assert_allclose(dataset.train.rows[..., 0], 0.25)
  np.testing.assert_allclose(dataset.train.rows[..., 1], 0.75)


def with_value(value, dtype: type[np.number] = np.float32):
  x = np.zeros((4, 3, 3, 1), dtype)
  x[2, 1, 1, 0] = value
  return x


_TWO = np.array([0, 1])
_X2 = pixels(2)


@pytest.mark.parametrize("arrays, words", [
    ({}, ["x_train", "nothing"]),
    ({"images": _X2}, ["images", "x_train"]),
    ({"x": _X2}, ["no array y"]),
    ({"x_train": _X2, "y": _TWO}, ["no array y_train"]),
    ({"x_train": _X2, "y_train": _TWO, "x_test": _X2}, ["no array y_test"]),
    ({"x_train": _X2, "y_train": _TWO, "y_test": _TWO}, ["no array x_test"]),
    ({"x": np.array([{}, {}]), "y": _TWO}, ["array x", "Python objects"]),
    ({"x": _X2, "y": np.array(["a", None])}, ["array y", "Python objects"]),
    ({"x": _X2, "y": np.array(["a", "b"])}, ["array y", "integer"]),
    ({"x": _X2, "y": np.array([0.0, 1.0])}, ["array y", "float64"]),
    ({"x": _X2, "y": np.eye(2)}, ["array y", "[2, 2]", "argmax"]),
    ({"x": _X2, "y": np.array([0, -1])}, ["array y", "-1 at 1"]),
    ({"x": _X2, "y": np.array([0, 10**12])}, ["array y", 10**12]),
    ({"x": _X2, "y": np.arange(3)}, ["2 rows", "3 labels"]),
    ({"x": _X2, "y": np.array([0, 0])}, ["single class"]),
    ({"x": _X2[0, 0, 0], "y": _TWO}, ["array x", "[3]"]),
    ({"x": _X2[:0], "y": _TWO[:0]}, ["array x", "[0, 6, 6, 3]"]),
    ({"x": pixels(2, 3, 8, 8), "y": _TWO}, ["channels first", "transpose"]),
    ({"x": _X2.astype(bool), "y": _TWO}, ["array x", "bool"]),
    ({"x": _X2.astype(complex), "y": _TWO}, ["array x", "complex"]),
    ({"x": with_value(1.5), "y": np.arange(4)}, ["1.5 in image 2", "0..1"]),
    ({"x": with_value(-0.1), "y": np.arange(4)}, ["-0.1 in image 2"]),
    ({"x": with_value(np.nan), "y": np.arange(4)}, ["nan in image 2"]),
    ({"x": with_value(np.inf), "y": np.arange(4)}, ["inf in image 2"]),
    ({"x": with_value(256, np.int64), "y": np.arange(4)}, ["256 in image 2"]),
    ({"x": with_value(-1, np.int64), "y": np.arange(4)}, ["-1 in image 2"]),
    ({"x_train": _X2, "y_train": _TWO, "x_test": pixels(2, 7, 7),
      "y_test": _TWO}, ["[7, 7, 3]", "alike"]),
    ({"x_train": _X2, "y_train": _TWO, "x_test": _X2 / 255.0,
      "y_test": _TWO}, ["float32", "alike"]),
])
def test_bad_arrays_are_refused(tmp_path, arrays, words):
  with refused("data.npz", *words):
    datasets.load(save(tmp_path, **arrays))


def test_bad_npz_files_are_refused(tmp_path, monkeypatch):
  with refused("missing.npz", "No such file"):
    datasets.load(str(tmp_path / "missing.npz"))
  path = save(tmp_path, x=_X2, y=_TWO)
  content = pathlib.Path(path).read_bytes()
  flipped = bytearray(content)
  flipped[200] ^= 255
  for damaged in (b"", b"text", content[:150], content[:-30], bytes(flipped)):
    pathlib.Path(path).write_bytes(damaged)
    with refused("data.npz", "damaged"):
      datasets.load(path)
  with open(path, "wb") as stream:
    np.save(stream, _X2)
  with refused("data.npz", "damaged"):
    datasets.load(path)
  (tmp_path / "folder.npz").mkdir()
  with refused("folder.npz", "cannot read"):
    datasets.load(str(tmp_path / "folder.npz"))
  pathlib.Path(path).write_bytes(content)
  monkeypatch.setattr(decode, "_free_memory", lambda: 100)
  with refused("data.npz", "GiB"):
    datasets.load(path)
