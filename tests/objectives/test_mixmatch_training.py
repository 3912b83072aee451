"""Training with MixMatch as its reference does: compiled, decayed, averaged."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import ops

from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.training import batches, fit, optimizers
from wsl_extraction.training.student import Student

CLASSES = 3


def small_student(optimizer, seed=0, jit_compile=False, **kwargs):
  network = resnet_v2((8, 8, 1), CLASSES, depth=8, width=4, seed=seed)
  student = Student(network, MixMatch(ramp_steps=4, **kwargs), seed=seed)
  student.compile(optimizer, jit_compile=jit_compile)
  return student


def random_batch(step):
  rng = np.random.default_rng(step)
  return {
      "labeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "unlabeled": rng.integers(0, 256, (8, 8, 8, 1), np.uint8),
      "targets": rng.normal(size=(8, CLASSES)).astype("float32")}


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="has no XLA")
def test_xla_gives_the_same_steps():
  logs = {}
  for jit in (False, True):
    # Without mixing: under XLA tensorflow draws other numbers by equal seeds.
    student = small_student(
        keras.optimizers.SGD(0.01), jit_compile=jit, alpha=1e-6)
    logs[jit] = [float(student.train_on_batch(
        random_batch(step), return_dict=True)["loss"]) for step in range(3)]
  np.testing.assert_allclose(logs[False], logs[True], rtol=1e-4)


def test_weight_decay_takes_from_kernels_alone():
  """Adam at 0.01 with a decay of 0.5: kernels lose 0.5 % more than without."""
  after = {}
  for decay in (None, 0.5):
    optimizer = keras.optimizers.Adam(0.01, weight_decay=decay)
    student = small_student(
        optimizers.decaying_kernels(optimizer) if decay else optimizer)
    before = weights_by_name(student)
    student.train_on_batch(random_batch(0))
    after[decay] = weights_by_name(student)
  assert sum(name.endswith("/kernel") for name in before) == 10
  for name, w in before.items():
    lost = 0.005 * w if name.endswith("/kernel") else np.zeros_like(w)
    np.testing.assert_allclose(
        after[None][name] - after[0.5][name], lost, atol=1e-6, err_msg=name)


def weights_by_name(student):
  return {v.path: np.array(ops.convert_to_numpy(v))
          for v in student.network.trainable_variables}


class Weights(keras.callbacks.Callback):
  """Remembers the weights after each step."""

  def on_train_begin(self, logs=None):
    self.seen = []

  def on_epoch_end(self, epoch, logs=None):
    self.seen.append([np.array(ops.convert_to_numpy(v)) for v
                      in self.model.network.trainable_variables])


def test_the_surrogate_gets_the_averages_also_after_an_interruption(tmp_path):
  """0.9 of the average and 0.1 of the weights a step, from the first one on."""
  optimizer = functools.partial(
      keras.optimizers.Adam, 0.01, use_ema=True, ema_momentum=0.9)
  rows = [random_batch(step) for step in range(4)]
  data = batches.by_step(
      {name: np.concatenate([row[name] for row in rows])
       for name in ("labeled", "targets")}, 6, 8, 0,
      np.concatenate([row["unlabeled"] for row in rows]), 8)
  train = functools.partial(
      fit.fit, batches=data, steps=6, checkpoint_every=1,
      checkpoint=tmp_path / "checkpoint.npz")
  weights, student = Weights(), small_student(optimizer())
  train(student, callbacks=[weights])
  average = weights.seen[0]
  for seen in weights.seen[1:]:
    average = [0.9 * a + 0.1 * w for a, w in zip(average, seen, strict=True)]
  for got, expected in zip(
      student.network.trainable_variables, average, strict=True):
    np.testing.assert_allclose(
        ops.convert_to_numpy(got), expected, rtol=1e-4, atol=1e-6)
  # As after a kill between the last checkpoint and the end.
  again = small_student(optimizer())
  train(again)
  for one, other in zip(student.network.get_weights(),
                        again.network.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)


def test_a_decay_of_nothing_is_refused():
  with pytest.raises(InputError, match="Adam without weight decay"):
    optimizers.decaying_kernels(keras.optimizers.Adam(0.01))
