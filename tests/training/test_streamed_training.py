"""Attacks on images that stay files: the same as on arrays."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest

from fixtures import image_files, oracles
from fixtures.grain_flags import parsed_flags  # noqa: F401
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning import session
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.data import datasets
from wsl_extraction.data.examples import Examples
from wsl_extraction.data.images.crops import InceptionCrop
from wsl_extraction.data.images.lazy_images import LazyImages
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Images
from wsl_extraction.runtime import workers
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.strategies.pool_order import PoolOrder
from wsl_extraction.training import batches
from wsl_extraction.training.recipe import Recipe

SIZE, CLASSES, BUDGET = 16, 6, 12
RECIPE = Recipe(
    network=functools.partial(resnet_v2, depth=8, width=4),
    optimizer=functools.partial(keras.optimizers.SGD, 0.05), steps=3,
    batch_size=4, unlabeled_batch_size=4)
ATTACK = Learning(
    objective=Rotation(base=Distillation(temperature=1.5)), recipe=RECIPE,
    strategy=PoolOrder(), query_batch_size=5)
CROPPING = dataclasses.replace(
    ATTACK, recipe=dataclasses.replace(RECIPE, crop=InceptionCrop()))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
  return image_files.imagenet(
      tmp_path_factory.mktemp("imagenet"), CLASSES, train=5, val=1)


@pytest.fixture
def dataset(photographs, tmp_path, monkeypatch):
  monkeypatch.setenv("WSL_EXTRACTION_CACHE", str(tmp_path / "cache"))
  return datasets.load(str(photographs), image_size=SIZE, streamed=True)


def pool(dataset, balanced=BUDGET):
  return Split(private=0, pool=30, test=6, balanced=balanced)(dataset).pool


def predict(images):
  means = images.reshape(len(images), -1)[:, :CLASSES].astype(np.float32)
  return means / 64


def attacked(pool, store, attack=ATTACK, seen=None, **options):
  """Weights after an attack with a store of responses, and what it paid."""
  def victim(images):
    if seen is not None:
      seen.append(len(images))
    return predict(images)

  oracle = oracles.oracle(
      victim, CLASSES, Images(SIZE, SIZE, 3), budget=BUDGET, store=store)
  extraction = attack(oracle, Knowledge(pool), 0, Runtime(
      compile_options={"jit_compile": False}, **options))
  return extraction.surrogate.get_weights(), oracle.ledger.rows


def store_at(path):
  return ResponseStore(path, Scores(), CLASSES)


def equal(some, others):
  return all((a == b).all() for a, b in zip(some, others, strict=True))


def test_without_crops_it_is_training_on_the_decoded_images(
    dataset, tmp_path):
  files = pool(dataset)
  assert isinstance(files.rows, LazyImages)
  arrays = Examples(np.asarray(files.rows))
  with store_at(tmp_path / "a") as a, store_at(tmp_path / "b") as b:
    streamed, queries = attacked(files, a)
    whole, _ = attacked(arrays, b)
  assert queries == BUDGET
  assert equal(streamed, whole)


@pytest.mark.usefixtures("parsed_flags")
@pytest.mark.parametrize("count", [0, 1])
def test_crops_do_not_depend_on_who_reads(dataset, tmp_path, count):
  with store_at(tmp_path / "a") as a, store_at(tmp_path / "b") as b:
    here, _ = attacked(pool(dataset), a, CROPPING)
    elsewhere, _ = attacked(
        pool(dataset), b, CROPPING,
        read_batches=lambda batches: workers.read_ahead(batches, count))
    plain, _ = attacked(pool(dataset), a)
  assert equal(here, elsewhere)
  assert not equal(here, plain)


def test_responses_that_are_not_kept_are_looked_up(
    dataset, tmp_path, monkeypatch):
  with store_at(tmp_path / "a") as a, store_at(tmp_path / "b") as b:
    kept, _ = attacked(pool(dataset), a)
    monkeypatch.setattr(session, "_MOST_VALUES", 0)
    seen = []
    looked_up, queries = attacked(pool(dataset), b, seen=seen)
    assert sum(seen) == queries == b.spent == BUDGET
  assert equal(kept, looked_up)


def test_what_is_answered_is_not_decoded_again(
    dataset, tmp_path, monkeypatch):
  files = pool(dataset)
  with store_at(tmp_path / "a") as store:
    attacked(files, store)
    decoded = []
    real = LazyImages.__array__
    monkeypatch.setattr(
        LazyImages, "__array__",
        lambda self, *options, **more: decoded.append(len(self)) or real(
            self, *options, **more))
    seen = []
    _, queries = attacked(files, store, seen=seen)
  assert (queries, seen) == (BUDGET, [])
  # Of three training batches, and nothing for the oracle.
  assert decoded == [4, 4] * 3


def test_hosts_read_parts_of_the_same_batches(dataset):
  files = pool(dataset)
  entries = {"labeled": files.rows[:12], "labels": np.arange(12)}
  whole, *parts = (
      batches.by_step(entries, 4, 6, 3, files.rows[12:], 8,
                      crop=InceptionCrop(), shard=shard, rows=True)
      for shard in ((0, 1), (0, 2), (1, 2)))
  for step in range(4):
    batch, *halves = (one[step] for one in (whole, *parts))
    assert batch["labeled"].shape == (6, SIZE, SIZE, 3)
    for name, array in batch.items():
      np.testing.assert_array_equal(
          np.concatenate([half[name] for half in halves]), array)
    np.testing.assert_array_equal(batch["rows"], batch["labels"])


def test_more_hosts_than_a_batch_divides_into():
  with pytest.raises(InputError, match="among 4 hosts; give 4"):
    batches.by_step({"labeled": np.zeros((9, 1))}, 1, 6, 0, shard=(0, 4))


def test_crops_of_decoded_images_are_refused(dataset, tmp_path):
  arrays = Examples(np.asarray(pool(dataset).rows))
  with store_at(tmp_path / "a") as store:
    with pytest.raises(InputError, match=r"Experiment\.streamed"):
      attacked(arrays, store, CROPPING)
    assert store.spent == 0


@pytest.mark.parametrize("crop", ["inception", 5, InceptionCrop])
def test_what_is_no_crop(crop):
  with pytest.raises(InputError, match=r"Recipe\.crop is .* parentheses"):
    dataclasses.replace(RECIPE, crop=crop)


def test_the_first_of_the_pool_are_balanced(dataset):
  counts = np.bincount(dataset.train.labels, minlength=CLASSES)
  np.testing.assert_array_equal(counts, 5)
  mixed = pool(dataset, balanced=0)
  assert len(mixed) == 5 * CLASSES
  for share in (1, 2, 3):
    first = pool(dataset, balanced=share * CLASSES)
    part = np.bincount(first.known_labels[:share * CLASSES], minlength=CLASSES)
    assert abs(part - share).max() <= 1
    assert sorted(first.keys) == sorted(mixed.keys)
    assert first.keys != mixed.keys


def test_streaming_needs_a_size(photographs):
  with pytest.raises(InputError, match="give image_size"):
    datasets.load(str(photographs), streamed=True)
