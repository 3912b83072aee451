"""The adversary's pool holds its own rows, and no label."""

from __future__ import annotations

import gc
import types

import cloudpickle
import numpy as np
import pytest

from fixtures.image_files import imagenet, own_cache  # noqa: F401
from wsl_extraction.data import datasets
from wsl_extraction.data.examples import Examples, image_dataset
from wsl_extraction.data.images import image_index
from wsl_extraction.data.split import Split


def reachable(thing):
  """All objects below one, classes and modules left out."""
  seen, stack = {}, [thing]
  while stack:
    one = stack.pop()
    if id(one) in seen or isinstance(one, (type, types.ModuleType)) or (
        callable(one) and not hasattr(one, "__dict__")):
      continue
    seen[id(one)] = one
    if isinstance(one, types.FunctionType):
      stack += [cell.cell_contents for cell in one.__closure__ or ()]
    else:
      stack += gc.get_referents(one)
  return list(seen.values())


@pytest.fixture(name="parts")
def fixture_parts(tmp_path):
  """Of files that stay files."""
  imagenet(tmp_path / "photographs", classes=3, train=8, val=2)
  dataset = datasets.load(str(tmp_path / "photographs"), image_size=16,
                          streamed=True)
  return Split(private=9, pool=12, test=5)(dataset)


def test_a_pool_of_files_has_no_labels(parts):
  pool = parts.pool.unlabeled()
  assert pool.labels is None
  assert pool.rows.labels is None
  labels = parts.pool.labels
  assert len(set(labels.tolist())) == 3
  for one in reachable(pool):
    if isinstance(one, np.ndarray) and one.dtype.kind in "iu":
      assert not np.array_equal(np.ravel(one)[:12], labels)
    if isinstance(one, image_index.Index):
      assert one.labels is None and len(one.digests) == 12


def test_a_pool_of_files_names_none(parts):
  """Folders are called after classes."""
  names = parts.pool.unlabeled().rows.names
  assert len(names) == 12
  assert all("n0000" not in name for name in names)


def test_a_pool_of_files_reads_its_own_images_alone(parts):
  pool = parts.pool.unlabeled().rows
  own = np.asarray(parts.pool.rows)
  np.testing.assert_array_equal(np.asarray(pool), own)
  assert pool.keys == parts.pool.rows.keys
  for row in parts.private.rows.rows.tolist():
    if row >= len(pool):
      with pytest.raises(IndexError):
        pool.source.read([row])
  np.testing.assert_array_equal(
      np.asarray(pool[np.array([3, 1])]), own[[3, 1]])


def test_a_pool_of_files_travels_to_a_worker(parts):
  pool = cloudpickle.loads(cloudpickle.dumps(
      parts.pool.unlabeled().rows))
  np.testing.assert_array_equal(
      np.asarray(pool), np.asarray(parts.pool.rows))
  assert pool.labels is None


def test_an_array_leads_to_no_rows_around_it():
  whole = np.arange(200.0).reshape(20, 10)
  pool = Examples(whole[5:10], np.arange(5)).unlabeled()
  assert isinstance(pool.rows, np.ndarray) and pool.rows.base is None
  pool.rows[:] = 0
  assert whole[5, 0] == 50


def test_the_order_of_a_pool_tells_nothing_of_its_classes():
  """Laid out by classes, ten apart were of one class, nine times in ten."""
  rows = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 1), np.uint8)
  classes = np.arange(2000, dtype=np.int32) % 10
  dataset = image_dataset("d", Examples(rows, classes), None,
                          tuple("0123456789"))
  for settings in ({}, {"balanced": 500}, {"balanced": 1500}):
    split = Split(private=0, pool=1500, test=100, **settings)
    labels = split(dataset).pool.known_labels
    for stride in (1, 2, 5, 10, 20):
      same = (labels[:-stride] == labels[stride:]).mean()
      assert abs(same - 0.1) < 0.04, (settings, stride)
    balanced = labels[:settings.get("balanced", 0)]
    assert set(np.bincount(balanced, minlength=10)) <= {len(balanced) // 10}
