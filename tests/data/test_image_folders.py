"""Folders of class folders, and image files of all kinds."""

import os

import numpy as np
import pytest
from PIL import Image

from fixtures.image_files import (
    make_folder,
    own_cache,  # noqa: F401
    pixels,
    png,
    refused,
)
from wsl_extraction.data import datasets
from wsl_extraction.data.images import decode


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
  np.testing.assert_array_equal(dataset.train.rows[:2], pixels(2, seed=1))
  np.testing.assert_array_equal(dataset.train.rows[2:], pixels(3, seed=0))
  assert dataset.fingerprint == datasets.load(str(root)).fingerprint


@pytest.mark.parametrize("held_out", ["test", "val", "validation"])
def test_folder_with_a_test_set(tmp_path, held_out):
  make_folder(tmp_path / "train", {"a": 2, "b": 2, "c": 1})
  make_folder(tmp_path / held_out, {"b": 1, "c": 2})
  dataset = datasets.load(str(tmp_path))
  assert len(dataset.train) == 5
  assert dataset.test is not None
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
  return datasets.load(str(tmp_path)).train.rows[0]


def test_grey_images_have_one_channel(tmp_path):
  array = pixels(1, channels=1)[0]
  read = one_image(tmp_path, Image.fromarray(array[..., 0]))
  np.testing.assert_array_equal(read, array)


def test_one_colour_image_makes_all_colour(tmp_path):
  make_folder(tmp_path / "a", {"x": 1})
  (tmp_path / "a" / "y").mkdir()
  grey = pixels(1, channels=1)[0]
  (tmp_path / "a" / "y" / "0.png").write_bytes(png(grey))
  read = datasets.load(str(tmp_path / "a")).train.rows[1]
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
  read = datasets.load(str(tmp_path)).train.rows
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
  assert dataset.space.shape == (6, 4, 3)
  np.testing.assert_array_equal(*dataset.train.rows)


def test_sizes_that_differ_need_image_size(tmp_path):
  make_folder(tmp_path, {"a": 2})
  make_folder(tmp_path, {"b": 1}, height=10, width=20)
  with refused("a/0.png", "6x6", "b/0.png", "20x10", "image_size"):
    datasets.load(str(tmp_path))
  dataset = datasets.load(str(tmp_path), image_size=8)
  assert dataset.space.shape == (8, 8, 3)


def test_resizing_keeps_the_centre():
  array = np.zeros((100, 300, 3), np.uint8)
  array[:, 100:200] = 255
  cut = np.asarray(decode.resize(Image.fromarray(array), 56, crop=True))
  assert cut.shape == (56, 56, 3)
  # 64 rows remain of 100, so the white middle is 64 wide and fills the crop.
  assert cut[:, 4:-4].min() == 255
  whole = np.asarray(decode.resize(Image.fromarray(array), 60, crop=False))
  np.testing.assert_array_equal(whole[:, 22:38], 255)
  np.testing.assert_array_equal(whole[:, :18], 0)


def test_resizing_leaves_what_has_the_size():
  image = Image.fromarray(pixels(1, 8, 8)[0])
  assert decode.resize(image, 8, crop=True) is image


def test_squares_of_one_size_are_stretched_not_cropped(tmp_path):
  array = np.zeros((8, 8), np.uint8)
  array[0] = 255  # A crop would cut the border off.
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    Image.fromarray(array).save(tmp_path / folder / "x.png")
  read = datasets.load(str(tmp_path), image_size=16).train.rows
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
  monkeypatch.setattr(decode, "_free_memory", lambda: 2**20)
  assert len(datasets.load(str(root)).train) == 4
  monkeypatch.setattr(decode, "decode", None)
  with refused(tmp_path, "GiB", "image_size"):
    datasets.load(str(root), image_size=224)


def test_free_memory_is_a_plausible_number():
  import psutil
  assert 2**20 < decode._free_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "32"])
def test_image_size_is_a_whole_number(size):
  with refused("image_size", repr(size)):
    datasets.load("digits", image_size=size)
