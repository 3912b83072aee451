"""Images, folders and expected refusals, for tests of data sets."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from wsl_extraction.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  """For every test of a module that imports it."""
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path / "cache"))
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


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


def imagenet(root, classes, train, val):
  """JPEG files of different sizes in train/ and val/, as ImageNet extracts."""
  rng = np.random.default_rng(0)
  for part, count in (("train", train), ("val", val)):
    for label in range(classes):
      folder = root / part / f"n{label:08d}"
      folder.mkdir(parents=True)
      for index in range(count):
        height, width = rng.integers(40, 70, 2)
        noise = rng.integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(noise).resize((int(width), int(height))).save(
            folder / f"{folder.name}_{index}.JPEG")
  return root


def make_folder(root, classes, **kind):
  for label, (name, count) in enumerate(classes.items()):
    (root / name).mkdir(parents=True)
    for index, array in enumerate(pixels(count, seed=label, **kind)):
      (root / name / f"{index}.png").write_bytes(png(array))
  return root
