"""Pools of another data set: the rule of conversion, and what it tells."""

from __future__ import annotations

import dataclasses
import gc
from typing import Any, cast

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

import wsl_extraction as wsl
from fixtures import image_files, learning_attacks
from wsl_extraction import api, experiment
from wsl_extraction.attacks.attack import Attack
from wsl_extraction.data import datasets, off_domain
from wsl_extraction.data.examples import Dataset, Examples, image_dataset
from wsl_extraction.data.off_domain import IN_DOMAIN, OffDomain
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.oracle.spaces import Images, Vectors

SPLIT = Split(private=30, pool=20, test=10)


def images(count, shape=(8, 8, 1), seed=0, high=256, classes=3):
  rng = np.random.default_rng(seed)
  rows = rng.integers(0, high, (count, *shape), np.uint8)
  return image_dataset(f"noise{seed}", Examples(
      rows, (np.arange(count) % classes).astype(np.int32)), None,
      tuple(f"class {i}" for i in range(classes)))


def brought(dataset, space, **settings) -> np.ndarray:
  return np.asarray(
      OffDomain(dataset, **settings).load(space).train.rows)


# The rule.


@hypothesis.settings(max_examples=20)
@hypothesis.given(seed=st.integers(0, 1000), side=st.integers(2, 20))
def test_colour_images_become_grey_and_small_as_by_pillow(seed, side):
  colour = images(2, (13, 13, 3), seed)
  rows = brought(colour, Images(side, side, 1))
  for row, image in zip(rows, np.asarray(colour.train.rows), strict=True):
    # Each channel by itself, as `resize_arrays`; then Pillow's luma.
    small = Image.fromarray(image).resize(
        (side, side), Image.Resampling.BILINEAR)
    expected = np.asarray(small.convert("L"))
    np.testing.assert_array_equal(row[..., 0], expected)


def test_grey_images_become_colour():
  rows = brought(images(3), Images(8, 8, 3))
  for channel in range(3):
    np.testing.assert_array_equal(
        rows[..., channel], np.asarray(images(3).train.rows)[..., 0])


def test_values_go_linearly_from_range_to_range():
  rows = brought(images(4), Images(8, 8, 1, -1.0, 1.0))
  assert rows.dtype == np.float32
  np.testing.assert_allclose(
      rows, np.asarray(images(4).train.rows) / 127.5 - 1, atol=1e-6)
  floats = dataclasses.replace(
      images(4), train=Examples(rows, np.zeros(4, np.int32)),
      space=Images(8, 8, 1, -1.0, 1.0))
  back = brought(floats, Images(8, 8, 1))
  assert back.dtype == np.uint8
  np.testing.assert_array_equal(back, images(4).train.rows)


def test_contrast_is_stretched_image_by_image():
  dataset = images(3, high=100)
  rows = np.array(dataset.train.rows)
  rows[1] = 7
  dataset = dataclasses.replace(
      dataset, train=Examples(rows, dataset.train.labels))
  stretched = brought(dataset, Images(8, 8, 1), stretch=True)
  assert stretched[0].min() == 0 and stretched[0].max() == 255
  np.testing.assert_array_equal(stretched[1], 7)  # of one value
  wide = rows[0].astype(np.float64)
  np.testing.assert_allclose(
      stretched[0], (wide - wide.min()) / np.ptp(wide) * 255, atol=0.5001)


def test_the_middle_of_the_longer_side_is_kept():
  square = brought(images(2, (12, 12, 1)), Images(12, 12, 1))
  narrow = brought(images(2, (12, 12, 1)), Images(12, 6, 1))
  np.testing.assert_array_equal(narrow, square[:, :, 3:9])


def test_vectors_are_clipped_to_the_range():
  rows = np.arange(12.0).reshape(4, 3)
  dataset = Dataset("v", Examples(rows, np.array([0, 1, 0, 1], np.int32)),
                    None, ("a", "b"), Vectors(3))
  np.testing.assert_array_equal(
      brought(dataset, Vectors(3, 2.0, (9.0, 9.0, 5.0))),
      np.clip(rows, 2, [9, 9, 5]))


