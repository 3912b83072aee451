"""Training stopped at any step goes on to the same weights; its batches."""

import io

import keras
import numpy as np
import pytest
from keras import layers

from wsl_extraction.errors import InputError
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.runtime import devices
from wsl_extraction.training import batches, fit, optimizers
from wsl_extraction.training.augment import Augment
from wsl_extraction.training.student import Student

STEPS, EVERY = 12, 5  # so a checkpoint each 4 steps

OBJECTIVES = {
    "supervised": Supervised(),
    "distillation": Distillation(temperature=1.5),
    "rotation": Rotation(base=Distillation()),
    "mixmatch": MixMatch(ramp_steps=STEPS),
    "interleaved": MixMatch(ramp_steps=STEPS, interleave=True),
}
OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, STEPS), momentum=0.9,
        nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01),
    # As the settings of the paper have it.
    "averaged": lambda: optimizers.decaying_kernels(keras.optimizers.Adam(
        0.01, weight_decay=0.02, use_ema=True, ema_momentum=0.9)),
}


class Interruption(Exception):
  """What stops a training here."""


class StopAt(keras.callbacks.Callback):
  """Raises when so many steps are done."""

  def __init__(self, step):
    super().__init__()
    self.left = step

  def on_train_batch_end(self, batch, logs=None):
    self.left -= 1
    if self.left == 0:
      raise Interruption


class EpochEnds(keras.callbacks.Callback):
  """Remembers the steps done at the ends of epochs."""

  def on_train_begin(self, logs=None):
    self.steps = []

  def on_epoch_end(self, epoch, logs=None):
    self.steps.append(int(keras.ops.convert_to_numpy(self.model.step)))


def make_student(objective, optimizer=OPTIMIZERS["adam"], width=6):
  images = keras.Input((4, 4, 1))
  x = layers.Conv2D(width, 3, padding="same",
                    kernel_initializer=keras.initializers.HeNormal(1))(images)
  x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
  x = layers.Dropout(0.2, seed=4)(layers.GlobalAveragePooling2D()(x))
  x = layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(2))(x)
  student = Student(keras.Model(images, x), objective, seed=3,
                    augment=Augment(shift=1, flip=True, seed=5))
  # "auto" is XLA, which tensorflow is given on GPUs alone.
  student.compile(optimizer(), jit_compile=(
      "auto" if optimizer is OPTIMIZERS["momentum"] else
      devices.jit_compile()))
  return student


def make_batches():
  rng = np.random.default_rng(0)
  labeled = rng.normal(size=(10, 4, 4, 1)).astype("float32")
  return batches.by_step(
      {"labeled": labeled, "labels": rng.integers(0, 3, 10).astype("int32"),
       "targets": rng.normal(size=(10, 3)).astype("float32"),
       "revealed": np.ones((10, 3), "uint8")},
      STEPS, 4, 7, rng.normal(size=(6, 4, 4, 1)).astype("float32"), 4)


def state(student):
  """Every variable on which training depends, by the bytes."""
  return [np.asarray(keras.ops.convert_to_numpy(variable)).tobytes()
          for variable in [*student.variables, *student.optimizer.variables]]


def trained(student, path=None, *callbacks):
  fit.fit(student, make_batches(), STEPS, checkpoint=path,
          checkpoint_every=EVERY, callbacks=callbacks)
  return student


@pytest.fixture(name="finished", scope="module")
def fixture_finished(tmp_path_factory):
  """A student trained to its end, and what its checkpoint holds."""
  path = tmp_path_factory.mktemp("finished") / "checkpoint.npz"
  return trained(make_student(Supervised()), path), path.read_bytes()


@pytest.mark.parametrize("objective, optimizer", [
    *((name, "adam") for name in OBJECTIVES),
    ("supervised", "momentum"), ("mixmatch", "averaged"),
    pytest.param("interleaved", "averaged", marks=pytest.mark.slow)])
