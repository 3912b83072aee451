"""Random crops: what is drawn, and what is decoded of it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from fixtures.image_files import refused
from fixtures.jpeg_files import encode, jpeg, oddities, turned
from wsl_extraction.data.images import crops
from wsl_extraction.data.images import jpeg as decoder
from wsl_extraction.data.images.crops import Crop, InceptionCrop

# The packages of the fast road are optional.
ROADS = [False, True] if decoder.AVAILABLE else [False]


def reference(file, box, side, upright=False):
  """The plain way: decode all, cut, resize, mirror."""
  image = Image.open(io.BytesIO(file))
  if upright:
    from PIL import ImageOps
    image = ImageOps.exif_transpose(image)
  part = image.convert("RGB").crop((
      box.left, box.top, box.left + box.width, box.top + box.height))
  square = np.asarray(part.resize((side, side), Image.Resampling.BILINEAR))
  return square[:, ::-1] if box.flip else square


def difference(one, other):
  return np.abs(one.astype(int) - other).max()


@given(height=st.integers(1, 2000), width=st.integers(1, 2000),
       seed=st.integers(0, 2**31), low=st.floats(0.01, 1),
       ratio=st.floats(0.1, 1))
def test_parts_lie_inside(height, width, seed, low, ratio):
  crop = InceptionCrop(area=(low, 1.0), ratio=(ratio, 1 / ratio))
  box = crop.draw(height, width, np.random.default_rng(seed))
  assert min(box.width, box.height) >= 1
  assert 0 <= box.left <= width - box.width
  assert 0 <= box.top <= height - box.height


def test_area_and_ratio_are_uniform_where_all_parts_fit():
  # Up to half of the area and at most 4/3: the longest side is sqrt(2/3).
  crop = InceptionCrop(area=(0.08, 0.5))
  rng = np.random.default_rng(0)
  boxes = [crop.draw(4000, 4000, rng) for _ in range(4000)]
  area = np.array([b.width * b.height for b in boxes]) / 4000**2
  ratio = np.log([b.width / b.height for b in boxes])
  span = np.log(4 / 3)
  assert stats.kstest(area, "uniform", (0.08, 0.42)).pvalue > 0.01
  assert stats.kstest(ratio, "uniform", (-span, 2 * span)).pvalue > 0.01
  left = np.array([b.left / (4000 - b.width) for b in boxes])
  top = np.array([b.top / (4000 - b.height) for b in boxes])
  assert stats.kstest(left, "uniform").pvalue > 0.01
  assert stats.kstest(top, "uniform").pvalue > 0.01
  flips = sum(b.flip for b in boxes)
  assert stats.binomtest(flips, 4000).pvalue > 0.01
  for one, other in ((area, ratio), (left, top), (left, area)):
    assert abs(stats.spearmanr(one, other).statistic) < 0.05


def test_areas_and_ratios_are_those_of_the_paper():
  rng = np.random.default_rng(1)
  boxes = [InceptionCrop().draw(375, 500, rng) for _ in range(3000)]
  area = np.array([b.width * b.height for b in boxes]) / (375 * 500)
  ratio = np.array([b.width / b.height for b in boxes])
  assert 0.079 < area.min() < 0.1 and 0.95 < area.max() <= 1
  # Sides are whole pixels.
  assert 0.74 < ratio.min() < 0.78 and 1.3 < ratio.max() < 1.35


@pytest.mark.parametrize(("height", "width", "expected"), [
    (20, 1000, (486, 0, 27, 20)),
    (1000, 20, (0, 486, 20, 27)),
])
def test_very_long_images_give_their_middle(height, width, expected):
  box = InceptionCrop(flip=False).draw(height, width, np.random.default_rng(0))
  assert (box.left, box.top, box.width, box.height) == expected


def test_whole_image_without_flip():
  crop = InceptionCrop(area=(1.0, 1.0), ratio=(4 / 3, 4 / 3), flip=False)
  box = crop.draw(60, 80, np.random.default_rng(0))
  assert box == Crop(0, 0, 80, 60, False)


@pytest.mark.parametrize(("wrong", "words"), [
    ({"area": (0.0, 1.0)}, "area is (0.0, 1.0)"),
    ({"area": (0.5, 1.2)}, "at most 1"),
    ({"area": 0.5}, "area is 0.5"),
    ({"ratio": (2.0, 1.0)}, "the smaller one first"),
    ({"ratio": (1.0, float("nan"))}, "ratio is (1.0, nan)"),
    ({"ratio": (1.0, float("inf"))}, "ratio is (1.0, inf)"),
    ({"flip": 1}, "flip is 1"),
])
def test_parameters_are_checked(wrong, words):
  with refused("InceptionCrop", words):
    InceptionCrop(**wrong)


@pytest.mark.parametrize("fast", ROADS)
@pytest.mark.parametrize("name", sorted(oddities()))
def test_every_kind_of_file_equals_the_plain_way(name, fast, monkeypatch):
  monkeypatch.setattr(decoder, "AVAILABLE", fast)
  file = oddities()[name]
  for box in (Crop(0, 0, 80, 60, False), Crop(13, 7, 41, 22, True),
              Crop(30, 0, 20, 5, False), Crop(79, 59, 1, 1, False)):
    seen = crops.view(file, box, 32, "x", (60, 80), False)
    assert seen.shape == (32, 32, 3) and seen.dtype == np.uint8
    assert difference(seen, reference(file, box, 32)) <= 2 * fast


@pytest.mark.parametrize("fast", ROADS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), subsampling=st.integers(0, 2))
def test_parts_of_tall_images_equal_the_plain_way(fast, seed, subsampling):
  file = jpeg(300, 130, subsampling=subsampling)
  box = InceptionCrop(area=(0.01, 1.0)).draw(
      300, 130, np.random.default_rng(seed))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(decoder, "AVAILABLE", fast)
    seen = crops.view(file, box, 48, "x", (300, 130), False)
  assert difference(seen, reference(file, box, 48)) <= 2 * fast


@pytest.mark.parametrize("fast", ROADS)
@pytest.mark.parametrize("top", range(0, 48, 5))
def test_colour_at_the_lower_edge_of_a_part(top, fast, monkeypatch):
  # Each row of colour reaches into the next, and nothing is resized here.
  monkeypatch.setattr(decoder, "AVAILABLE", fast)
  rng = np.random.default_rng(0)
  coarse = 255 * rng.integers(0, 2, (75, 8, 3), np.uint8)
  image = Image.fromarray(coarse.repeat(4, 0).repeat(4, 1))
  file = encode(image, quality=95, subsampling=2)
  box = Crop(0, top, 32, 32, False)
  seen = crops.view(file, box, 32, "x", (300, 32), False)
  assert difference(seen, reference(file, box, 32)) <= 2 * fast


@pytest.mark.parametrize("fast", ROADS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_images(orientation, fast, monkeypatch):
  monkeypatch.setattr(decoder, "AVAILABLE", fast)
  file = turned(orientation)
  size = (80, 60) if orientation >= 5 else (60, 80)
  box = Crop(5, 9, 40, 30, False)
  seen = crops.view(file, box, 32, "x", size, orientation != 1)
  assert difference(seen, reference(file, box, 32, upright=True)) <= 2 * fast
  kept = crops.view(file, box, 32, "x", (60, 80), False)
  assert difference(kept, reference(file, box, 32)) <= 2 * fast


@pytest.mark.parametrize("fast", ROADS)
def test_cut_and_changed_files_are_named(fast, monkeypatch):
  monkeypatch.setattr(decoder, "AVAILABLE", fast)
  file = jpeg(300, 130)
  top = Crop(0, 0, 20, 20, False)
  with refused("cannot read p.jpg", "repair or remove it"):
    crops.view(file[:len(file) // 2], top, 32, "p.jpg", (300, 130), False)
  with refused("p.jpg has changed"):
    crops.view(jpeg(301, 130), top, 32, "p.jpg", (300, 130), False)
