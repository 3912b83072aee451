"""A recipe: what it makes, what it trains, and what it cannot be."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
import pytest

from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.objective import Objective, Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.runtime.placement import Placement
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training.augment import Augment
from wsl_extraction.training.recipe import Recipe, Seeds

SEEDS = Seeds(building=1, ordering=2, augmenting=3)
SPACE = Images(8, 8, 1, 0, 1)
SUPERVISED = Supervised()
# For parameters that it does not have.
ANY_NETWORK: Any = resnet_v2


def recipe(**kwargs):
  return Recipe(**{
      "network": functools.partial(resnet_v2, depth=8, width=4),
      "optimizer": functools.partial(keras.optimizers.SGD, 0.05), "steps": 4,
      "batch_size": 4, "unlabeled_batch_size": 2, **kwargs})


def rows(count=12, seed=0):
  rng = np.random.default_rng(seed)
  return {"labeled": rng.random((count, 8, 8, 1), np.float32),
          "labels": (np.arange(count) % 3).astype(np.int32),
          "targets": rng.normal(size=(count, 3)).astype(np.float32),
          "revealed": np.ones((count, 3), np.uint8)}


def entries(objective, count=12):
  known = rows(count)
  return {name: known[name] for name in known
          if name == "labeled" or name in objective.entries}


def trained(made, objective: Objective = SUPERVISED, seeds=SEEDS, runtime=None,
            **options):
  runtime = runtime or Runtime()
  student = made.student(objective, SPACE, 3, seeds, runtime)
  made.fit(student, entries(objective), "surrogate", seeds, runtime, **options)
  return student


def equal(one, other):
  return all(np.array_equal(a, b) for a, b in zip(
      one.get_weights(), other.get_weights(), strict=True))


def test_networks_are_made_for_the_space():
  given = []

  def network(**kwargs):
    given.append(kwargs)
    return resnet_v2(**kwargs, depth=8, width=4)

  recipe(network=network).make_network(Images(9, 8, 2, -1, 1), 5, 7)
  assert given == [{"input_shape": (9, 8, 2), "num_classes": 5,
                    "value_range": (-1.0, 1.0), "seed": 7}]
  # What has no range is told the usual one.
  recipe(network=lambda **kwargs: given.append(kwargs) or keras.Sequential(
      [keras.Input((4,)), keras.layers.Dense(5)])).make_network(
          Vectors(4), 5, 7)
  assert given[1]["input_shape"] == (4,)
  assert given[1]["value_range"] == (-1.0, 1.0)


def test_the_seeds_are_of_weights_order_and_augmentation():
  made = recipe(augment=functools.partial(Augment, shift=2))
  first = trained(made)
  assert equal(first, trained(made))
  for name in ("building", "ordering", "augmenting"):
    other = dataclasses.replace(SEEDS, **{name: 9})
    assert not equal(first, trained(made, seeds=other)), name
  plain = recipe()
  assert equal(trained(plain), trained(
      plain, seeds=dataclasses.replace(SEEDS, augmenting=9)))


def test_the_caller_is_told_of_the_training():
  told = []

  class Ends(keras.callbacks.Callback):

    def on_epoch_end(self, epoch, logs=None):
      told.append(int(keras.ops.convert_to_numpy(self.model.step)))

  def callbacks(*size):
    told.append(size)
    return [Ends()]

  runtime = Runtime(training_callbacks=callbacks)
  made = recipe(checkpoint_every=2)
  trained(made, runtime=runtime)
  assert told == [("surrogate", 4, 4), 2, 4]
  told.clear()
  # Four turns of the labelled and of the unlabelled images.
  rest = rows(5, 1)["labeled"]
  objective = Rotation(base=Distillation())
  trained(made, objective, runtime=runtime, steps=2, unlabeled=rest)
  assert told == [("surrogate", 2, 4 * (4 + 2)), 2]
  told.clear()
  trained(made, objective, runtime=runtime, steps=2, unlabeled=rest[:0])
  assert told == [("surrogate", 2, 4 * 4), 2]


def test_batches_can_be_completed_by_their_rows():
  known, seen = rows(), []

  def complete(batch):
    places = batch.pop("rows")
    seen.append(places)
    np.testing.assert_array_equal(batch["labeled"], known["labeled"][places])
    return batch | {"labels": known["labels"][places]}

  made = recipe()
  student = made.student(SUPERVISED, SPACE, 3, SEEDS, Runtime())
  made.fit(student, {"labeled": known["labeled"]}, "surrogate", SEEDS,
           Runtime(), complete=complete)
  assert equal(student, trained(made))
  assert [len(places) for places in seen] == [4] * 4
  assert sorted(np.concatenate(seen[:3]).tolist()) == list(range(12))


def test_a_student_is_made_for_its_placement():
  order = []
  placement = Placement(synchronize=lambda student: order.append("joined"))
  runtime = Runtime(
      placement=placement, adapt=lambda student: order.append("adapted"),
      compile_options={"jit_compile": False, "run_eagerly": True})
  student = recipe(accumulate=2).student(
      SUPERVISED, SPACE, 3, SEEDS, runtime)
  assert order == ["adapted", "joined"]
  assert student.compiled and student.run_eagerly
  assert student.accumulate == 2
  assert student.optimizer.gradient_accumulation_steps == 2


def test_numpys_numbers_are_numbers():
  made = recipe(steps=np.int64(4), batch_size=np.int32(4))
  assert (type(made.steps), type(made.batch_size)) == (int, int)


@pytest.mark.parametrize("settings, message", [
    ({"steps": 0}, "steps is 0; give a whole number, 1 or more"),
    ({"steps": 1.5}, "steps is 1.5; give a whole number"),
    ({"batch_size": True}, "batch_size is True; give a whole number"),
    ({"unlabeled_batch_size": -1}, "unlabeled_batch_size is -1; give a whole"),
    ({"checkpoint_every": 0}, "checkpoint_every is 0; give a whole number"),
    ({"rematerialize": 1}, "rematerialize is 1; give True or False"),
    ({"network": "resnet"}, "network is 'resnet'; give a reference without"),
    ({"network": None}, "network is None; give a reference without"),
    ({"optimizer": keras.optimizers.SGD()}, "optimizer is <.*; give a ref"),
    ({"augment": Augment()}, "augment is <Augment .*; give a reference"),
    ({"augment": 3}, "augment is 3; give a reference .*, or None"),
])
def test_settings_that_cannot_be(settings, message):
  with pytest.raises(InputError, match=rf"^Recipe\.{message}"):
    recipe(**settings)


@pytest.mark.parametrize("name, make", [
    ("network", functools.partial(resnet_v2, depth=9)),
    ("network", functools.partial(ANY_NETWORK, heads=3)),
    ("optimizer", functools.partial(keras.optimizers.SGD, momentum=3)),
    ("optimizer", functools.partial(keras.optimizers.SGD, speed=1)),
    ("augment", functools.partial(Augment, shift=-1)),
])
def test_what_cannot_be_made_is_named_before_training(name, make):
  with pytest.raises(InputError, match=rf"^Recipe\.{name} cannot be made: .*; "
                     "mend its parameters$"):
    recipe(**{name: make}).student(SUPERVISED, SPACE, 3, SEEDS, Runtime())