@pytest.mark.parametrize("dataset, space, message", [
    ("iris", Images(8, 8, 1), "iris holds rows of shape .* Images of shape"),
    ("iris", Vectors(5), "of vectors of that many features"),
    ("digits", Vectors(64), "digits holds rows of shape"),
    (images(4, (8, 8, 2)), Images(8, 8, 1), "2 channels, and the victim"),
    (3, Vectors(2), "OffDomain.dataset is 3; give the name"),
    ("no_such_set", Images(8, 8, 1), "no_such_set")])
def test_what_cannot_become_rows_is_refused(dataset, space, message):
  with pytest.raises(InputError, match=message) as caught:
    brought(dataset, space)
  assert "\n" not in str(caught.value)


def test_images_of_a_folder_that_differ_in_size(tmp_path):
  image_files.imagenet(tmp_path / "photographs", classes=3, train=4, val=2)
  pool = OffDomain(str(tmp_path / "photographs")).load(Images(8, 8, 1))
  assert pool.train.rows.shape == (12, 8, 8, 1)
  assert len(pool.class_names) == 3


# The parts.


def test_private_and_test_are_those_without_it():
  own, pool = images(80), images(60, seed=1)
  plain = dataclasses.replace(SPLIT, pool=0)(own)
  parts = OffDomain(pool).parts(own, pool, SPLIT)
  for part, expected in ((parts.private, plain.private),
                         (parts.test, plain.test)):
    np.testing.assert_array_equal(part.rows, expected.rows)
    np.testing.assert_array_equal(part.labels, expected.labels)
  assert len(parts.pool) == 20 and parts.overlap == 0
  places = {key: label for key, label in zip(
      pool.train.keys, pool.train.known_labels, strict=True)}
  assert parts.pool_classes is not None
  assert [places[key] for key in parts.pool.keys] == list(parts.pool_classes)
  assert parts.pool_class_names == pool.class_names


def test_rows_of_the_victims_owner_are_left_out():
  own, pool = images(80), images(60, seed=1)
  own = dataclasses.replace(own, test=images(30, seed=2).train)
  rows = np.concatenate([
      own.train.rows, images(30, seed=2).train.rows, pool.train.rows])
  mixed = dataclasses.replace(pool, train=Examples(
      rows, np.zeros(len(rows), np.int32)))
  parts = OffDomain(mixed).parts(
      own, mixed, dataclasses.replace(SPLIT, pool=60))
  assert set(parts.pool.keys) == set(pool.train.keys)
  with pytest.raises(InputError, match="60 to split"):
    OffDomain(mixed).parts(own, mixed, dataclasses.replace(SPLIT, pool=61))
  with pytest.raises(InputError, match="nothing but rows of the victim's own"):
    OffDomain(own).parts(own, own, SPLIT)


def test_rows_of_the_victims_domain_have_a_class_of_their_own():
  own, pool = images(80), images(60, seed=1)
  parts = OffDomain(pool, in_domain=6).parts(own, pool, SPLIT)
  held = np.array([key in set(own.train.keys) for key in parts.pool.keys])
  assert held.sum() == 6 and len(parts.pool) == 20
  assert parts.pool_class_names[-1] == IN_DOMAIN
  np.testing.assert_array_equal(held, parts.pool_classes == 3)
  assert parts.pool.labels is None
  assert not np.array_equal(np.flatnonzero(held), np.arange(6))
  private = set(parts.private.keys)
  assert not private & set(parts.pool.keys)


@pytest.mark.parametrize("split, settings, message", [
    ({"overlap": 2}, {}, "Split.overlap is 2, which is for a pool of the"),
    ({"balanced": 2}, {}, "Split.balanced is 2, which"),
    ({}, {"in_domain": 21}, "OffDomain.in_domain is 21, more than Split.pool"),
    ({"pool": 61}, {}, "noise1 has 60 to split")])
