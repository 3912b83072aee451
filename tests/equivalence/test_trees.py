"""Whether two trees are equal, on all intersections of their leaves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import tree_victims
from wsl_extraction.attacks.tree.leaf_queries import domain_of
from wsl_extraction.equivalence import trees
from wsl_extraction.errors import InputError
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.oracle.spaces import Vectors
from wsl_extraction.oracle.tables import Categorical, Continuous, Table

SQUARE = Vectors(2, 0.0, 1.0)
MIXED = Table((Continuous("a", 0.0, 1.0), Categorical("b", (0, 1, 2))),
              missing=True)


def stump(threshold, feature=0, values=((1.0, 0.0), (0.0, 1.0))):
  return DecisionTree(2, *map(np.array, (
      [feature, -1, -1], [threshold, 0, 0], [1, -1, -1], [2, -1, -1],
      [False] * 3, [values[0], *values])))


def compared(first, second, space: Vectors | Table = SQUARE, **options) -> Any:
  return trees.compare(first, second, domain_of(space),
                       *tree_victims.ends(space), **options)


def test_the_share_and_an_example_of_a_difference():
  result = compared(stump(0.25), stump(0.75))
  assert (result.intersections, result.differing) == (3, 1)
  assert result.share == pytest.approx(0.5) and result.largest == 1
  assert result.example and 0.25 < result.example[0] <= 0.75
  assert "differ on 1 of 3" in result.text
  assert "50% of the range" in result.text


def test_the_last_bit_of_a_threshold_counts():
  above = float(np.nextafter(np.float32(0.25), np.float32(1)))
  result = compared(stump(0.25), stump(above))
  assert result.differing == 1 and result.example[0] == above
  assert not compared(stump(0.25), stump(0.25)).differing


def test_other_shapes_of_one_function_are_equal():
  # Cuts that change nothing, and comparisons in the other order.
  both = DecisionTree(2, *map(np.array, (
      [1, 0, 0, -1, -1, -1, -1], [0.5, 0.25, 0.25, 0, 0, 0, 0],
      [1, 3, 5, -1, -1, -1, -1], [2, 4, 6, -1, -1, -1, -1], [False] * 7,
      [[0, 0], [0, 0], [0, 0], [1, 0], [0, 1], [1, 0], [0, 1]])))
  result = compared(stump(0.25), both)
  assert result.intersections == 4 and not result.differing
  assert result.text.startswith("the trees are equal on every row: all 4")


def test_categories_are_compared_where_there_are_any():
  # No category lies between 0.2 and 0.9.
  assert not compared(stump(0.2, 1), stump(0.9, 1), MIXED).differing
  result = compared(stump(0.2, 1), stump(1.2, 1), MIXED)
  assert result.share == pytest.approx(1 / 3) and result.example[1] == 1


def test_missing_values_are_compared():
  other = dataclasses.replace(stump(0.5), missing_left=np.array(
      [True, False, False]))
  assert not compared(stump(0.5), other).differing
  result = compared(stump(0.5), other, MIXED)
  assert result.differing == 1 and np.isnan(result.example[0])


def test_where_only_labels_were_revealed_classes_are_compared():
  sure = stump(0.5, values=((0.6, 0.4), (0.3, 0.7)))
  result = compared(sure, stump(0.5), scores=False)
  assert not result.differing and "the same class to every row" in result.text
  result = compared(sure, stump(0.5))
  assert "outputs differ by at most 4.0e-01" in result.text
  first, second = (
      stump(0.5, values=((value,), (2.0,))) for value in (1.0, 1.001))
  assert compared(first, second).differing == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), space=st.sampled_from([SQUARE, MIXED]))
def test_shares_are_those_of_random_rows(seed, space):
  """Held against 4,000 rows that scikit-learn's trees answer."""
  first, second = (tree_victims.grown(seed + one, space, 6) for one in (0, 1))
  result = compared(first, second, space)
  rows = space.sample(4000, np.random.default_rng(seed)).astype(np.float32)
  differ = (first.to_sklearn().predict(rows)
            != second.to_sklearn().predict(rows)).mean()
  assert abs(differ - result.share) < 0.05
  if result.example is not None:
    row = np.array([result.example])
    assert first(row).argmax() != second(row).argmax()


def test_other_sizes_are_refused():
  with pytest.raises(InputError, match="same sizes"):
    compared(stump(0.5), DecisionTree.constant(3, np.array([1.0, 0.0])))
