"""What is revealed of a victim's answer, and what covers what."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import reveal_names
from wsl_extraction.oracle.response import NotRevealed, Quantity
from wsl_extraction.oracle.reveals import (
    Label,
    LabelScore,
    Logits,
    Meter,
    Scores,
    TopK,
)
from wsl_extraction.oracle.side_reveals import Both, Gradients, Leaf, PowerTrace

LOGITS = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, 2.9]])
CHAIN = [Label(), LabelScore(), TopK(2), TopK(3), Scores(), Logits()]


def ask(reveal, given_=LOGITS, **kwargs):
  """Asks about rows 0 and 1, which the victim looks up."""
  oracle = oracles.oracle(lambda x: given_[x[:, 0].astype(int)],
                          given_.shape[1], 1, reveal, **kwargs)
  return oracle.query(np.array([[0], [1]]))


def test_names():
  assert reveal_names.parse("r", " Top-K:3 ") == TopK(3)
  assert reveal_names.parse("r", "label-score") == LabelScore()
  for one in (*CHAIN, Leaf(), PowerTrace(), Gradients("scores")):
    assert reveal_names.parse("r", str(one)) == one
    assert reveal_names.parse("r", one) is one


@pytest.mark.parametrize("value", [
    "everything", "top_k", "top_k:0", "top_k:-1", "top_k:2.5", 3, None, Label,
    ""])
def test_what_is_no_reveal(value):
  with pytest.raises(InputError, match=r"Experiment\.reveal is .*top_k:3"):
    reveal_names.parse("Experiment.reveal", value)


def test_the_chain_is_ordered():
  for low, high in itertools.combinations(CHAIN, 2):
    assert high.covers(low)
    assert not low.covers(high)
  assert TopK(1).covers(LabelScore())
  assert LabelScore().covers(TopK(1))


def test_others_stand_beside_the_chain():
  for other in (Leaf(), PowerTrace(), Gradients("logits")):
    assert other.covers(other)
    for one in CHAIN:
      assert not one.covers(other)
      assert not other.covers(one)
  assert not Gradients("logits").covers(Gradients("scores"))
  both = Both(Scores(), Gradients("logits"))
  assert both.covers(Label())
  assert both.covers(Gradients("logits"))
  assert both.covers(Both(Gradients("logits"), TopK(2)))
  assert not both.covers(Logits())
  assert not Logits().covers(both)
  assert both.meters == (Meter.ROWS, Meter.GRADIENT_ROWS)


@given(st.lists(st.sampled_from([*CHAIN, Leaf(), Gradients("logits")]),
                min_size=3, max_size=3))
def test_covering_is_a_partial_order(three):
  a, b, c = three
  assert a.covers(a)
  if a.covers(b) and b.covers(c):
    assert a.covers(c)


def test_each_reveal_gives_its_part():
  scores = scipy.special.softmax(LOGITS, axis=1)
  np.testing.assert_array_equal(ask("logits").logits, LOGITS)
  np.testing.assert_allclose(ask("scores").values, scores, rtol=1e-12)
  top = ask("top_k:2")
  np.testing.assert_array_equal(top.classes, [[0, 2], [1, 3]])
  np.testing.assert_allclose(
      top.values, [scores[0, [0, 2]], scores[1, [1, 3]]], rtol=1e-12)
  one = ask("label_score")
  np.testing.assert_array_equal(one.classes, [[0], [1]])
  np.testing.assert_allclose(one.values, scores.max(axis=1, keepdims=True))
  assert set(ask("label").arrays) == {"classes"}
  for reveal in CHAIN:
    np.testing.assert_array_equal(ask(reveal).top_classes, [0, 1])


def test_what_is_not_revealed_is_refused():
  for reveal, name in (("scores", "logits"), ("label", "values"),
                       ("label", "logits"), ("scores", "gradients"),
                       ("scores", "leaves"), ("scores", "traces")):
    with pytest.raises(NotRevealed, match=f"{name} are not revealed"):
      getattr(ask(reveal), name)


def test_gradients_beside_values():
  jacobian = np.arange(24.0).reshape(2, 4, 3)
  victim = oracles.victim(lambda x: LOGITS[:len(x)], 4, 3)
  victim = dataclasses.replace(victim, quantities={
      **victim.quantities,
      Quantity.LOGIT_GRADIENTS: lambda x: jacobian[:len(x)]})
  from wsl_extraction.oracle.oracle import Oracle
  from wsl_extraction.oracle.responders import Live

  oracle = Oracle(Live(victim, Both(Logits(), Gradients("logits"))))
  response = oracle.query(np.zeros((2, 3)))
  np.testing.assert_array_equal(response.logits, LOGITS)
  np.testing.assert_array_equal(response.gradients, jacobian)
  assert oracle.ledger.spent == {
      Meter.ROWS: 2, Meter.GRADIENT_ROWS: 2, Meter.TRACES: 0}
  assert oracle.ledger.equal_cost(3) == 2 + 2 * (3 + 1)


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_best_k_are_those_of_a_stable_sort(c, k, seed):
  k = min(k, c)
  given_ = np.random.default_rng(seed).normal(scale=3, size=(2, c))
  response = ask(f"top_k:{k}", given_)
  scores = scipy.special.softmax(given_, axis=1)
  np.testing.assert_allclose(
      response.values, -np.sort(-scores, axis=1)[:, :k], rtol=1e-9)


@pytest.mark.parametrize("reveal, quantity, message", [
    ("logits", "probabilities", "gives probabilities: choose the reveal"),
    ("top_k:5", "logits", "TopK.k is 5; give a whole number from 1 to 4"),
    ("leaf", "logits", "'leaf' needs a victim that gives leaves"),
    (Both(Scores(), Gradients("logits")), "logits", "gradients of logits"),
])
def test_reveals_that_the_victim_cannot_give(reveal, quantity, message):
  with pytest.raises(InputError, match=message):
    ask(reveal, quantity=quantity)


# Not of their types, as callers may be.
WORD: Any = "3"
LOGITS_WORD: Any = "logits"


@pytest.mark.parametrize("make, message", [
    (lambda: TopK(0), "TopK.k is 0"),
    (lambda: TopK(WORD), "TopK.k is '3'"),
    (lambda: TopK(True), "TopK.k is True"),
    (lambda: Gradients("weights"), "Gradients.of is 'weights'; choose one of"),
    (lambda: Both(Scores(), LOGITS_WORD), "Both.second is 'logits'"),
])
def test_reveals_that_cannot_be(make, message):
  with pytest.raises(InputError, match=message):
    make()


def test_numpy_integers_are_integers():
  three: Any
  for three in (np.int64(3), np.uint8(3)):
    assert TopK(three) == TopK(3)
    assert str(TopK(three)) == "top_k:3"
