"""Features of vectors and tables, against scikit-learn's."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from sklearn import preprocessing

from fixtures import oracles
from fixtures.learning_attacks import EAGER
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.learning.learning import Learning
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.networks import dense
from wsl_extraction.networks.graph import penultimate
from wsl_extraction.networks.resnet_v2 import resnet_v2
from wsl_extraction.objectives.distillation import Distillation
from wsl_extraction.objectives.mixmatch import MixMatch
from wsl_extraction.objectives.rotation import Rotation
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.training import augment, features
from wsl_extraction.training.recipe import Recipe

RNG = np.random.default_rng(0)
POOL = RNG.normal([0, 1e4, -3, 7], [1e-6, 20, 0.1, 0], (50, 4))
TABLE = Table((Continuous("age"), Categorical("job", ("a", "b", "c")),
               Continuous("pay"), Categorical("sex", ("f", "m"))), missing=True)
ROWS = np.array([[20, 0, 1e6, 1], [40, 2, np.nan, 0], [np.nan, 1, 3e6, np.nan],
                 [60, np.nan, 5e6, 1]])


def recipe(**settings):
  return Recipe(**{
      "network": functools.partial(dense.mlp, hidden=(6,)),
      "optimizer": functools.partial(keras.optimizers.Adam, 0.01),
      "steps": 2, "batch_size": 4, "unlabeled_batch_size": 4, **settings})


def values(space, pool, rows):
  inputs, made = features.features(space, pool)
  return keras.ops.convert_to_numpy(
      keras.Model(inputs, made)(rows.astype(np.float32)))


def test_vectors_are_standardised_by_the_pool_alone():
  """As by scikit-learn's scaler; a constant feature becomes 0."""
  fresh = POOL[:9] * 1.5
  scaler = preprocessing.StandardScaler().fit(POOL)
  np.testing.assert_allclose(
      values(Vectors(4), POOL, fresh), scaler.transform(fresh), rtol=2e-4,
      atol=2e-4)
  np.testing.assert_array_equal(values(Vectors(4), POOL, POOL)[:, 3], 0)
  np.testing.assert_array_equal(values(Vectors(4), None, fresh),
                                fresh.astype(np.float32))


def test_categories_are_one_hot_and_missing_values_marked():
  """As by scikit-learn's encoder, imputer and indicator."""
  made = values(TABLE, ROWS, ROWS)
  numbers, missing = ROWS[:, [0, 2]], np.isnan(ROWS[:, [0, 2]])
  scaled = preprocessing.StandardScaler().fit_transform(numbers)
  np.testing.assert_allclose(
      made[:, :2], np.where(missing, 0, scaled), atol=1e-5)
  np.testing.assert_array_equal(made[:, 2:4], missing)
  known = preprocessing.OneHotEncoder(
      categories=[range(3), range(2)], handle_unknown="ignore",
      sparse_output=False).fit_transform(ROWS[:, [1, 3]])
  np.testing.assert_array_equal(made[:, 4:], known)


def test_a_table_of_categories_alone():
  space = Table((Categorical("a", ("x", "y")),))
  np.testing.assert_array_equal(
      values(space, None, np.array([[1.0], [0]])), [[0, 1], [1, 0]])


def test_a_surrogate_takes_the_rows_as_they_are(tmp_path):
  """Saved, it is a model of Keras alone, whose last layers are at hand."""
  network = recipe().make_network(TABLE, 3, 1, ROWS)
  assert network.input_shape == (None, 4)
  both = keras.Model(
      network.inputs[0], [penultimate(network), network.outputs[0]])
  rows = ROWS.astype(np.float32)
  expected = keras.ops.convert_to_numpy(network(rows))
  assert np.isfinite(expected).all()
  hidden, logits = map(keras.ops.convert_to_numpy, both(rows))
  np.testing.assert_array_equal(logits, expected)
  (kernel, bias) = network.layers[-1].get_weights()
  np.testing.assert_allclose(hidden @ kernel + bias, expected, rtol=1e-5)
  network.save(tmp_path / "model.keras")
  loaded = keras.saving.load_model(tmp_path / "model.keras")
  np.testing.assert_array_equal(
      keras.ops.convert_to_numpy(loaded(rows)), expected)


@pytest.mark.parametrize(("space", "standardize", "is_standardised"), [
    (Vectors(4), None, True), (Vectors(4), False, False),
    (Vectors(4, -2e4, 2e4), None, False), (Vectors(4, -2e4, 2e4), True, True)])
