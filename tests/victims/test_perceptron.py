"""Perceptrons as victims: trained by scikit-learn, computed exactly."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from wsl_extraction.data.examples import Examples, image_dataset
from wsl_extraction.data.split import Split
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims.perceptron import Perceptron


@pytest.fixture
def dataset():
  from sklearn.datasets import load_digits
  digits = load_digits()
  images = (digits.images * 15).astype(np.uint8)[..., None]
  return image_dataset(
      "d", Examples(images, digits.target.astype(np.int32)), None,
      tuple("0123456789"))


def answers(victim, examples):
  return victim.quantities[Quantity.LOGITS](examples.rows)


def test_a_perceptron_learns_and_is_kept(tmp_path, dataset):
  parts = Split(private=300, pool=20, test=200)(dataset)
  runtime = Runtime(cache=tmp_path)
  source = Perceptron(hidden=24, max_iter=150)
  first, second = (source.load(parts, runtime) for _ in range(2))
  logits = answers(first, parts.test)
  assert logits.dtype == np.float64
  assert (logits.argmax(1) == parts.test.labels).mean() > 0.8
  np.testing.assert_array_equal(logits, answers(second, parts.test))
  assert first.fingerprint == second.fingerprint
  assert len(list((tmp_path / "victims").glob("*.npz"))) == 1
  single = Perceptron(hidden=24, max_iter=150, dtype="float32").load(
      parts, runtime)
  assert single.fingerprint != first.fingerprint
  assert answers(single, parts.test).dtype == np.float32
  np.testing.assert_allclose(answers(single, parts.test), logits, atol=1e-3)


def test_its_weights_are_the_function_that_it_answers(tmp_path, dataset):
  parts = Split(private=300, pool=20, test=200)(dataset)
  victim = Perceptron(hidden=8).load(parts, Runtime(cache=tmp_path))
  rows = np.asarray(parts.test.rows).reshape(200, -1).astype(np.float64)
  assert victim.weights is not None
  np.testing.assert_allclose(
      victim.weights(rows), answers(victim, parts.test), atol=1e-10)


def test_a_perceptron_behind_an_api_of_pixels(tmp_path, dataset):
  """It clips and rounds; on whole pixels it is the same function."""
  parts = Split(private=300, pool=20, test=200)(dataset)
  runtime = Runtime(cache=tmp_path)
  plain = Perceptron(hidden=8).load(parts, runtime)
  api = Perceptron(hidden=8, input_levels=255).load(parts, runtime)
  assert plain.fingerprint != api.fingerprint
  assert len(list((tmp_path / "victims").glob("*.npz"))) == 1
  rows = np.asarray(parts.test.rows).astype(np.float64)
  noisy = rows + np.random.default_rng(0).uniform(-0.4, 0.4, rows.shape)
  for asked, seen in ((rows, rows), (noisy, rows), (
      rows - 300, 0 * rows), (rows * 0 + 999, 0 * rows + 255)):
    np.testing.assert_allclose(
        api.quantities[Quantity.LOGITS](asked),
        plain.quantities[Quantity.LOGITS](seen), atol=1e-9)
  with pytest.raises(InputError, match=r"Perceptron\.input_levels"):
    Perceptron(input_levels=0)


def test_a_perceptron_agrees_with_scikit_learn(tmp_path, dataset):
  from sklearn.neural_network import MLPClassifier
  parts = Split(private=300, pool=20, test=200)(dataset)
  victim = Perceptron(hidden=8, max_iter=3000, alpha=0.1).load(
      parts, Runtime(cache=tmp_path))
  x = np.asarray(parts.private.rows).reshape(300, -1) / 255
  rows = np.asarray(parts.test.rows).reshape(200, -1) / 255
  model = MLPClassifier((8,), alpha=0.1, max_iter=3000, random_state=0).fit(
      x, parts.private.labels)
  np.testing.assert_allclose(
      scipy.special.softmax(answers(victim, parts.test), axis=1),
      model.predict_proba(rows), atol=1e-9)


def test_a_damaged_file_that_was_kept_is_made_anew(tmp_path, dataset):
  parts = Split(private=60, pool=20, test=20)(dataset)

  def load():
    return answers(Perceptron(hidden=4).load(
        parts, Runtime(cache=tmp_path)), parts.test)

  first = load()
  path, = tmp_path.glob("victims/*.npz")
  path.write_bytes(path.read_bytes()[:300])
  np.testing.assert_array_equal(load(), first)
  assert len(path.read_bytes()) > 300


def test_random_perceptrons_need_no_examples(tmp_path, dataset):
  parts = Split(private=0, pool=20, test=20)(dataset)
  one, other = (
      Perceptron(trained=False, seed=seed).load(parts, Runtime(cache=tmp_path))
      for seed in (0, 1))
  assert one.fingerprint != other.fingerprint
  assert answers(one, parts.pool).shape == (20, 10)
  with pytest.raises(InputError, match="private part of 0"):
    Perceptron().load(parts, Runtime(cache=tmp_path))


@pytest.mark.parametrize("field, value", [
    ("hidden", 0), ("max_iter", True), ("dtype", "float16")])
def test_settings_of_perceptrons(field, value):
  with pytest.raises(InputError, match=f"Perceptron.{field}"):
    Perceptron(**{field: value})
