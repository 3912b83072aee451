"""Vectors in .npz files."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_extraction.data import datasets
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.spaces import Vectors

X = np.random.default_rng(0).normal(size=(40, 5)) * 1e3
Y = np.arange(40) % 4


def test_vectors_come_as_they_are(tmp_path):
  np.savez(tmp_path / "v.npz", x=X, y=Y)
  dataset = datasets.load(tmp_path / "v.npz")
  np.testing.assert_array_equal(dataset.train.rows, X)
  assert dataset.train.rows.dtype == np.float64
  assert dataset.space == Vectors(5)
  assert dataset.num_classes == 4
  parts = Split(private=8, pool=20, test=12)(dataset)
  assert parts.space == Vectors(5)
  assert parts.pool.rows.shape == (20, 5)


def test_a_test_set_of_vectors(tmp_path):
  np.savez(tmp_path / "v.npz", x_train=X, y_train=Y, x_test=X[:6], y_test=Y[:6])
  dataset = datasets.load(tmp_path / "v.npz")
  assert dataset.test is not None and len(dataset.test) == 6


@pytest.mark.parametrize("x, message", [
    (np.full((40, 5), np.nan), "NaN or infinity in row 0"),
    (np.where(np.arange(40)[:, None] == 3, np.inf, X), "row 3"),
    (X.astype(complex), "complex128"), (X[:, :0], r"shape \[40, 0\]"),
    (X[:3], "3 rows in x and 40 labels")])
def test_vectors_that_cannot_be(tmp_path, x, message):
  np.savez(tmp_path / "v.npz", x=x, y=Y)
  with pytest.raises(InputError, match=message):
    datasets.load(tmp_path / "v.npz")


def test_vectors_have_no_image_size(tmp_path):
  np.savez(tmp_path / "v.npz", x=X, y=Y)
  with pytest.raises(InputError, match="no image_size"):
    datasets.load(tmp_path / "v.npz", image_size=8)
