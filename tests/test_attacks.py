"""The contract that every attack keeps; an attack is added to ATTACKS."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest

from wsl_extraction.attacks.attack import Status, Surroundings
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation, LogitMatching
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.response import NotRevealed
from wsl_extraction.oracle.reveals import Access
from wsl_extraction.runtime import devices
from wsl_extraction.strategies.coverage import KCenter
from wsl_extraction.strategies.random import Random
from wsl_extraction.strategies.uncertainty import Margin
from wsl_extraction.training import augment, batches

SHAPE, CLASSES, POOL, BUDGET = (8, 8, 1), 3, 60, 24
# A few steps cost less than tracing them.
EAGER = {"run_eagerly": True, "jit_compile": False}


def learning(objective, **kwargs):
  return Learning(objective=objective, **{
      "network": functools.partial(resnet_v2, depth=8, width=4),
      "optimizer": functools.partial(keras.optimizers.SGD, 0.02),
      "augment": functools.partial(augment.Augment, shift=1),
      "steps": 2, "batch_size": 8, "unlabeled_batch_size": 8, **kwargs})


@dataclasses.dataclass(frozen=True)
class Row:
  """An attack with what it is known to need and to spend."""

  attack: object
  requires: Access
  queries: int


ATTACKS = {
    "supervised": Row(learning(Supervised()), Access.LABEL, 0),
    "distillation": Row(learning(Distillation()), Access.LABEL, BUDGET),
    "logit matching": Row(learning(LogitMatching()), Access.LOGITS, BUDGET),
    "rotation": Row(
        learning(Rotation(base=Distillation())), Access.LABEL, BUDGET),
    "mixmatch": Row(learning(MixMatch()), Access.LABEL, BUDGET),
    "active learning": Row(
        learning(Distillation(), strategy=Margin(), rounds=3),
        Access.LABEL, BUDGET),
    "active and semi-supervised": Row(
        learning(MixMatch(), strategy=KCenter(), rounds=2), Access.LABEL,
        BUDGET),
}


def pool(count=POOL, seed=0):
  rng = np.random.default_rng(seed)
  return Examples(rng.integers(0, 256, (count, *SHAPE), np.uint8),
                  rng.integers(0, CLASSES, count).astype(np.int32))


def victim(images):
  means = images.reshape(len(images), -1)[:, :CLASSES].astype(np.float32)
  return means / 64


def oracle(access=Access.LOGITS, budget=BUDGET, seen=None, ledger=None):
  def predict(images):
    if seen is not None:
      seen.append(images)
    return victim(images)

  return Oracle(predict, outputs="logits", input_shape=SHAPE,
                num_classes=CLASSES, access=access,
                ledger=ledger or Ledger(budget))


def run(attack, seed=0, **kwargs):
  return attack(oracle(**kwargs), pool(), seed,
                Surroundings(compile_options=EAGER))


@pytest.fixture(params=ATTACKS)
def row(request):
  return ATTACKS[request.param]


def test_spends_what_the_ledger_says(row):
  seen = []
  extraction = run(row.attack, seen=seen)
  assert extraction.queries == row.queries == sum(map(len, seen))
  assert extraction.queries <= BUDGET
  assert extraction.status is Status.DONE
  assert extraction.surrogate.predict(
      pool().images, verbose=0).shape == (POOL, CLASSES)


def test_same_seed_same_result_other_seed_another(row):
  first, again, other = (
      run(row.attack, seed).surrogate.get_weights() for seed in (3, 3, 4))
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_refuses_too_little_access_before_the_first_query(row):
  assert row.attack.requires is row.requires
  for access in Access:
    if access >= row.requires:
      continue
    seen = []
    k = 2 if access is Access.TOP_K else None
    below = Oracle(seen.append, outputs="logits", input_shape=SHAPE,
                   num_classes=CLASSES, access=access, k=k)
    with pytest.raises(NotRevealed, match="needs access"):
      row.attack(below, pool(), 0)
    assert seen == []


def test_labels_are_taken_away_from_attacks(monkeypatch):
  handed = {}

  def spy(self, oracle, pool, seed, surroundings):
    handed[self.reads_labels] = pool.labels
    raise StopIteration

  monkeypatch.setattr(Learning, "run", spy)
  for name in ("supervised", "distillation"):
    with pytest.raises(StopIteration):
      ATTACKS[name].attack(oracle(), pool(), 0)
  assert handed[False] is None
  assert handed[True] is not None


@pytest.mark.parametrize("budget, message", [
    (0, "budget is 0"), (POOL + 1, f"from 1 to {POOL}")])
def test_budgets_that_do_not_fit_the_pool(row, budget, message):
  seen = []
  with pytest.raises(InputError, match=message):
    run(row.attack, budget=budget, seen=seen)
  assert seen == []


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "0"])
def test_seeds_are_checked(seed):
  with pytest.raises(InputError, match="seed is"):
    ATTACKS["distillation"].attack(oracle(), pool(), seed)


def test_an_empty_pool_and_one_of_another_size():
  attack = ATTACKS["distillation"].attack
  with pytest.raises(InputError, match="empty"):
    attack(oracle(), pool(0), 0)
  with pytest.raises(InputError, match="shape"):
    attack(oracle(), Examples(np.zeros((30, 9, 8, 1), np.uint8)), 0)


def test_every_access_level_trains_and_teaches():
  """With all of the pool asked, fidelity is far above chance at each level."""
  attack = learning(Distillation(), steps=150, batch_size=30, augment=None,
                    network=linear_network, optimizer=functools.partial(
                        keras.optimizers.Adam, 0.05))
  images = pool(400, seed=1)
  truth = victim(images.images).argmax(axis=1)
  for access in Access:
    k = 2 if access is Access.TOP_K else None
    one = Oracle(victim, outputs="logits", input_shape=SHAPE, k=k,
                 num_classes=CLASSES, access=access, ledger=Ledger(200))
    surrogate = attack(one, images, 0, Surroundings(
        compile_options=devices.compile_options())).surrogate
    guess = surrogate.predict(images.images, verbose=0).argmax(axis=1)
    assert (guess == truth).mean() > 0.75, access


def linear_network(input_shape, num_classes, value_range, seed):
  del value_range
  image = keras.Input(input_shape)
  x = keras.layers.Rescaling(1 / 255)(image)
  return keras.Model(image, keras.layers.Dense(
      num_classes, kernel_initializer=keras.initializers.GlorotUniform(seed))(
          keras.layers.Flatten()(x)))


def spied_batches(monkeypatch, attack, **kwargs):
  """What an attack hands to `batches.by_step`, training by training."""
  handed = []
  real = batches.by_step

  def spy(entries, steps, batch_size, seed, unlabeled, unlabeled_batch_size,
          **options):
    handed.append({**entries, "steps": steps, "unlabeled": unlabeled})
    return real(entries, steps, batch_size, seed, unlabeled,
                unlabeled_batch_size, **options)

  monkeypatch.setattr(batches, "by_step", spy)
  run(attack, **kwargs)
  return handed


def rows(images):
  return {image.tobytes() for image in images}


@pytest.mark.parametrize("name", ["rotation", "mixmatch"])
def test_unlabelled_images_are_those_that_were_not_asked_about(
    monkeypatch, name):
  seen = []
  (one,) = spied_batches(monkeypatch, ATTACKS[name].attack, seen=seen)
  assert rows(one["labeled"]) == rows(np.concatenate(seen))
  assert len(one["unlabeled"]) == POOL - BUDGET
  assert rows(one["unlabeled"]) == (
      rows(pool().images) - rows(one["labeled"]))
  (plain,) = spied_batches(monkeypatch, ATTACKS["distillation"].attack)
  assert not len(plain["unlabeled"])


def test_random_choices_are_distinct_and_nested():
  uniform = np.full((POOL, CLASSES), 1 / CLASSES)
  few, many = (Random()(uniform, np.zeros((POOL, 0)), n,
                        np.random.default_rng(5)) for n in (10, 30))
  assert len(set(many.tolist())) == 30
  np.testing.assert_array_equal(few, many[:10])


@pytest.mark.parametrize("field, value", [
    ("steps", 0), ("batch_size", -1), ("query_batch_size", 2.5),
    ("objective", "distillation"), ("network", None), ("optimizer", "sgd")])
def test_settings_are_checked(field, value):
  with pytest.raises(InputError, match=f"Learning.{field}"):
    dataclasses.replace(ATTACKS["distillation"].attack, **{field: value})
