"""Images that stay files: sources, index, and what stands for the array."""

import concurrent.futures
import pickle

import numpy as np
import pytest
from PIL import Image

from fixtures.image_files import own_cache, refused  # noqa: F401
from fixtures.jpeg_files import encode, jpeg, oddities, photograph, turned
from fixtures.prepared_files import prepare
from wsl_extraction.data import cache, datasets, lazy_datasets
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.images import decode, image_index
from wsl_extraction.data.images.crops import InceptionCrop
from wsl_extraction.data.images.image_files import TfdsImages
from wsl_extraction.data.images.lazy_images import LazyImages
from wsl_extraction.data.split import Split

SIDE = 32


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "photographs"
  files = list(oddities().values())
  for split, count in (("train", 12), ("val", 4)):
    for place in range(count):
      path = root / split / f"n0000000{place % 2}" / f"{place:02}.JPEG"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(files[place])
  return root


@pytest.fixture
def records(tmp_path):
  files = list(oddities().values())
  splits = {"train": [(file, i % 3) for i, file in enumerate(files)],
            "validation": [(file, 1) for file in files[:4]]}
  return prepare(tmp_path / "tfds", splits, (-1, -1, 3),
                 name="imagenet2012")


def read(root, **options):
  return lazy_datasets.read(str(root), image_size=SIDE, **options)


def read_images(root, **options) -> LazyImages:
  rows = read(root, **options).train.rows
  assert isinstance(rows, LazyImages)
  return rows


def part_of(images: LazyImages, rows) -> LazyImages:
  part = images[rows]
  assert isinstance(part, LazyImages)
  return part


def expected(file, upright):
  return decode.decode(file, 3, SIDE, True, "x", upright)


def test_folder(folder):
  dataset = read(folder)
  assert dataset.class_names == ("n00000000", "n00000001")
  assert dataset.space.shape == (SIDE, SIDE, 3)
  assert dataset.space.value_range == (0, 255)
  assert dataset.train.known_labels.tolist() == [0] * 6 + [1] * 6
  assert dataset.train.known_labels.dtype == np.int32
  assert dataset.test is not None and len(dataset.test) == 4
  files = list(oddities().values())
  order = [*range(0, 12, 2), *range(1, 12, 2)]
  pixels = np.asarray(dataset.train.rows)
  assert pixels.shape == dataset.train.rows.shape == (12, SIDE, SIDE, 3)
  assert pixels.dtype == dataset.train.rows.dtype == np.uint8
  for image, place in zip(pixels, order, strict=True):
    np.testing.assert_array_equal(image, expected(files[place], True))


def test_prepared_data_set(records):
  dataset = read("imagenet2012", data_dir=str(records))
  assert dataset.class_names == ("ant", "bee", "cat")
  assert dataset.train.known_labels.tolist() == [0, 1, 2] * 4
  assert dataset.test is not None
  assert dataset.test.known_labels.tolist() == [1] * 4
  pixels = np.asarray(dataset.train.rows)
  for image, file in zip(pixels, oddities().values(), strict=True):
    np.testing.assert_array_equal(image, expected(file, False))
  again = read(records / "imagenet2012" / "3.0.2")
  assert again.fingerprint == dataset.fingerprint


def test_rows_like_those_of_an_array(folder):
  stored = read_images(folder)
  pixels = np.asarray(stored)
  rows = np.array([3, 1, 1, 11])
  chosen = np.arange(12) % 5 == 0
  for key in (rows, slice(2, 9, 3), chosen, np.array([], int), slice(None)):
    part = part_of(stored, key)
    assert part.shape == pixels[key].shape
    assert len(part) == len(pixels[key])
    assert part.ndim == 4 and part.nbytes == pixels[key].nbytes
    np.testing.assert_array_equal(np.asarray(part), pixels[key])
    assert part.keys == Examples(part).keys
  for key in (5, -1, np.int64(2)):
    np.testing.assert_array_equal(stored[key], pixels[key])
  np.testing.assert_array_equal(stored[rows][1:][0], pixels[1])
  with pytest.raises(IndexError):
    stored[12]


