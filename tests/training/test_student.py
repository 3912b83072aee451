"""The Student: one `fit` for every objective."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from fixtures.students import OBJECTIVES, batch, plain_student, student
from wsl_extraction.objectives.objective import Supervised
from wsl_extraction.training import augment, batches, fit


@pytest.mark.parametrize("name", OBJECTIVES)
def test_terms_are_reported_and_add_up(name):
  made = plain_student(name)
  logs = made.train_on_batch(batch(), return_dict=True)
  terms = OBJECTIVES[name].terms
  assert set(logs) == {"loss", *terms}
  penalty = sum(float(ops.convert_to_numpy(loss))
                for loss in plain_student(name).losses)
  assert float(logs["loss"]) == pytest.approx(
      sum(float(logs[term]) for term in terms) + penalty, rel=1e-5)


def test_an_epochs_log_is_the_mean_of_its_steps():
  made = plain_student("supervised", rate=0.0)
  entries = batch(labeled=12)
  entries.pop("unlabeled")
  data = batches.by_step(entries, 3, 4, 0)
  singles = [float(made.train_on_batch(data[i], return_dict=True)["loss"])
             for i in range(3)]
  made.reset_metrics()
  history = made.fit(
      data, steps_per_epoch=3, shuffle=False, verbose=0).history
  assert len(set(singles)) == 3
  assert history["loss"][0] == pytest.approx(np.mean(singles), rel=1e-5)


def test_training_improves_and_predict_gives_the_networks_logits():
  made = student(Supervised())
  first = float(made.train_on_batch(batch(), return_dict=True)["loss"])
  for _ in range(20):
    made.reset_metrics()
    last = float(made.train_on_batch(batch(), return_dict=True)["loss"])
  assert last < first / 2
  assert int(ops.convert_to_numpy(made.step)) == 21
  images = batch()["labeled"]
  np.testing.assert_allclose(
      made.predict(images, verbose=0), made.network.predict(images, verbose=0),
      rtol=1e-6)


def test_evaluate_works_as_for_any_keras_model():
  made = plain_student("supervised")
  made.compile(
      keras.optimizers.SGD(0.1), jit_compile=False,
      loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
      metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
  data = batch(labeled=30)
  scores = made.predict(data["labeled"], verbose=0)
  logs = made.evaluate(
      data["labeled"], data["labels"], verbose=0, return_dict=True)
  assert logs["accuracy"] == pytest.approx(
      (scores.argmax(axis=1) == data["labels"]).mean(), abs=1e-6)


def test_augmentation_acts_in_training_only_and_by_its_seed():
  def losses(seed):
    made = plain_student("supervised", rate=0.0,
                         augment=augment.Augment(shift=3, seed=seed))
    found = []
    for _ in range(2):
      made.reset_metrics()
      found.append(float(made.train_on_batch(
          batch(), return_dict=True)["loss"]))
    images = batch()["labeled"]
    np.testing.assert_array_equal(
        made.predict(images, verbose=0), made.predict(images, verbose=0))
    return found

  assert losses(1) == losses(1)
  assert losses(1) != losses(2)
  assert losses(1)[0] != losses(1)[1]


def test_only_the_surrogates_own_weights_are_saved(tmp_path):
  made = student(OBJECTIVES["rotation"])
  made.train_on_batch(batch())
  assert made.extended.count_params() == (
      made.network.count_params() + 4 * (4 * 4 + 1))
  made.network.save(tmp_path / "s.keras")
  again = keras.saving.load_model(tmp_path / "s.keras", safe_mode=True)
  images = batch()["labeled"]
  np.testing.assert_allclose(
      again.predict(images, verbose=0), made.predict(images, verbose=0),
      rtol=1e-6)


def test_under_bfloat16_targets_and_losses_stay_single_precision():
  keras.config.set_dtype_policy("mixed_bfloat16")
  try:
    made = student(OBJECTIVES["rotation"], augment=augment.Augment(shift=1))
    logs = made.train_on_batch(batch(), return_dict=True)
  finally:
    keras.config.set_dtype_policy("float32")
  single = student(OBJECTIVES["rotation"], augment=augment.Augment(shift=1))
  expected = single.train_on_batch(batch(), return_dict=True)
  assert made.network.output.dtype == "float32"
  assert made.network.layers[3].compute_dtype == "bfloat16"
  assert float(logs["loss"]) == pytest.approx(float(expected["loss"]), rel=0.02)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="compiles none")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_is_compiled_again_between_steps(name, monkeypatch):
  """Python sees an objective when its step is traced, and then no more."""
  kind, traced = type(OBJECTIVES[name]), []
  real = kind.__call__
  monkeypatch.setattr(
      kind, "__call__", lambda self, network, batch, training: (
          traced.append(1), real(self, network, batch, training))[1])
  counts = []
  for steps in (6, 18):
    made, before = plain_student(name), len(traced)
    entries = batch(labeled=32, unlabeled=0)
    entries.pop("unlabeled")
    fit.fit(made, batches.by_step(
        entries, steps, 16, 5, batch(1, unlabeled=32)["unlabeled"], 8),
            steps, checkpoint_every=2)
    counts.append(len(traced) - before)
  assert counts[0] == counts[1] <= 4
