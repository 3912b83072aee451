"""Adversarial and uniform inputs, against linear networks' closed forms."""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as numbers

import wsl_extraction as wsl
from fixtures import learning_attacks, oracles
from wsl_extraction.data.examples import Examples
from wsl_extraction.errors import InputError
from wsl_extraction.evaluation import adversarial, by_goal
from wsl_extraction.evaluation.adversarial import Measures
from wsl_extraction.oracle.spaces import Images, Vectors
from wsl_extraction.oracle.tables import Categorical, Table
from wsl_extraction.report import run_table

D, SPACE = 40, Vectors(40, -1.0, 1.0)


def linear(seed=0):
  """Two classes, by the sign of w x."""
  model = keras.Sequential([
      keras.Input((D,)), keras.layers.Dense(2, use_bias=False)])
  weights = np.random.default_rng(seed).normal(size=D).astype(np.float32)
  model.set_weights([np.stack([-weights, weights], axis=1)])
  return model, weights


def test_rows():
  return np.random.default_rng(1).uniform(-0.9, 0.9, (200, D)).astype(
      np.float32)


test_rows.__test__ = False


def examiner(model, space=SPACE):
  return oracles.oracle(
      lambda rows: numbers(model(rows.astype(np.float32))), 2, space,
      "logits")


def test_fgsm_of_a_linear_network_is_its_signs():
  model, weights = linear()
  rows = test_rows()
  classes = (rows @ weights > 0).astype(int)
  got = adversarial.fgsm(model, rows, classes, 0.1, SPACE)
  against = np.where(classes == 1, -1, 1)[:, None] * np.sign(weights)
  # A tenth of the range -1..1.
  np.testing.assert_allclose(got, np.clip(rows + 0.2 * against, -1, 1),
                             atol=1e-6)


def test_pgd_ends_where_fgsm_does_on_a_linear_network():
  model, weights = linear()
  rows = test_rows()
  classes = (rows @ weights > 0).astype(int)
  rng = np.random.default_rng(0)
  got = adversarial.pgd(model, rows, classes, 0.1, SPACE, 10, rng)
  np.testing.assert_allclose(
      got, adversarial.fgsm(model, rows, classes, 0.1, SPACE), atol=1e-5)
  few = adversarial.pgd(model, rows, classes, 0.1, SPACE, 1, rng)
  assert np.abs(few - rows).max() <= 0.2 + 1e-6


def test_transfer_is_the_share_of_classes_that_change():
  model, weights = linear()
  rows = test_rows()
  figures = Measures(epsilons=(0.02, 0.1), rows=150)(
      model, examiner(model), Examples(rows),
      (rows @ weights > 0).astype(int))
  for epsilon in (0.02, 0.1):
    distance = np.abs(rows[:150] @ weights)
    inside = np.clip(np.sign(rows[:150] @ weights)[:, None] * np.sign(
        weights) * -2 * epsilon + rows[:150], -1, 1)
    expected = np.mean((inside @ weights > 0) != (rows[:150] @ weights > 0))
    assert figures[f"transfer_fgsm_{epsilon:g}"].value == expected
    assert figures[f"transfer_pgd_{epsilon:g}"].value == expected
    assert figures[f"transfer_random_{epsilon:g}"].value < expected
    assert figures[f"fidelity_fgsm_{epsilon:g}"].value == 1
    assert distance.min() > 0


def test_uniform_rows_of_two_linear_networks():
  """Agreement is 1 - angle / pi in expectation of a sphere."""
  one, a = linear(0)
  other, b = linear(5)
  space = Vectors(D)  # standard normal
  figure = Measures(uniform=4000)(
      one, examiner(other, space), Examples(test_rows()),
      np.zeros(200, int))["fidelity_uniform"]
  angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
  assert figure.low < 1 - angle / np.pi < figure.high


def test_images_stay_in_their_range():
  model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
                            keras.layers.Dense(2)])
  images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
  space = Images(4, 4, 1)
  got = adversarial.fgsm(model, images, np.zeros(20, int), 0.3, space)
  assert got.min() >= 0 and got.max() <= 255
  assert np.abs(got - images).max() <= 76.5 + 1e-3


def test_rows_are_counted_and_shown():
  model, _ = linear()
  asked = examiner(model)
  evaluation = by_goal.evaluate(
      model, asked, Examples(test_rows()),
      Measures(uniform=10, epsilons=(0.3,), rows=7))
  assert evaluation.measured == evaluation.asked == 200 + 10 + 3 * 7
  assert asked.ledger.rows == evaluation.asked
  more = {name: vars(figure) for name, figure in evaluation.more.items()}
  text = run_table.result_table({"attack": "x", "more": more})
  assert "uniform    copy and oracle agree on 100.0% [" in text
  assert "eps 0.3    made on the copy" in text and "random signs" in text
  assert not by_goal.evaluate(model, asked, Examples(test_rows())).more


@pytest.mark.parametrize("settings, message", [
    ({"uniform": -1}, r"Measures\.uniform is -1"),
    ({"epsilons": 0.3}, r"Measures\.epsilons is 0\.3; give shares"),
    ({"epsilons": (0.0,)}, r"Measures\.epsilons is 0"),
    ({"epsilons": (2,)}, r"Measures\.epsilons is 2"),
    ({"steps": 0}, r"Measures\.steps is 0")])
def test_settings_that_cannot_be(settings, message):
  with pytest.raises(InputError, match=message):
    Measures(**settings)


def test_tables_are_not_perturbed():
  table = Table((Categorical("colour", ("red", "blue")),))
  with pytest.raises(InputError, match="is for images and vectors"):
    Measures(epsilons=(0.1,)).check(table)
  Measures(uniform=3).check(table)


def test_a_copy_has_them_beside_its_test_figures():
  copy = wsl.extract(
      learning_attacks.predict, learning_attacks.pool().rows, budget=12,
      attack=learning_attacks.learning(wsl.Distillation()), outputs="logits",
      test=learning_attacks.pool(20, seed=5).rows,
      measures=Measures(uniform=30, epsilons=(0.3,)),
      runtime=wsl.Runtime(compile_options=learning_attacks.EAGER))
  assert copy.queries == 12
  assert set(copy.result["more"]) == {
      "fidelity_uniform", *(f"{kind}_{method}_0.3" for kind in (
          "transfer", "fidelity") for method in ("fgsm", "pgd", "random"))}
  # And the rows by which the victim's owner checks it.
  assert copy.result["measured"] >= 20 + 30 + 3 * 20
  assert "copy and oracle agree on" in str(copy)
  with pytest.raises(InputError, match="measures is 3; give Measures"):
    wsl.extract(learning_attacks.predict, learning_attacks.pool().rows,
                measures=cast(Any, 3))
