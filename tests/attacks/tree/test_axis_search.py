"""Sums of trees from scores alone: exact of stumps and of pairs of steps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets, ensemble, linear_model, preprocessing

from fixtures import oracles
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.tree.axis_search import AxisSearch
from wsl_extraction.attacks.tree.leaf_queries import domain_of
from wsl_extraction.data.examples import Examples
from wsl_extraction.equivalence import steps
from wsl_extraction.networks.step_sum import StepSum
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.victims.sklearn_weights import weights_of

X, Y = datasets.load_wine(return_X_y=True)
X = preprocessing.MinMaxScaler((-1, 1)).fit_transform(X)
SPACE = Vectors(X.shape[1], -1.0, 1.0)


def asked(model, budget=None):
  return oracles.oracle(model.predict_proba, len(model.classes_), SPACE,
                        "scores", quantity="probabilities", budget=budget)


def attack(oracle, **settings):
  return AxisSearch(**settings)(oracle, Knowledge(Examples(X[1::4])), 0)


def same_classes(model, extraction):
  rows = np.random.default_rng(1).uniform(-1, 1, (2000, X.shape[1]))
  return (extraction.surrogate.predict(rows, verbose=0).argmax(1)
          == model.predict(rows)).mean()


@pytest.mark.parametrize("kind, link", [
    (ensemble.GradientBoostingClassifier, "logits"),
    pytest.param(ensemble.RandomForestClassifier, "scores",
                 marks=pytest.mark.slow)])
def test_a_hundred_stumps_are_recovered_and_proved(kind, link):
  model = kind(n_estimators=100, max_depth=1, random_state=0).fit(X, Y)
  extraction = attack(asked(model))
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("adds_up") == link
  assert same_classes(model, extraction) == 1
  victim = weights_of(model)
  assert isinstance(victim, StepSum)
  assert isinstance(extraction.weights, StepSum)
  result = steps.compare(victim, extraction.weights, domain_of(SPACE),
                         centred=True)
  assert result is not None
  assert result.thresholds == result.shared > 20
  assert result.largest < 1e-11


@pytest.mark.parametrize("trees", [
    1, pytest.param(10, marks=pytest.mark.slow)])
def test_trees_of_two_comparisons_are_recovered(trees):
  model = ensemble.GradientBoostingClassifier(
      n_estimators=trees, max_depth=2, random_state=0).fit(X, Y)
  extraction = attack(asked(model))
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("products") > 0
  assert same_classes(model, extraction) == 1


def test_deeper_trees_and_other_victims_are_said_to_be_unknown():
  model = ensemble.GradientBoostingClassifier(
      n_estimators=2, max_depth=3, random_state=0).fit(X, Y)
  extraction = attack(asked(model), rounds=1, points=8)
  assert extraction.status is Status.INCOMPLETE
  assert "deeper" in extraction.missing
  assert same_classes(model, extraction) > 0.7
  linear = linear_model.LogisticRegression().fit(X, Y)
  extraction = attack(asked(linear, budget=20_000), points=4)
  assert extraction.status is not Status.DONE and extraction.missing


def test_a_budget_that_is_one_row_short():
  model = ensemble.RandomForestClassifier(
      n_estimators=5, max_depth=1, random_state=0).fit(X, Y)
  whole = asked(model)
  attack(whole)
  short = asked(model, budget=whole.ledger.rows - 1)
  extraction = attack(short)
  assert extraction.status is Status.BUDGET_EXHAUSTED
  assert short.ledger.rows < whole.ledger.rows


def test_a_difference_of_two_sums_is_the_largest_on_any_row():
  """Held against all rows of a grid that has every interval."""
  models = [ensemble.RandomForestClassifier(
      n_estimators=4, max_depth=1, random_state=seed).fit(X[:, :3], Y)
            for seed in (0, 1)]
  first, second = map(weights_of, models)
  assert isinstance(first, StepSum) and isinstance(second, StepSum)
  result = steps.compare(first, second, domain_of(Vectors(3, -1.0, 1.0)),
                         centred=False)
  assert result is not None
  numbers = [np.unique(np.concatenate([
      [-1.0], *(np.nextafter(one.threshold[one.feature == feature], np.inf)
                for one in (first, second))])) for feature in range(3)]
  rows = np.stack(np.meshgrid(*numbers), axis=-1).reshape(-1, 3)
  gaps = np.abs(models[0].predict_proba(rows) - models[1].predict_proba(rows))
  assert result.largest == pytest.approx(gaps.max(), abs=1e-12)