def test_conversion_as_numpy_2_asks_for_it(folder):
  stored = read_images(folder)[:2]
  assert np.asarray(stored, np.float32).dtype == np.float32
  with pytest.raises(ValueError, match="allow a copy"):
    np.array(stored, copy=False)


def test_choosing_rows_reads_no_file(folder):
  dataset = read(folder)
  for path in (folder / "train").rglob("*.JPEG"):
    path.unlink()
  part = dataset.train.take(np.array([4, 2])).unlabeled()
  assert len(part.keys) == 2 and dataset.fingerprint
  with refused("cannot read", "08.JPEG", "repair or remove it"):
    np.asarray(part.rows)


def test_keys_tell_files_and_sides_apart(folder, records):
  train = read(folder).train
  assert len(set(train.keys)) == 12
  assert all(len(key) == 16 for key in train.keys)
  assert train.take(np.array([2, 0])).keys == [train.keys[2], train.keys[0]]
  other = lazy_datasets.read(str(folder), image_size=SIDE + 1).train
  assert not set(other.keys) & set(train.keys)
  stored = read("imagenet2012", data_dir=str(records)).train
  assert not set(stored.keys) & set(train.keys)  # not turned upright


def test_fingerprint_depends_on_files_and_labels(folder):
  before = read(folder).fingerprint
  assert read(folder).fingerprint == before
  (folder / "val" / "n00000000" / "00.JPEG").write_bytes(jpeg(seed=9))
  changed = read(folder).fingerprint
  (folder / "val" / "n00000000" / "00.JPEG").rename(
      folder / "val" / "n00000001" / "00.JPEG")
  assert len({before, changed, read(folder).fingerprint}) == 3


def test_split(folder):
  parts = Split(private=4, pool=6, test=3)(read(folder))
  assert len(parts.private) == 4 and len(parts.pool) == 6
  assert parts.overlap == 0
  assert not set(parts.private.keys) & set(parts.pool.keys)


def test_training_view_depends_on_image_seed_and_place_alone(folder):
  stored = read_images(folder)
  crop, places = InceptionCrop(), np.arange(100, 112)
  whole = stored.cropped(crop, 3, places)
  assert whole.shape == (12, SIDE, SIDE, 3) and whole.dtype == np.uint8
  order = np.random.default_rng(0).permutation(12)
  shuffled = part_of(stored, order).cropped(crop, 3, places[order])
  np.testing.assert_array_equal(shuffled, whole[order])
  for row in (0, 7):
    here = slice(row, row + 1)
    one = part_of(stored, here).cropped(crop, 3, places[here])
    np.testing.assert_array_equal(one[0], whole[row])
  for other in (stored.cropped(crop, 4, places),
                stored.cropped(crop, 3, places + 1)):
    assert all((a != b).any() for a, b in zip(other, whole, strict=True))


def test_training_view_of_the_whole_image(folder):
  crop = InceptionCrop(area=(1.0, 1.0), ratio=(4 / 3, 4 / 3), flip=False)
  stored = read_images(folder)
  for row, file in enumerate(list(oddities().values())[::2]):
    seen = part_of(stored, slice(row, row + 1)).cropped(
        crop, 0, np.array([5]))[0]
    image = Image.fromarray(decode.decode(file, 3, None, False, "x", True))
    plain = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    assert np.abs(seen.astype(int) - np.asarray(plain)).max() <= 2


def test_copies_for_other_processes_hold_no_open_file(records, folder):
  for stored in (read_images("imagenet2012", data_dir=str(records)),
                 read_images(folder)):
    copied = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(np.asarray(copied), np.asarray(stored))
    assert copied.keys == stored.keys
    assert len(pickle.dumps(stored)) < 5000


