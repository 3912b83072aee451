"""DataFrames and parts of data sets as the pool of `extract`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing

from wsl_extraction.data import datasets, frames
from wsl_extraction.data.convert import parts_of
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

POOL = pd.DataFrame({"job": ["b", "a", None], "pay": [1.5, np.nan, -2.0],
                     "old": [True, False, True]})
TEST = pd.DataFrame({"job": ["c", "a"], "pay": [0.0, 1e9], "old": [True, True]})


def test_pool_and_test_have_one_space():
  parts = parts_of(POOL, (TEST, [0, 1]))
  assert parts.space == Table((Categorical("job", ("a", "b", "c")),
                               Continuous("pay"), Continuous("old")), True)
  np.testing.assert_array_equal(
      parts.pool.rows, [[1, 1.5, 1], [0, np.nan, 0], [np.nan, -2, 1]])
  np.testing.assert_array_equal(parts.test.rows, [[2, 0, 1], [0, 1e9, 1]])
  np.testing.assert_array_equal(parts.test.known_labels, [0, 1])
  assert parts_of(POOL, TEST).test.labels is None
  assert not len(parts_of(POOL).test)


def test_a_frame_comes_back_as_it_was():
  space, rows = parts_of(POOL).space, parts_of(POOL).pool.rows
  back = frames.frame(space, np.asarray(rows))
  pd.testing.assert_frame_equal(
      back, POOL.assign(old=POOL["old"].astype(float)))
  plain = frames.frame(Vectors(2), np.eye(2), ["x", "y"])
  pd.testing.assert_frame_equal(
      plain, pd.DataFrame(np.eye(2), columns=["x", "y"]))


def test_numbers_alone_are_vectors_with_names():
  frame = POOL[["pay", "old"]].fillna(3)
  assert parts_of(frame).space == Vectors(2, names=("pay", "old"))


def test_categories_of_pandas_may_be_numbers():
  frame = POOL.assign(old=pd.Categorical([30, 4, 30]))
  space = parts_of(frame).space
  assert isinstance(space, Table)
  assert space.columns[2] == Categorical("old", (4, 30))
  # Of the test set others may be known, and of both some may be missing.
  other = TEST.assign(old=pd.Categorical([7, None]))
  parts = parts_of(frame.assign(old=pd.Categorical([30, None, 4])), other)
  assert isinstance(parts.space, Table)
  assert parts.space.columns[2] == Categorical("old", (4, 7, 30))
  np.testing.assert_array_equal(parts.pool.rows[:, 2], [2, np.nan, 0])
  np.testing.assert_array_equal(parts.test.rows[:, 2], [1, np.nan])


def test_a_batch_that_lacks_a_text_everywhere_is_of_its_type():
  """A pipeline that was fitted on texts answers it."""
  space = Table((Categorical("c", ("a", "b")),), missing=True)
  encoder = preprocessing.OneHotEncoder(sparse_output=False).fit(
      frames.frame(space, np.array([[0], [1], [np.nan]])))
  np.testing.assert_array_equal(
      encoder.transform(frames.frame(space, np.array([[np.nan]]))), [[0, 0, 1]])


ROWS = np.array([[1.0, 2.0], [np.nan, 3.0]])
FIRST = ROWS[:1]


@pytest.mark.parametrize(("pool", "test", "missing"), [
    (ROWS, None, True), (FIRST, ROWS, True), (FIRST, (ROWS, [0, 1]), True),
    (FIRST, FIRST, False), (FIRST.astype(int), None, False)])
def test_arrays_may_have_missing_values(pool, test, missing):
  space = parts_of(pool, test).space
  assert space.shape == (2,) and frames.column_names(space) is None
  assert (isinstance(space, Table) and space.missing) == missing
  np.testing.assert_array_equal(space.checked(pool), pool)


@pytest.mark.parametrize(("pool", "test", "message"), [
    (ROWS * [1, np.inf], None, "^pool holds inf in row 0, feature 1; give"),
    (ROWS, (ROWS * [-np.inf, 1], [0, 1]), "^test holds -inf in row 0, feat")])
def test_infinity_costs_no_query(pool, test, message):
  with pytest.raises(InputError, match=message):
    parts_of(pool, test)


@pytest.mark.parametrize(("test", "message"), [
    (TEST[["pay", "job", "old"]], "the test rows have not its columns; give"),
    (TEST.to_numpy(), "the test rows have not its columns"),
    ((TEST, [1, 2, 3]), "2 rows and labels of shape")])
def test_test_rows_of_another_kind_are_refused(test, message):
  with pytest.raises(InputError, match=message):
    parts_of(POOL, test)


def test_columns_of_a_frame_are_checked():
  with pytest.raises(InputError, match=r"^pool: column 'pay' is empty in all"):
    parts_of(POOL.assign(pay=np.nan))
  with pytest.raises(InputError, match=r"^pool, column 'pay', row 1: inf"):
    parts_of(POOL.assign(pay=[1, np.inf, 2]))


def test_data_sets_and_their_parts_are_pools():
  dataset = datasets.load("iris")
  assert len(parts_of(dataset).pool) == 150
  parts = Split(private=50, pool=60, test=40)(dataset)
  assert parts_of(parts) is parts
  with pytest.raises(InputError, match="leave test out"):
    parts_of(parts, parts.test.rows)


@pytest.mark.parametrize("pool", [
    POOL, "iris", datasets.load("iris"),
    Split(private=0, pool=60, test=40)(datasets.load("iris"))], ids=type)
def test_a_range_is_for_arrays(pool):
  with pytest.raises(InputError, match=r"^value_range is for arrays; "):
    parts_of(pool, value_range=(0, 1))
