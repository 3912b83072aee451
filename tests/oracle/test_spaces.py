"""Validation, sampling and identity of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.rows import LazyRows, row_keys
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

PIXELS = Images(2, 3, 1)
COLOURS = Categorical("colour", ("red", "green", "blue"))


@pytest.mark.parametrize("dtype", [
    np.uint8, np.int16, np.int64, np.uint64, np.float16, np.float32,
    np.float64, np.longdouble, ">f4", ">i8"])
def test_equal_numbers_have_equal_keys_whatever_the_dtype(dtype):
  rows = np.arange(12).reshape(2, 2, 3, 1)
  keys = PIXELS.keys(PIXELS.checked(rows.astype(np.uint8)))
  assert PIXELS.keys(PIXELS.checked(rows.astype(dtype))) == keys
  assert len(set(keys)) == 2
  assert {len(key) for key in keys} == {16}


def test_the_key_of_a_row_does_not_depend_on_its_batch():
  space = Vectors(3)
  rows = np.array([[1, 2, 3], [0.5, 0.25, 1], [0.1, 0.2, 0.3], [-1, 0, 2]])
  together = space.keys(space.checked(rows))
  alone = [space.keys(space.checked(rows[i:i + 1]))[0] for i in range(4)]
  assert together == alone
  assert len(set(together)) == 4


@given(arrays.arrays(np.float64, (2, 3), elements=st.floats(
    -1e300, 1e300, allow_subnormal=True)))
def test_keys_are_equal_exactly_where_rows_are(rows):
  first, second = row_keys(rows)
  assert (first == second) == bool((rows[0] == rows[1]).all())


def test_minus_zero_is_zero():
  keys = row_keys(np.array([[0.0, 1.5], [-0.0, 1.5]]))
  assert keys[0] == keys[1]


def test_keys_of_bytes_are_those_of_older_stores():
  """BLAKE2b of dtype, shape and bytes, as responses were first kept by."""
  import hashlib

  row = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
  expected = hashlib.blake2b(b"|u1(2, 3, 1)" + row.tobytes(), digest_size=16)
  assert row_keys(row) == [expected.digest()]
  row = np.linspace(0, 1, 6, dtype=np.float32).reshape(1, 2, 3, 1)
  expected = hashlib.blake2b(b"<f4(2, 3, 1)" + row.tobytes(), digest_size=16)
  assert row_keys(row) == [expected.digest()]


class Sly(np.ndarray):
  """Lies about its length."""

  def __len__(self):
    return 0


def test_what_is_checked_is_a_plain_array():
  rows = np.zeros((4, 2, 3, 1), np.uint8).view(Sly)
  assert len(rows) == 0
  checked = PIXELS.checked(rows)
  assert type(checked) is np.ndarray
  assert len(checked) == len(PIXELS.keys(checked)) == 4


@pytest.mark.parametrize("rows, message", [
    (np.zeros((2, 3, 2, 1)), r"shape \(2, 3, 2, 1\); the oracle takes \(n, 2"),
    (np.float64(3), r"shape \(\)"),
    (np.zeros(6), r"shape \(6,\)"),
    ([[[1], [2]], [[1]]], "no array of numbers"),
    (np.full((1, 2, 3, 1), "a"), "dtype <U1; give real numbers"),
    (np.zeros((1, 2, 3, 1), bool), "dtype bool"),
    (np.zeros((1, 2, 3, 1), complex), "dtype complex"),
    (np.full((2, 2, 3, 1), np.nan), "row 0 of a query holds NaN"),
    (np.full((2, 2, 3, 1), 256.0), "row 0 .* outside of 0 to 255"),
    (np.full((2, 2, 3, 1), -1), "outside of 0 to 255"),
])
def test_other_rows_are_refused(rows, message):
  with pytest.raises(InputError, match=message) as caught:
    PIXELS.checked(rows)
  assert "\n" not in str(caught.value)


def test_an_unbounded_space_takes_all_real_numbers():
  free = Images(2, 3, 1, bounded=False)
  assert free.value_range == (0, 255)
  free.checked(np.full((1, 2, 3, 1), -1e9))
  with pytest.raises(InputError, match="infinity"):
    free.checked(np.full((1, 2, 3, 1), np.inf))
  with pytest.raises(InputError, match=r"beyond 2\^53"):
    free.checked(np.full((1, 2, 3, 1), 2**60))


def test_vectors_may_have_a_range_for_each_feature():
  space = Vectors(2, low=(0, -5), high=(1, 5))
  space.checked([[1, -5]])
  with pytest.raises(InputError, match="outside"):
    space.checked([[2, 0]])
  drawn = space.sample(1000, np.random.default_rng(0))
  assert (drawn.min(axis=0) < [0.01, -4.9]).all()
  assert (drawn.max(axis=0) > [0.99, 4.9]).all()
  np.testing.assert_array_equal(space.checked(drawn), drawn)


def test_samples_lie_in_the_space():
  rng = np.random.default_rng(0)
  half = Vectors(3, low=0.0)
  assert (half.sample(100, rng) >= 0).all()
  drawn = Vectors(2).sample(20_000, rng)
  assert abs(drawn.mean()) < 0.05
  assert drawn.std() == pytest.approx(1, abs=0.05)
  assert PIXELS.checked(PIXELS.sample(5, rng)).shape == (5, 2, 3, 1)


def test_a_table_has_categories_and_missing_entries():
  table = Table((COLOURS, Continuous("size", 0, 10)), missing=True)
  table.checked([[0, 3.5], [2, np.nan], [np.nan, 1]])
  for row, message in (([3, 0], "'colour' .* 0 to 2"), ([0.5, 0], "'colour'"),
                       ([0, 11], "outside")):
    with pytest.raises(InputError, match=message):
      table.checked([row])
  with pytest.raises(InputError, match="NaN"):
    Table((COLOURS,)).checked([[np.nan]])
  drawn = table.sample(500, np.random.default_rng(0))
  assert set(drawn[:, 0]) == {0, 1, 2}
  keys = table.keys(table.checked([[0, np.nan], [0, -np.nan], [0, 1]]))
  assert keys[0] == keys[1] != keys[2]


# Not of their types, as callers may be.
FLOAT: Any = 2.0
WORD: Any = "0"
ONE: Any = 1
WORDS: Any = ("a",)


@pytest.mark.parametrize("make, message", [
    (lambda: Images(0, 3, 1), "Images.height is 0"),
    (lambda: Images(FLOAT, 3, 1), "Images.height is 2.0"),
    (lambda: Images(2, 3, 1, 1, 0), "Images.low is 1"),
    (lambda: Images(2, 3, 1, low=WORD), "Images.low is '0'"),
    (lambda: Images(2, 3, 1, bounded=ONE), "Images.bounded is 1"),
    (lambda: Vectors(True), "Vectors.size is True"),
    (lambda: Vectors(2, low=(0, 1, 2)), "Vectors.low"),
    (lambda: Vectors(2, low=1, high=1), "lower end first"),
    (lambda: Vectors(2, high=np.nan), "Vectors.high is nan"),
    (lambda: Table(()), "Table.columns"),
    (lambda: Table(WORDS), "Table.columns"),
])
def test_spaces_that_cannot_be(make, message):
  with pytest.raises(InputError, match=message):
    make()


def test_numpy_integers_are_integers():
  sides: tuple[Any, ...] = (np.int64(2), np.uint8(3), np.int32(1))
  space = Images(*sides)
  assert space == PIXELS
  assert all(type(side) is int for side in space.shape)


class Lazy(LazyRows):
  """Two rows that are made when they are looked at."""

  shape, dtype = (2, 2, 3, 1), np.dtype(np.uint8)

  @property
  def keys(self):
    return [b"a" * 16, b"b" * 16]

  def anonymous(self):
    return self

  def __len__(self):
    return 2

  def __getitem__(self, rows):
    return np.asarray(self)[rows]

  def __array__(self, dtype=None, copy=None):
    return np.zeros(self.shape, self.dtype)


def test_lazy_rows_stay_lazy_and_have_keys_of_their_own():
  rows = Lazy()
  assert PIXELS.checked(rows) is rows
  assert PIXELS.keys(rows) == [b"a" * 16, b"b" * 16]
  with pytest.raises(InputError, match="shape"):
    Images(3, 3, 1).checked(rows)