def test_what_has_a_range_is_scaled_by_it(space, standardize, is_standardised):
  seen = []

  def network(**settings):
    seen.append(settings["value_range"])
    return dense.mlp(**settings)

  made = recipe(network=network, standardize=standardize).make_network(
      space, 2, 0, POOL)
  kernel, bias = made.layers[-1].get_weights()
  size = 1 if space == Vectors(4) else 2e4
  # Features of one size, so that none hides behind the rounding of another.
  rows = POOL[:5] if is_standardised else size * RNG.uniform(-1, 1, (5, 4))
  scaled = (preprocessing.StandardScaler().fit(POOL).transform(rows)
            if is_standardised else rows / size)
  tolerance = 2e-4 if is_standardised else 1e-6
  assert seen == [space.value_range if not is_standardised else (-1, 1)]
  np.testing.assert_allclose(
      keras.ops.convert_to_numpy(made(rows.astype(np.float32))),
      scaled @ kernel + bias, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("pool", "message"), [
    (np.array([[1.0, 1e31], [2, 0]]), "feature 1 of the pool holds numbers be"),
    (np.array([[1.7e9, 0], [1.7e9 + 9, 1]]), "feature 0 of the pool varies")])
def test_features_beyond_single_precision_are_refused(pool, message):
  with pytest.raises(InputError, match=message):
    recipe().make_network(Vectors(2), 2, 0, pool)
  names = ("time", "size")
  with pytest.raises(InputError, match=r"^column '(time|size)' of the pool"):
    recipe().make_network(Vectors(2, names=names), 2, 0, pool)


def test_rounding_is_no_variation():
  pool = np.array([[0.1 + 0.2], [0.3]] * 3)
  np.testing.assert_allclose(values(Vectors(1), pool, pool), 0, atol=1e-6)


# What is for images is refused before anything is paid.


def attacked(made, objective, space=None):
  asked = []

  def answer(rows):
    asked.append(len(rows))
    return np.nan_to_num(rows[:, :2])

  space = space or Vectors(4)
  oracle = oracles.oracle(answer, 2, space, "scores", budget=20)
  pool = np.zeros((30, *space.shape))
  pool[:, 0] = np.arange(30) % 3
  attack = Learning(objective=objective, recipe=made)
  try:
    attack(oracle, Knowledge(Examples(pool)), 0,
           Runtime(compile_options=EAGER))
  except InputError:
    assert not asked and not oracle.ledger.rows
    raise
  return asked


def dropping(seed):
  return keras.layers.Dropout(0.5, seed=seed)


@pytest.mark.parametrize(("settings", "objective", "message"), [
    ({"augment": augment.Augment}, Distillation(),
     r"^Recipe\.augment moves and mirrors images, and the rows are vectors of "
     "4 numbers; leave it out"),
    ({"augment": lambda seed: keras.layers.RandomFlip(seed=seed)},
     Distillation(), r"^Recipe\.augment cannot take rows of shape \(2, 4\)"),
    ({"augment": lambda seed: keras.layers.Dense(3)}, Distillation(),
     r"^Recipe\.augment makes \(2, 3\) of rows"),
    ({"rematerialize": True}, Distillation(), r"^Recipe\.rematerialize is for"),
    ({"network": resnet_v2}, Distillation(), r"^Recipe\.network cannot be"),
    ({}, Rotation(base=Distillation()), "the rotation loss turns images")])
def test_what_is_for_images_is_refused_with_vectors(
    settings, objective, message):
  with pytest.raises(InputError, match=message) as refused:
    attacked(recipe(**settings), objective)
  assert "\n" not in str(refused.value)


def test_layers_that_vectors_go_through_may_augment_them():
  assert sum(attacked(recipe(augment=dropping), Distillation())) == 20


def test_a_shift_beyond_the_image_costs_no_query():
  def answer(rows):
    raise AssertionError("nothing is to be asked")

  oracle = oracles.oracle(answer, 2, Images(8, 8, 1), "scores", budget=2)
  attack = Learning(objective=Distillation(), recipe=recipe(
      augment=functools.partial(augment.Augment, shift=8)))
  with pytest.raises(InputError, match="shift=8 for images of 8 x 8"):
    attack(oracle, Knowledge(Examples(np.zeros((4, 8, 8, 1), np.uint8))))


def test_vectors_are_mixed_and_tables_are_not():
  assert sum(attacked(recipe(), MixMatch())) == 20
  with pytest.raises(InputError, match="MixMatch mixes rows"):
    attacked(recipe(), MixMatch(), TABLE)
