"""Path finding on trees of scikit-learn, and on what is no tree."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn import (
    compose,
    datasets,
    linear_model,
    neural_network,
    pipeline,
    preprocessing,
    tree,
)

from fixtures import oracles, tree_victims
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.tree.leaf_queries import domain_of
from wsl_extraction.attacks.tree.path_finding import PathFinding
from wsl_extraction.data.examples import Examples
from wsl_extraction.equivalence import trees
from wsl_extraction.errors import InputError
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.side_reveals import Both, Leaf
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

CUBE = Vectors(4, -1.0, 1.0)


def scaled(load):
  x, y = load(return_X_y=True)
  return preprocessing.MinMaxScaler((-1, 1)).fit_transform(x), y


def attack(oracle, pool=None, **settings):
  knowledge = Knowledge() if pool is None else Knowledge(Examples(pool))
  return PathFinding(**settings)(oracle, knowledge, 0)


def proof(victim, extraction, space):
  return trees.compare(victim, extraction.weights, domain_of(space),
                       *tree_victims.ends(space))


@pytest.mark.parametrize("load, leaves, most", [
    (datasets.load_iris, 9, 60), (datasets.load_wine, 12, 60),
    (datasets.load_breast_cancer, 22, 60),
    pytest.param(datasets.load_digits, 60, 80, marks=pytest.mark.slow)])
def test_trees_of_real_tables_are_recovered_and_proved(load, leaves, most):
  x, y = scaled(load)
  model = tree.DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
  victim = DecisionTree.of_sklearn(model.fit(x, y))
  space = Vectors(x.shape[1], -1.0, 1.0)
  oracle = tree_victims.asked(victim, space)
  extraction = attack(oracle)
  assert extraction.status is Status.DONE, extraction.missing
  assert extraction.figure("leaves") == leaves == victim.leaf_count
  assert oracle.ledger.rows <= most * leaves
  result = proof(victim, extraction, space)
  assert result.intersections == leaves
  assert not result.differing and not result.largest
  assert isinstance(extraction.weights, DecisionTree)
  rows = np.random.default_rng(1).uniform(-1, 1, (10_000, x.shape[1]))
  np.testing.assert_array_equal(
      extraction.weights.to_sklearn().predict(rows), model.predict(rows))


def test_a_regression_tree_survives_its_file(tmp_path):
  x, y = scaled(datasets.load_diabetes)
  model = tree.DecisionTreeRegressor(max_leaf_nodes=12, random_state=0)
  victim = DecisionTree.of_sklearn(model.fit(x, y))
  space = Vectors(x.shape[1], -1.0, 1.0)
  oracle = tree_victims.asked(victim, space, "leaf + logits")
  extraction = attack(oracle, x[:99])
  assert extraction.status is Status.DONE
  extraction.surrogate.save(tmp_path / "copy.keras")
  loaded = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True)
  rows = np.random.default_rng(1).uniform(-1, 1, (2000, x.shape[1]))
  exact = keras.backend.backend() != "jax"
  np.testing.assert_allclose(
      loaded.predict(rows, verbose=0)[:, 0], model.predict(rows),
      rtol=0 if exact else 1e-6)


def test_the_published_search_needs_more_rows_and_the_root_fewer():
  x, y = scaled(datasets.load_wine)
  victim = DecisionTree.of_sklearn(tree.DecisionTreeClassifier(
      max_leaf_nodes=12, random_state=0).fit(x, y))
  space = Vectors(x.shape[1], -1.0, 1.0)
  rows = {}
  for name, reveal, settings in (
      ("published", "leaf + scores", {"grouped": False}),
      ("grouped", "leaf + scores", {}), ("root", "partial + scores", {})):
    oracle = tree_victims.asked(victim, space, reveal)
    assert attack(oracle, **settings).status is Status.DONE
    rows[name] = oracle.ledger.rows
  assert rows["root"] <= rows["grouped"] <= rows["published"] / 2
  assert rows["root"] <= rows["published"] / 3
  # Data of few decimals tell where thresholds are.
  oracle = tree_victims.asked(victim, space)
  assert attack(oracle, x[:60]).status is Status.DONE
  assert oracle.ledger.rows < 0.85 * rows["grouped"]


@pytest.mark.parametrize("model", [
    linear_model.LogisticRegression(max_iter=1000),
    neural_network.MLPClassifier((8,), max_iter=50, tol=1)])
def test_what_is_no_tree_is_found_out_at_once(model):
  x, y = datasets.load_iris(return_X_y=True)
  model.fit(x, y)
  oracle = oracles.oracle(model.predict_proba, 3, Vectors(4, 0.0, 8.0),
                          "scores", quantity="probabilities")
  extraction = attack(oracle)
  assert extraction.status is Status.INCOMPLETE
  assert "no tree" in extraction.missing
  assert oracle.ledger.rows <= 8


def test_names_that_repeat_are_found_out():
  victim = tree_victims.grown(1, CUBE, 20)
  oracle = tree_victims.asked(victim, CUBE, names=lambda leaves: leaves % 5)
  extraction = attack(oracle)
  assert extraction.status is Status.INCOMPLETE
  assert "identities repeat" in extraction.missing


def test_a_fully_grown_classifier_is_never_done():
  x, y = scaled(datasets.load_iris)
  model = tree.DecisionTreeClassifier(random_state=0).fit(x, y)
  victim = DecisionTree.of_sklearn(model)
  space = Vectors(4, -1.0, 1.0)
  oracle = tree_victims.asked(victim, space, "scores")
  extraction = attack(oracle, x[::3], unique_scores=True)
  assert extraction.status is Status.INCOMPLETE
  assert "fresh rows" in extraction.missing
  # It goes on beyond the first box of each score, and is a copy all the same.
  assert extraction.figure("leaves") > extraction.figure("identities") == 3
  assert (extraction.surrogate.predict(x, verbose=0).argmax(1)
          == model.predict(x)).mean() > 0.95


def test_a_leaf_between_two_of_equal_scores_is_seen_by_fresh_rows():
  """No move to an end of a feature shows it, and the user says all differ."""
  victim = DecisionTree(2, *map(np.array, (
      [1, 0, -1, -1, 0, -1, -1], [0, 0.5, 0, 0, 0.55, 0, 0],
      [1, 3, -1, -1, 5, -1, -1], [2, 4, -1, -1, 6, -1, -1], [False] * 7,
      [[0.5, 0.5], [0.5, 0.5], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5], [0.8, 0.2],
       [0.3, 0.7]])))
  space = Vectors(2, -1.0, 1.0)
  extraction = attack(tree_victims.asked(victim, space, "scores"),
                      unique_scores=True)
  assert extraction.status is Status.INCOMPLETE
  assert "fresh rows are not answered as the leaves" in extraction.missing
  assert not proof(victim, extraction, space).differing


def test_leaves_that_are_certain_are_never_unique():
  victim = DecisionTree(2, *map(np.array, (
      [0, -1, -1], [0.25, 0, 0], [1, -1, -1], [2, -1, -1], [False] * 3,
      [[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])))
  extraction = attack(tree_victims.asked(
      victim, Vectors(2, -1.0, 1.0), "scores"), unique_scores=True)
  assert extraction.status is Status.INCOMPLETE
  assert "certain of its class" in extraction.missing


def test_a_constant_victim():
  victim = DecisionTree.constant(4, np.array([0.25, 0.75]))
  named = attack(tree_victims.asked(victim, CUBE))
  assert named.status is Status.DONE and named.figure("leaves") == 1
  scores = attack(tree_victims.asked(victim, CUBE, "scores"),
                  unique_scores=True)
  assert scores.status is Status.INCOMPLETE
  assert "constant" in scores.missing


def test_a_budget_that_is_one_row_short():
  victim = tree_victims.grown(5, CUBE, 9)
  whole = tree_victims.asked(victim, CUBE)
  attack(whole)
  rows = whole.ledger.rows
  assert attack(tree_victims.asked(
      victim, CUBE, budget=rows)).status is Status.DONE
  short = tree_victims.asked(victim, CUBE, budget=rows - 1)
  extraction = attack(short)
  assert extraction.status is Status.BUDGET_EXHAUSTED
  assert short.ledger.rows <= rows - 1
  # What was found is not lost.
  assert not proof(victim, extraction, CUBE).differing


def test_a_victim_that_answers_otherwise_the_second_time():
  victim = tree_victims.grown(6, CUBE, 9)
  calls = []

  def leaves(rows):
    calls.append(len(rows))
    return victim.leaves(rows) if len(calls) % 7 else victim.leaves(-rows)

  oracle = Oracle(Live(BareVictim(CUBE, 3, {
      Quantity.PROBABILITIES: victim, Quantity.LEAVES: leaves}),
                       Both(Leaf(), Scores())))
  extraction = attack(oracle)
  assert extraction.status is Status.INCOMPLETE and extraction.missing


def test_nan_and_infinity_are_refused_where_they_are_no_values():
  oracle = tree_victims.asked(tree_victims.grown(7, CUBE, 4), CUBE)
  for value in (np.nan, np.inf):
    with pytest.raises(InputError, match="NaN or infinity"):
      oracle.query(np.full((1, 4), value))
  assert oracle.ledger.rows == 0


def test_missing_values_are_a_value():
  x, y = scaled(datasets.load_iris)
  x = np.where(np.random.default_rng(0).random(x.shape) < 0.2, np.nan, x)
  model = tree.DecisionTreeClassifier(max_leaf_nodes=12, random_state=0)
  victim = DecisionTree.of_sklearn(model.fit(x, y))
  assert victim.missing_left.any()
  space = Table(tuple(Continuous(name, -1.0, 1.0) for name in "abcd"),
                missing=True)
  extraction = attack(tree_victims.asked(victim, space))
  assert extraction.status is Status.DONE, extraction.missing
  result = proof(victim, extraction, space)
  assert result.intersections >= 12 and not result.differing
  np.testing.assert_array_equal(
      extraction.surrogate.predict(x, verbose=0).argmax(1), model.predict(x))
  with pytest.raises(InputError, match="choose the reveal 'leaf'"):
    tree_victims.asked(victim, space, "partial + scores")


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_a_category_that_the_victim_never_saw(unknown):
  """It is asked about as all others; a victim that fails is paid for."""
  rng = np.random.default_rng(0)
  space = Table((Categorical("colour", ("blue", "green", "red")),
                 Continuous("size", 0.0, 1.0)))
  rows = np.stack([rng.integers(0, 2, 200), rng.random(200)], axis=1)
  labels = ((rows[:, 0] == 1) & (rows[:, 1] > 0.4)).astype(int)
  model = pipeline.make_pipeline(
      compose.make_column_transformer(
          (preprocessing.OneHotEncoder(handle_unknown=unknown), [0]),
          remainder="passthrough"),
      tree.DecisionTreeClassifier(random_state=0)).fit(rows, labels)

  def leaves(rows):
    try:
      return model[-1].apply(model[:-1].transform(rows))
    except ValueError as error:
      raise VictimFailed(str(error)) from error

  oracle = Oracle(Live(BareVictim(space, 2, {
      Quantity.PROBABILITIES: lambda rows: model[-1].predict_proba(
          model[:-1].transform(rows)) if unknown == "ignore" else leaves(
              rows)[:, None] % 2 == [0, 1],
      Quantity.LEAVES: leaves}), Both(Leaf(), Scores())))
  extraction = attack(oracle)
  if unknown == "error":
    assert extraction.status is Status.INCOMPLETE
    assert "unknown categories" in extraction.missing
    return
  assert extraction.status is Status.DONE
  tried = np.array([[code, size] for code in range(3)
                    for size in np.linspace(0, 1, 50)])
  np.testing.assert_array_equal(
      extraction.surrogate.predict(tried, verbose=0).argmax(1),
      model.predict(tried))