@pytest.mark.parametrize("orientation", [5, 6])
def test_orientation_is_applied_in_folders_only(tmp_path, orientation):
  file = turned(orientation)
  for label in "ab":
    (tmp_path / "f" / label).mkdir(parents=True)
    (tmp_path / "f" / label / "0.jpg").write_bytes(file)
  inside = read_images(tmp_path / "f")
  data_dir = prepare(tmp_path / "t", {"train": [(file, 0), (file, 1)]},
                     (-1, -1, 3))
  stored = read_images("cifar10", data_dir=str(data_dir))
  assert inside.index.sizes[0].tolist() == [80, 60]
  assert stored.index.sizes[0].tolist() == [60, 80]
  np.testing.assert_array_equal(inside[0], expected(file, True))
  np.testing.assert_array_equal(stored[0], expected(file, False))
  crop = InceptionCrop(area=(1.0, 1.0), ratio=(3 / 4, 3 / 4), flip=False)
  seen = inside.cropped(crop, 0, np.arange(2))[0]
  upright = Image.fromarray(decode.decode(file, 3, None, False, "x", True))
  plain = upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
  assert np.abs(seen.astype(int) - np.asarray(plain)).max() <= 2


def test_inverted_cmyk(tmp_path):
  # Adobe's programs store CMYK inverted and say so in a marker, as Pillow does
  # on writing: red must stay red.
  red = Image.new("RGB", (40, 40), (230, 20, 20)).convert("CMYK")
  file = encode(red, quality=95)
  assert b"Adobe" in file
  for label in "ab":
    (tmp_path / label).mkdir()
    (tmp_path / label / "0.JPEG").write_bytes(file)
  stored = read_images(tmp_path)
  for image in (stored[0],
                stored.cropped(InceptionCrop(), 0, np.arange(2))[0]):
    assert isinstance(image, np.ndarray)
    assert np.abs(image.astype(int) - (230, 20, 20)).max() < 12


@pytest.mark.parametrize(("file", "words"), [
    (b"hello", "is not an image"),
    (b"", "is not an image"),
    (jpeg()[:100], ""),
    (encode(photograph(9, 9), "PNG")[:20], ""),
])
def test_what_is_no_image_is_named_before_anything_else(folder, file, words):
  path = folder / "train" / "n00000001" / "03.JPEG"
  path.write_bytes(file)
  with refused(path, words):
    read(folder)


def test_what_is_no_image_among_records_is_named(tmp_path):
  data_dir = prepare(tmp_path, {"train": [(jpeg(), 0), (b"hello", 1)]},
                     (-1, -1, 3))
  with refused("image 1 of data set cifar10, split train", "is not an image"):
    read("cifar10", data_dir=str(data_dir))


def test_image_cut_in_its_body_is_named_before_it_is_used(folder):
  path = folder / "train" / "n00000001" / "03.JPEG"
  whole = jpeg(200, 300)
  path.write_bytes(whole[:9000])
  with refused(path, "repair or remove it"):
    read(folder)
  # What decoders take is no fault: bytes behind the image's end.
  path.write_bytes(whole + b"\0\0")
  read(folder)


def test_image_that_is_cut_while_it_is_in_use(folder):
  path = folder / "train" / "n00000001" / "03.JPEG"
  path.write_bytes(jpeg(200, 300))
  train = read_images(folder)
  path.write_bytes(jpeg(200, 300)[:9000])
  with refused(path, "repair or remove it"):
    np.asarray(train)
  with refused(path, "repair or remove it"):
    train.cropped(InceptionCrop(), 0, np.arange(12))


def test_folder_above_a_prepared_version_is_explained(tmp_path):
  version = prepare(tmp_path, {"train": [(jpeg(), 0), (jpeg(), 1)]},
                    (-1, -1, 3)) / "cifar10" / "3.0.2"
  for folder in (version.parent, version.parent.parent):
    with refused("holds a data set of tensorflow-datasets", version):
      read(str(folder))
    with refused("holds a data set of tensorflow-datasets", version):
      datasets.load(str(folder), image_size=32)


def test_tfrecord_is_refused(tmp_path):
  data_dir = prepare(tmp_path, {"train": [(jpeg(), 0), (jpeg(), 1)]},
                     (-1, -1, 3))
  info = data_dir / "cifar10" / "3.0.2" / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  with refused("stored as tfrecord", "file_format='array_record'"):
    read("cifar10", data_dir=str(data_dir))


