"""Recomputing activations: the same training, less memory."""

from __future__ import annotations

import itertools
import sys

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers, ops

from fixtures import students
from wsl_extraction.errors import InputError
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.networks.wide_resnet import wide_resnet
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices
from wsl_extraction.training import rematerialize
from wsl_extraction.training.student import Student

SHAPE = (8, 8, 1)
ROTATION = Rotation(base=Distillation())


def basic():
  return resnet_v2(SHAPE, 3, depth=8, width=4, seed=0, batch_norm_momentum=0.9)


def bottlenecks():
  return resnet_v2(SHAPE, 3, depth=11, width=4, seed=0, batch_norm_momentum=0.9)


def wide():
  return wide_resnet(SHAPE, 3, depth=10, width=1, seed=0,
                     batch_norm_momentum=0.9)


def dropping():
  """A block whose every run draws other numbers."""
  image = keras.Input(SHAPE)
  x = layers.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(1),
                    kernel_regularizer=keras.regularizers.L2(0.01))(image)
  y = layers.Dropout(0.5, seed=5)(layers.BatchNormalization(momentum=0.9)(x))
  x = layers.Add()([x, layers.Conv2D(
      4, 1, kernel_initializer=keras.initializers.HeNormal(2))(y)])
  x = layers.GlobalAveragePooling2D()(x)
  return keras.Model(image, layers.Dense(
      3, kernel_initializer=keras.initializers.HeNormal(3))(x))


def three_steps(network, objective, **kwargs):
  """Losses and all variables after three steps of gradient descent."""
  student = Student(network, objective, seed=1, **kwargs)
  student.compile(keras.optimizers.SGD(0.1), jit_compile=devices.jit_compile())
  losses = [student.train_on_batch(students.batch(step), return_dict=True)
            ["loss"] for step in range(3)]
  # Metrics among them; copies, as torch gives views.
  return [np.array(losses, float), *(
      np.array(ops.convert_to_numpy(v + 0)) for v in student.variables)]


def same(first, second, tolerance=1e-5):
  assert len(first) == len(second)
  for one, other in zip(first, second, strict=True):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("network, objective", [
    (basic, ROTATION), (bottlenecks, Distillation()), (wide, Distillation()),
    (dropping, ROTATION), (basic, MixMatch(ramp_steps=2)),
    (basic, MixMatch(ramp_steps=2, interleave=True))])
def test_three_steps_are_the_same(network, objective):
  kept = three_steps(network(), objective)
  assert kept[0].std() > 0
  same(three_steps(network(), objective, rematerialize=True), kept)


def test_three_steps_are_the_same_under_mixed_precision():
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    kept = three_steps(basic(), ROTATION)
    again = three_steps(basic(), ROTATION, rematerialize=True)
  finally:
    keras.config.set_dtype_policy("float32")
  # Compilers round to bfloat16, eight bits, where they like.
  same(again, kept, tolerance=2e-2)


def test_the_network_stays_as_it_was():
  network = bottlenecks()
  before = network.get_config()
  student = Student(network, ROTATION, rematerialize=True)
  assert network.get_config() == before
  plain = Student(bottlenecks(), ROTATION)
  for kind in ("trainable_variables", "non_trainable_variables"):
    assert [(v.name, v.shape) for v in getattr(student, kind)] == [
        (v.name, v.shape) for v in getattr(plain, kind)]
  images = students.batch()["labeled"]
  np.testing.assert_allclose(
      student.predict(images, verbose=0), network.predict(images, verbose=0),
      rtol=1e-6)


def residual_bytes(rematerialize):
  """What the backward pass gets from the forward pass, weights included."""
  import jax

  network = resnet_v2((32, 32, 3), 3, depth=56, width=4, seed=0)
  student = Student(network, ROTATION, rematerialize=rematerialize)
  batch = {"labeled": np.zeros((8, 32, 32, 3), np.uint8),
           "unlabeled": np.zeros((8, 32, 32, 3), np.uint8),
           "targets": np.zeros((8, 3), "float32"),
           "revealed": np.ones((8, 3), np.uint8)}
  state = [v.value for v in student.non_trainable_variables]

  def loss(weights):
    terms, _ = student.stateless_call(weights, state, batch, training=True)
    return sum(terms.values())

  weights = [v.value for v in student.trainable_variables]
  backward = jax.eval_shape(lambda w: jax.vjp(loss, w)[1], weights)
  return sum(leaf.size * leaf.dtype.itemsize
             for leaf in jax.tree.leaves(backward))


def save_residual_bytes(path):
  np.savez(path, kept=residual_bytes(False), again=residual_bytes(True))


@pytest.mark.slow
def test_much_less_is_kept_for_the_backward_pass(tmp_path):
  """27 blocks: without the inside of them a small part is left."""
  pytest.importorskip("jax", reason="jax is not installed")
  found = students.run_elsewhere(__file__, "jax", tmp_path)
  assert found["again"] < found["kept"] / 5


def test_torch_keeps_less_too():
  torch = pytest.importorskip("torch", reason="torch is not installed")
  if keras.backend.backend() != "torch":
    pytest.skip("of the backend torch")

  def kept(rematerialize):
    student = Student(resnet_v2(SHAPE, 3, depth=56, width=4), Distillation(),
                      rematerialize=rematerialize)
    tensors = {}
    def pack(tensor):
      tensors[tensor.data_ptr()] = tensor.nbytes
      return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
      images = ops.convert_to_tensor(
          students.batch(labeled=64)["labeled"])
      student.extended(images, training=True)
    return sum(tensors.values())
  assert kept(True) < kept(False) / 3


_sizes = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 200)),
                  min_size=1, max_size=8)


def made_up(sizes):
  return [rematerialize._Block(None, keras.KerasTensor((None, end)), inside)
          for end, inside in sizes]


@given(_sizes)
def test_groups_keep_all_blocks_in_order_and_beat_even_ones(sizes):
  blocks = made_up(sizes)
  groups = rematerialize._groups(blocks)
  assert list(itertools.chain(*groups)) == blocks
  kept = (sum(group[-1].end.shape[1] for group in groups)
          + max(sum(block.inside for block in group) for group in groups))
  ends, insides = zip(*sizes, strict=True)
  assert kept <= sum(ends) + max(insides)  # each block by itself
  assert kept <= ends[-1] + sum(insides)  # all together


def test_groups_of_equal_blocks_by_hand():
  """16 blocks, ends of 1 and insides of 4: groups of k keep 16 / k + 4 k."""
  groups = rematerialize._groups(made_up([(1, 4)] * 16))
  assert [len(group) for group in groups] == [2] * 8  # 8 + 8


def chain():
  image = keras.Input(SHAPE)
  return keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))


def twice():
  image = keras.Input((4,))
  dense = layers.Dense(4)
  x = layers.Add()([image, dense(dense(image))])
  return keras.Model(image, layers.Dense(3)(x))


def penalised():
  image = keras.Input((4,))
  x = layers.Dense(4, activity_regularizer="l2", name="penal")(image)
  return keras.Model(image, layers.Dense(3)(layers.Add()([image, x])))


@pytest.mark.parametrize("network, message", [
    (chain, "no residual blocks"), (twice, "uses a layer twice"),
    (penalised, "'penal' penalises its output")])
def test_networks_that_cannot_be_recomputed_are_refused(network, message):
  with pytest.raises(InputError, match=message) as caught:
    Student(network(), Distillation(), rematerialize=True)
  assert "\n" not in str(caught.value)
  assert "leave rematerialize off" in str(caught.value)


if __name__ == "__main__":
  save_residual_bytes(sys.argv[1])