def test_splits_that_cannot_be(split, settings, message):
  own, pool = images(80), images(60, seed=1)
  with pytest.raises(InputError, match=message):
    OffDomain(pool, **settings).parts(
        own, pool, dataclasses.replace(SPLIT, **split))


# The adversary.


class Reading(Attack):
  """Keeps what it is given."""

  needs = (wsl.Label(),)
  space = Images
  queries = cast(Any, api.Queries.POOL)
  goal = cast(Any, None)
  model = cast(Any, None)

  @property
  def reads_pool_classes(self):
    return True

  def run(self, oracle, knowledge, rng, runtime):
    raise AssertionError("not run here")


def test_classes_reach_attacks_that_read_them_and_labels_none():
  own, pool = images(80), images(60, seed=1)
  parts = OffDomain(pool, in_domain=4).parts(own, pool, SPLIT)
  held = api.knowledge_of(Reading(), parts)
  np.testing.assert_array_equal(held.pool_classes, parts.pool_classes)
  assert held.pool_class_names[:3] == pool.class_names
  assert held.pool_labels is None and held.required_pool.labels is None
  other = api.knowledge_of(learning_attacks.learning(wsl.Distillation()), parts)
  assert other.pool_classes is None and not other.pool_class_names
  baseline = learning_attacks.learning(Supervised())
  assert api.knowledge_of(baseline, parts).pool_labels is None


def test_labels_of_the_victims_own_data_reach_no_attack():
  own = images(80)
  held = api.knowledge_of(Reading(), SPLIT(own))
  assert held.pool_classes is None
  for one in gc.get_referents(held):
    assert not isinstance(one, np.ndarray)
  with pytest.raises(InputError, match=r"give Experiment\.pool_dataset"):
    Reading().refuse_unfit(learning_attacks.oracle(), held)


def test_extract_brings_a_pool_to_the_test_rows():
  test = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
  copy = wsl.extract(
      learning_attacks.predict, OffDomain(images(40, (10, 10, 3))), budget=12,
      attack=learning_attacks.learning(wsl.Distillation()), test=test,
      outputs="logits", runtime=wsl.Runtime(
          compile_options=learning_attacks.EAGER))
  assert copy.queries == 12
  assert copy.surrogate.input_shape == (None, 8, 8, 1)
  with pytest.raises(InputError, match="give test="):
    wsl.extract(learning_attacks.predict, OffDomain(images(40)))


# Experiments.


def configured(**settings) -> experiment.Experiment:
  return experiment.Experiment(**{
      "dataset": "digits", "split": SPLIT, "victim": wsl.Perceptron(hidden=4),
      "attack": learning_attacks.learning(wsl.Distillation()), **settings})


def test_an_experiment_knows_both_data_sets():
  dataset, parts = configured(pool_dataset="photo_patches").data()
  assert dataset.name == "digits" and dataset.pool is not None
  assert dataset.pool.name == "photo_patches"
  assert parts.space.shape == (8, 8, 1)
  assert parts.pool.rows.shape == (20, 8, 8, 1)
  assert dataset.fingerprint != datasets.load("digits").fingerprint
  with pytest.raises(InputError, match=r"Experiment\.pool_dataset is 3; give"):
    configured(pool_dataset=3)
  with pytest.raises(InputError, match="nothing but rows of the victim's own"):
    configured(pool_dataset="digits").data()


def test_patches_of_photographs():
  patches = datasets.load("photo_patches")
  assert patches.train.rows.shape == (4906, 32, 32, 3)
  assert len(set(patches.train.keys)) == 4906
  from sklearn.datasets import load_sample_image
  china = load_sample_image("china.jpg")
  np.testing.assert_array_equal(patches.train.rows[0], china[:32, :32])
  assert patches.class_names[patches.train.known_labels[0]] == (
      "china upper left")
  counts = np.bincount(patches.train.known_labels)
  assert len(counts) == 12 and counts.min() > 300
  assert off_domain.of("photo_patches") == OffDomain("photo_patches")