def test_record_without_class_is_refused(tmp_path):
  data_dir = prepare(tmp_path, {"train": [(jpeg(), 0), (jpeg(), -1)]},
                     (-1, -1, 3))
  with refused("image 1 of data set cifar10", "has no class"):
    read("cifar10", data_dir=str(data_dir))


def test_imagenet_that_is_not_prepared(tmp_path):
  with refused(
      "imagenet2012 is not prepared", "ILSVRC2012_img_train.tar",
      "ILSVRC2012_img_val.tar", "https://image-net.org/",
      tmp_path / "downloads" / "manual", "file_format='array_record'"):
    read("imagenet2012", data_dir=str(tmp_path))


def imagenet(root, names):
  for name in names:
    (root / name).mkdir(parents=True)
    (root / name / "0.JPEG").write_bytes(b"")
  return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_class_of_imagenet_is_named(tmp_path, split):
  names = lazy_datasets._imagenet()
  assert len(names) == 1000 and names == sorted(names)
  present = {"train": names, "val": names}
  present[split] = names[:300] + names[301:]
  if split == "train":
    present["val"] = present["train"]
  for part, listed in present.items():
    imagenet(tmp_path / part, listed)
  with refused(tmp_path / split, "lacks 1 of ImageNet's 1,000", names[300]):
    read(tmp_path)


def test_class_that_training_lacks_is_named(tmp_path):
  imagenet(tmp_path / "train", ["n00000000", "n00000001"])
  imagenet(tmp_path / "val", ["n00000000", "n00000002"])
  with refused("n00000002", "no counterpart in the training folder"):
    read(tmp_path)


def test_validation_images_without_class_folders_are_refused(folder):
  for path in list((folder / "val").rglob("*.JPEG")):
    path.rename(folder / "val" / path.name)
  for path in (folder / "val").glob("n*"):
    path.rmdir()
  with refused(folder / "val", "has no class folders"):
    read(folder)


def test_folder_without_classes_is_refused(tmp_path):
  with refused("has no class folders"):
    read(tmp_path)


def test_index_is_kept_until_a_file_changes(folder, monkeypatch):
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0)
  calls = []
  read(folder, progress=lambda done, total: calls.append((done, total)))
  assert calls == [(12, 12), (4, 4)]
  before = read(folder).fingerprint
  assert read(folder, progress=lambda *_: 1 / 0).fingerprint == before
  (folder / "train" / "n00000000" / "00.JPEG").write_bytes(jpeg(seed=5))
  calls.clear()
  after = read(folder, progress=lambda done, total: calls.append(total))
  assert calls == [12] and after.fingerprint != before


def test_several_may_make_the_index_at_once(folder, monkeypatch):
  monkeypatch.setattr(cache, "_SLOW_SECONDS", 0)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(lambda _: read(folder).fingerprint, range(4)))
  assert len(set(found)) == 1
  assert len(list(cache.folder().rglob("*.npz"))) == 2


def test_index_tells_in_which_order(records):
  source = read_images("imagenet2012", data_dir=str(records)).source
  assert isinstance(source, TfdsImages)
  known = image_index.read(source, "again")
  assert known.labels is not None
  assert known.labels.tolist() == [0, 1, 2] * 4
  assert known.sizes.tolist() == [[60, 80]] * 12
  assert not known.turned.any()


@pytest.mark.parametrize("is_anonymous", [False, True])
def test_images_for_another_host_have_their_files_with_them(
    folder, is_anonymous):
  images = read_images(folder)
  images = images.anonymous() if is_anonymous else images
  some = part_of(images, np.array([5, 0, 7]))
  copied = pickle.dumps(some.fetched())
  expected, keys = np.asarray(some), some.keys
  for path in folder.rglob("*.JPEG"):
    path.unlink()
  fetched = pickle.loads(copied)
  np.testing.assert_array_equal(np.asarray(fetched), expected)
  assert fetched.keys == keys
  # No way to other images, nor to classes.
  assert (len(fetched.source), fetched.labels) == (3, None)
  assert "example 7 of the pool" in fetched.source.name(2) or (
      not is_anonymous)