def test_training_goes_on_to_the_same_weights(tmp_path, objective, optimizer):
  objective, optimizer = OBJECTIVES[objective], OPTIMIZERS[optimizer]
  whole = trained(make_student(objective, optimizer))
  path = tmp_path / "checkpoint.npz"
  for steps, kept in ((6, 4), (5, 8)):  # in step 6, then in step 4 + 5
    with pytest.raises(Interruption):
      trained(make_student(objective, optimizer), path, StopAt(steps))
    restored = make_student(objective, optimizer)
    assert fit.Checkpoint(path).restore(restored) == kept
  resumed = trained(make_student(objective, optimizer), path)
  assert state(resumed) == state(whole)
  assert state(whole) != state(make_student(objective, optimizer))


def test_before_the_first_checkpoint_nothing_is_kept(tmp_path):
  path = tmp_path / "checkpoint.npz"
  with pytest.raises(Interruption):
    trained(make_student(Supervised()), path, StopAt(3))
  assert not list(tmp_path.iterdir())


def test_a_finished_training_is_only_restored(tmp_path, finished):
  path = tmp_path / "checkpoint.npz"
  whole, held = finished
  path.write_bytes(held)
  written = path.stat().st_mtime_ns
  again = trained(make_student(Supervised()), path, StopAt(1))
  assert path.stat().st_mtime_ns == written
  for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_checkpoint_changes_no_weights(finished):
  bare = trained(make_student(Supervised()))
  kept, _ = finished
  assert state(bare) == state(kept)


