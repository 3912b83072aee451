"""Images with odd metadata and modes are read as everybody sees them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from fixtures.image_files import own_cache, pixels  # noqa: F401
from fixtures.jpeg_files import encode, photograph
from wsl_extraction.data import datasets
from wsl_extraction.data.images import decode

# Pillow's own, of damaged metadata; commands do not show them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def read(file, channels=3, upright=True):
  decode.check_whole(file, "p")
  return decode.decode(file, channels, None, False, "p", upright)


def oriented(value):
  exif = Image.Exif()
  exif[0x0112] = value
  return encode(photograph(12, 20), exif=exif, quality=95)


@pytest.mark.parametrize("value", range(1, 9))
def test_orientations_are_pillows(value):
  file = oriented(value)
  with Image.open(io.BytesIO(file)) as image:
    expected = np.asarray(ImageOps.exif_transpose(image))
  np.testing.assert_array_equal(read(file), expected)
  assert read(file, upright=False).shape == (12, 20, 3)


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
@pytest.mark.parametrize("options", [{}, {"image_size": 8, "streamed": True}])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, value, options):
  for name, file in (("a", oriented(value)), ("b", oriented(1))):
    (tmp_path / name).mkdir()
    (tmp_path / name / "0.jpg").write_bytes(file)
  rows = datasets.load(str(tmp_path), **options).train.rows
  np.testing.assert_array_equal(*np.asarray(rows))


def test_metadata_that_cannot_be_read_turns_nothing():
  good = oriented(6)
  start = good.index(b"Exif\0\0") + 6
  for broken in (b"\xff" * 12, b"II*\0\xff\xff\xff\xff\xff\xff\xff\xff"):
    file = good[:start] + broken + good[start + len(broken):]
    assert read(file).shape == (12, 20, 3)


def test_an_orientation_of_text_is_none():
  good = oriented(6)
  number, text = ((b"\x01\x12\0\3", b"\x01\x12\0\2"),
                  (b"\x12\x01\3\0", b"\x12\x01\2\0"))[b"II*\0" in good]
  assert number in good
  assert read(good.replace(number, text)).shape == (12, 20, 3)


def test_profiles_of_colour_are_not_applied():
  lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
  image = photograph(12, 20)
  for profile in (lab, b"no profile at all"):
    np.testing.assert_array_equal(
        read(encode(image, "PNG", icc_profile=profile)), np.asarray(image))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_read(kind):
  frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
  options = {"lossless": True} if kind == "WEBP" else {}
  file = encode(frames[0], kind, save_all=True, append_images=frames[1:],
                **options)
  np.testing.assert_array_equal(read(file)[0, 0], [255, 0, 0])


def test_transparency_of_palettes_is_laid_on_white():
  image = Image.new("P", (4, 2), 0)
  image.putpalette([10, 20, 30, 40, 50, 60])
  image.putpixel((1, 0), 1)
  expected = np.full((2, 4, 3), 255)
  expected[0, 1] = [40, 50, 60]
  np.testing.assert_array_equal(
      read(encode(image, "PNG", transparency=0)), expected)
  np.testing.assert_array_equal(
      read(encode(image, "GIF", transparency=0)), expected)


def test_transparency_of_one_colour_is_laid_on_white():
  image = Image.new("RGB", (2, 1), (1, 2, 3))
  image.putpixel((1, 0), (9, 8, 7))
  np.testing.assert_array_equal(
      read(encode(image, "PNG", transparency=(1, 2, 3))),
      [[[255, 255, 255], [9, 8, 7]]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(kind):
  levels = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
  file = encode(Image.fromarray(levels), kind)
  np.testing.assert_array_equal(read(file, channels=1)[..., 0], levels >> 8)
  np.testing.assert_array_equal(
      read(file), np.repeat((levels >> 8)[..., None], 3, 2))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_colours(mode):
  grey = Image.fromarray(pixels(1, channels=1)[0, ..., 0] // 255 * 255)
  image = grey.convert("RGB").convert(mode)
  kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
  np.testing.assert_array_equal(
      read(encode(image, kind)), np.asarray(grey.convert("RGB")))
