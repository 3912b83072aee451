"""Image files damaged in their middle: the file is named, never half read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from fixtures import commands
from fixtures.image_files import own_cache, refused  # noqa: F401
from fixtures.jpeg_files import encode, jpeg, oddities, photograph
from wsl_extraction.data import datasets
from wsl_extraction.data.images import decode
from wsl_extraction.data.images import jpeg as jpeg_files
from wsl_extraction.errors import DataWarning, InputError

KINDS = {
    "baseline": jpeg(90, 120),
    "progressive": jpeg(90, 120, progressive=True),
    "restarts": jpeg(90, 120, restart_marker_rows=1),
    "grey": encode(photograph(90, 120).convert("L"), quality=92),
    "PNG": encode(photograph(90, 120), "PNG"),
}


def zeroed(file, start=0.5, count=1500):
  """A block of the file that was never written, as after a crash."""
  place = int(len(file) * start)
  return file[:place] + bytes(count) + file[place + count:]


def without(file, start=0.6, count=50):
  place = int(len(file) * start)
  return file[:place] + file[place + count:]


def overwritten(file, start=0.6, count=60):
  place = int(len(file) * start)
  noise = np.random.default_rng(0).bytes(count)
  return file[:place] + noise + file[place + count:]


@pytest.mark.parametrize("damage", [zeroed, without, overwritten])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_warned_of(kind, damage):
  """Most is refused; what is left over at the end may be anything."""
  decode.check_whole(KINDS[kind], "p.jpg")
  with pytest.raises((InputError, DataWarning), match=r"p\.jpg") as error:
    decode.check_whole(damage(KINDS[kind]), "p.jpg")
  if error.type is InputError:
    assert "cannot read" in str(error.value)
    assert "repair or remove it" in str(error.value)
  else:
    assert "may be damaged: Corrupt JPEG data" in str(error.value)


def test_pillow_alone_gives_half_an_image():
  """Why a second decoder is asked."""
  with Image.open(io.BytesIO(zeroed(KINDS["baseline"]))) as image:
    half = np.asarray(image)
  with Image.open(io.BytesIO(KINDS["baseline"])) as image:
    whole = np.asarray(image)
  assert (half[:30] == whole[:30]).all() and (half[-20:] != whole[-20:]).any()


@pytest.mark.parametrize("name", oddities())
def test_whole_images_of_all_kinds_pass(name):
  decode.check_whole(oddities()[name], "p.jpg")


def test_superfluous_bytes_before_the_end_do_no_harm():
  """ImageNet has such files; all of the image is there."""
  file = KINDS["baseline"]
  padded = file[:-2] + bytes(99) + file[-2:]
  assert jpeg_files.fault(padded) is None
  noted = file[:-2] + b"a note of the camera" * 9 + file[-2:]
  with pytest.warns(DataWarning, match="p may be damaged: Corrupt JPEG data"):
    decode.check_whole(noted, "p")
  whole, other = (
      decode.decode(one, 3, None, False, "", True) for one in (file, padded))
  np.testing.assert_array_equal(whole, other)


@pytest.mark.parametrize("options", [
    {}, {"image_size": 32}, {"image_size": 32, "streamed": True}])
def test_a_folder_with_a_damaged_image_is_refused(tmp_path, options):
  for place in ("a/0.jpg", "a/1.jpg", "b/0.jpg"):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(KINDS["baseline"])
  assert len(datasets.load(str(tmp_path), **options).train) == 3
  (tmp_path / "a" / "1.jpg").write_bytes(zeroed(KINDS["baseline"]))
  with refused("cannot read", "a/1.jpg", "Corrupt JPEG data", "repair"):
    datasets.load(str(tmp_path), **options)


def test_a_command_warns_on_lines_of_its_own(tmp_path):
  """And shows nothing of Pillow's, of damaged metadata."""
  commands.write_modules(tmp_path)
  rng = np.random.default_rng(0)
  exif = b"Exif\0\0II*\0\x08\0\0\0\xff\0" + bytes(40)
  for label in range(10):
    folder = tmp_path / "images" / str(label)
    folder.mkdir(parents=True)
    for index in range(3):
      image = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
      file = encode(image, exif=exif)
      if label == index == 0:
        file = file[:-2] + b"a note of the camera" * 9 + file[-2:]
      (folder / f"{index}.jpg").write_bytes(file)
  done = commands.run_label(tmp_path, "./images", 20, 10)
  assert done.status == 0, done.stderr
  line = next(line for line in done.stderr.splitlines() if "damaged" in line)
  assert line.startswith("WARNING: images/0/0.jpg may be damaged: Corrupt JPEG")
  assert line.endswith("; look at it")
  assert "EXIF" not in done.stderr and "UserWarning" not in done.stderr


# Pillow's own, of damaged metadata; and ours.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", [
    "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG", "JPEG2000", "AVIF", "PPM",
    "TGA", "ICO"])
def test_no_damaged_file_ends_in_a_traceback(kind):
  """Decoders raise exceptions of all kinds; each becomes one line."""
  from PIL import features

  Image.init()
  if kind not in Image.SAVE or (
      kind == "AVIF" and not features.check("avif")):
    pytest.skip(f"this Pillow writes no {kind}")
  file = encode(photograph(24, 32), kind)
  rng = np.random.default_rng(0)
  for _ in range(60):
    damaged = bytearray(file)
    place = int(rng.integers(len(file)))
    if rng.random() < 0.3:
      del damaged[place:]
    else:
      damaged[place:place + 8] = rng.bytes(len(damaged[place:place + 8]))
    try:
      decode.check_whole(bytes(damaged), "p")
      pixels = decode.decode(bytes(damaged), 3, 16, True, "p", True)
      assert pixels.shape == (16, 16, 3)
    except InputError as error:
      assert "\n" not in str(error)
