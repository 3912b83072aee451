"""Random trees of random shape are recovered whole, or it is said so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import tree_victims
from wsl_extraction.attacks.extraction import Status
from wsl_extraction.attacks.knowledge import Knowledge
from wsl_extraction.attacks.tree.exploration import NotATree
from wsl_extraction.attacks.tree.leaf_queries import LeafQueries, domain_of
from wsl_extraction.attacks.tree.path_finding import PathFinding
from wsl_extraction.attacks.tree.recovery import Recovery
from wsl_extraction.equivalence import trees
from wsl_extraction.oracle.reveals import Label
from wsl_extraction.oracle.side_reveals import Both, Leaf, Partial
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

CASES = st.tuples(
    st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 24),
    st.sampled_from(["vectors", "box", "table", "missing"]))


def space_of(kind, features, rng):
  if kind == "vectors":
    return Vectors(features)
  low = rng.normal(size=features) * 10.0**rng.integers(-2, 3)
  high = low + rng.uniform(0.1, 20, features)
  if kind == "box":
    return Vectors(features, tuple(low), tuple(high))
  return Table(tuple(
      Categorical(f"c{place}", tuple(range(rng.integers(2, 6))))
      if rng.integers(2) else Continuous(f"n{place}", low[place], high[place])
      for place in range(features)), missing=kind == "missing")


def recovered(tree, space, reveal, seed, **settings):
  """The recovered tree, what is missing, and the rows, without Keras."""
  oracle = tree_victims.asked(tree, space, reveal)
  is_partial = oracle.reveal.covers(Partial())
  domain = domain_of(oracle.space, missing=False if is_partial else None)
  recovery = Recovery(
      LeafQueries(oracle), domain, np.zeros((0, domain.features)),
      np.random.default_rng(seed), **{
          "grouped": True, "held_out": 32, "max_leaves": 200,
          "unique_scores": False, **settings})
  try:
    missing = recovery.find(is_partial)
  except NotATree as error:
    missing = str(error)
  return recovery.tree(), missing, oracle.ledger.rows


def holds(case, reveal, distinct=None, **settings):
  """Recovers a tree; where that is claimed, all intersections agree.

  Returns:
    What is missing.
  """
  seed, features, leaves, kind = case
  rng = np.random.default_rng(seed)
  space = space_of(kind, features, rng)
  if kind == "missing" and "partial" in reveal:
    return ""
  tree = tree_victims.random_tree(
      rng, domain_of(space), leaves, tree_victims.scores(rng, 3, distinct))
  copy, missing, rows = recovered(tree, space, reveal, seed, **settings)
  proof = trees.compare(tree, copy, domain_of(space), *tree_victims.ends(space))
  if not missing:
    assert not proof.differing and not proof.largest, proof.text
    assert rows <= 150 * tree.leaf_count + 250
  # Names of leaves never leave anything open.
  assert not (missing and "leaf" in reveal), missing
  assert not (missing and "partial" in reveal), missing
  return missing


@settings(max_examples=15, deadline=None)
@given(case=CASES)
def test_named_leaves_are_all_found(case):
  holds(case, "leaf + scores")


@settings(max_examples=10, deadline=None)
@given(case=CASES)
def test_partial_rows_lead_to_all_leaves(case):
  holds(case, "partial + scores")


@settings(max_examples=6, deadline=None)
@given(case=CASES, distinct=st.integers(1, 12))
def test_scores_that_may_repeat_are_never_done(case, distinct):
  assert holds(case, "scores", distinct)


@settings(max_examples=8, deadline=None)
@given(case=CASES)
def test_scores_that_are_unique_name_leaves(case):
  holds(case, "scores", unique_scores=True)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(case=CASES)
def test_named_leaves_in_a_thousand_trees(case):
  holds(case, "leaf + scores")


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(case=CASES)
def test_unique_scores_in_six_hundred_trees(case):
  holds(case, "scores", unique_scores=True)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(case=CASES)
def test_partial_rows_in_two_hundred_trees(case):
  holds(case, "partial + scores")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(case=CASES, distinct=st.integers(1, 12))
def test_scores_that_may_repeat_in_two_hundred_trees(case, distinct):
  assert holds(case, "scores", distinct)


def test_labels_are_enough_where_leaves_have_names():
  space = Vectors(3, -1.0, 1.0)
  tree = tree_victims.grown(3, space, 12)
  oracle = tree_victims.asked(tree, space, Both(Leaf(), Label()))
  extraction = PathFinding()(oracle, Knowledge(), 0)
  assert extraction.status is Status.DONE
  assert extraction.weights is not None
  rows = np.random.default_rng(0).uniform(-1, 1, (1000, 3))
  np.testing.assert_array_equal(
      extraction.surrogate.predict(rows, verbose=0).argmax(1),
      tree(rows).argmax(1))