@pytest.mark.parametrize("spoil", [
    lambda held: b"",
    lambda held: held[:1],
    lambda held: held[:len(held) // 2],
    lambda held: held[:-1],
    lambda held: held[:2000] + bytes([held[2000] ^ 1]) + held[2001:],
    lambda held: b"something else",
], ids=["empty", "1-byte", "half", "1-less", "1-bit", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path, finished, spoil):
  path = tmp_path / "checkpoint.npz"
  path.write_bytes(spoil(finished[1]))
  with pytest.raises(InputError, match=r"checkpoint\.npz is damaged") as error:
    trained(make_student(Supervised()), path)
  assert "delete it" in str(error.value) and "\n" not in str(error.value)


def test_a_lone_array_is_no_checkpoint(tmp_path):
  path = tmp_path / "checkpoint.npz"
  with open(path, "wb") as file:
    np.save(file, np.zeros(3))
  with pytest.raises(InputError, match="is damaged"):
    trained(make_student(Supervised()), path)


@pytest.mark.parametrize("other", [
    lambda: make_student(Supervised(), width=7),
    lambda: make_student(Supervised(), OPTIMIZERS["momentum"]),
    lambda: make_student(OBJECTIVES["rotation"]),
], ids=["network", "optimizer", "objective"])
def test_a_checkpoint_of_another_student_is_refused(tmp_path, other):
  path = tmp_path / "checkpoint.npz"
  trained(other(), path)
  student = make_student(Supervised())
  before = state(student)
  with pytest.raises(InputError, match="is of another network"):
    trained(student, path)
  assert state(student)[:len(before)] == before


def test_a_checkpoint_of_another_backend_is_refused(tmp_path, finished):
  path = tmp_path / "c.npz"
  with np.load(io.BytesIO(finished[1])) as saved:
    arrays = {**saved, "backend": np.array("theano")}
  np.savez(path, **arrays)
  with pytest.raises(InputError, match="was written on theano"):
    trained(make_student(Supervised()), path)


def few_batches(steps):
  rng = np.random.default_rng(0)
  return batches.by_step(
      {"labeled": rng.normal(size=(4, 4, 4, 1)).astype("float32"),
       "labels": np.arange(4, dtype="int32") % 3}, steps, 2, 0)


@pytest.mark.parametrize("steps, every, ends", [
    (12, 5, [4, 8, 12]), (12, 12, [12]), (12, 99, [12]), (3, 1, [1, 2, 3]),
    (9, 4, [3, 6, 9]), (7, 3, [3, 6, 7]), (11, 5, [4, 8, 11]),
    (13, 6, [5, 10, 13]), (2, 2, [2])])
def test_epochs_divide_the_steps_where_they_can(steps, every, ends):
  recorded = EpochEnds()
  student = make_student(Supervised())
  student.compile("sgd", run_eagerly=True)  # so few steps are not traced
  fit.fit(student, few_batches(steps), steps, checkpoint_every=every,
          callbacks=[recorded])
  assert recorded.steps == ends


@pytest.mark.parametrize("together", [
    pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_prime_number_of_steps_has_few_checkpoints(tmp_path, together):
  """241 steps wrote 241 checkpoints; the weights stay what they were."""
  if together > 1 and keras.backend.backend() == "torch":
    pytest.skip("torch executes one step at a time")
  path, ends = tmp_path / "checkpoint.npz", EpochEnds()

  def student(steps_together):
    made = make_student(Supervised())
    made.compile("sgd", steps_per_execution=steps_together,
                 jit_compile=devices.jit_compile())
    return made

  plain = student(1)
  fit.fit(plain, few_batches(23), 23, checkpoint_every=23)
  with pytest.raises(Interruption):
    fit.fit(student(together), few_batches(23), 23, checkpoint=path,
            checkpoint_every=10, callbacks=[StopAt(4 if together > 1 else 15)])
  assert fit.Checkpoint(path).restore(student(together)) == 8
  resumed = student(together)
  fit.fit(resumed, few_batches(23), 23, checkpoint=path, checkpoint_every=10,
          callbacks=[ends])
  assert ends.steps == [16, 23]
  assert state(resumed) == state(plain)


@pytest.mark.parametrize("sizes", [{"steps": 0}, {"steps": 1.5},
                                   {"checkpoint_every": 0}])
def test_senseless_sizes_are_refused(sizes):
  with pytest.raises(InputError, match="give a whole number"):
    fit.fit(make_student(Supervised()), make_batches(),
            **{"steps": STEPS, **sizes})


def row_batches(count=10, steps=25, size=4, others=None, seed=3):
  rows = np.arange(count)
  return batches.by_step({"labeled": rows, "labels": rows + 100}, steps, size,
                         seed, others, 3)


def test_a_batch_is_the_same_whenever_asked():
  batches, again = row_batches(), row_batches()
  assert len(batches) == 25
  order = np.random.default_rng(1).permutation(25)
  seen = {int(i): batches[int(i)]["labeled"] for i in order}
  for step, batch in enumerate(again):
    np.testing.assert_array_equal(batch["labeled"], seen[step])
    np.testing.assert_array_equal(batch["labels"], seen[step] + 100)
  for step, batch in enumerate(batches[9:25]):
    np.testing.assert_array_equal(batch["labeled"], seen[9 + step])


def test_each_pass_holds_every_row_once_in_a_new_order():
  rows = np.concatenate([batch["labeled"] for batch in row_batches()])
  passes = [tuple(passed) for passed in rows.reshape(10, 10)]
  assert all(sorted(passed) == list(range(10)) for passed in passes)
  assert len(set(passes)) == 10
  other = np.concatenate([b["labeled"] for b in row_batches(seed=4)])
  assert (other != rows).any()


def test_unlabelled_rows_have_passes_of_their_own():
  batches = row_batches(steps=14, others=np.arange(7))
  assert all(batch["labeled"].shape == (4,) and batch["unlabeled"].shape == (3,)
             for batch in batches)
  rows = np.concatenate([batch["unlabeled"] for batch in batches])
  passes = [tuple(passed) for passed in rows.reshape(6, 7)]
  assert all(sorted(passed) == list(range(7)) for passed in passes)
  assert len(set(passes)) == 6
  alone = np.concatenate([b["labeled"] for b in row_batches(steps=14)])
  np.testing.assert_array_equal(
      np.concatenate([batch["labeled"] for batch in batches]), alone)


def test_an_empty_batch_is_refused():
  for given in ({"count": 0}, {"size": 0}):
    with pytest.raises(InputError, match="is empty"):
      row_batches(**given)
