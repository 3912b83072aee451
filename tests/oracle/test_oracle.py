"""The threat model: what is revealed, what is hidden, what is charged."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.ledger import BudgetExceeded, Ledger
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimMismatch
from wsl_extraction.oracle.response import NotRevealed, Response
from wsl_extraction.oracle.reveals import Access

LOGITS = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, 2.9]])


def oracle(access, outputs="logits", given=LOGITS, **settings_):
  """An oracle whose victim looks its answers up by the first input value."""
  return Oracle(lambda x: given[x[:, 0].astype(int)], outputs=outputs,
                input_shape=(2,), num_classes=given.shape[1], access=access,
                **settings_)


def ask(*args, **kwargs):
  return oracle(*args, **kwargs).query(np.array([[0, 0], [1, 0]]))


def test_levels_are_ordered_and_named():
  assert [level.name for level in sorted(Access)] == [
      "LABEL", "LABEL_SCORE", "TOP_K", "SCORES", "LOGITS"]
  assert Access.parse(" top-k ") is Access.TOP_K
  with pytest.raises(InputError, match="label_score, top_k"):
    Access.parse("everything")


def test_each_level_reveals_its_part():
  scores = scipy.special.softmax(LOGITS, axis=1)
  np.testing.assert_array_equal(ask("logits").logits, LOGITS)
  np.testing.assert_allclose(ask("scores").values, scores, rtol=1e-12)
  top = ask("top_k", k=2)
  np.testing.assert_array_equal(top.classes, [[0, 2], [1, 3]])
  np.testing.assert_allclose(
      top.values, [scores[0, [0, 2]], scores[1, [1, 3]]], rtol=1e-12)
  one = ask("label_score")
  np.testing.assert_array_equal(one.classes, [[0], [1]])
  np.testing.assert_allclose(one.values, scores.max(axis=1, keepdims=True))
  bare = ask("label")
  np.testing.assert_array_equal(bare.classes, [[0], [1]])
  assert bare.values.shape == (2, 0)
  for level in ("label", "label_score", "scores", "logits"):
    np.testing.assert_array_equal(ask(level).labels, [0, 1])


def test_hidden_scores_are_hidden_not_renormalised():
  top = ask("top_k", k=2)
  assert (top.values.sum(axis=1) < 0.98).all()
  assert top.revealed(4).sum(axis=1).tolist() == [2, 2]
  dense = top.probabilities(4)
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  np.testing.assert_allclose(dense[0, [0, 2]], top.values[0])
  assert dense[0, 1] == dense[0, 3]


def test_a_label_is_taken_at_its_word():
  bare = ask("label")
  np.testing.assert_array_equal(bare.probabilities(4), np.eye(4)[[0, 1]])
  assert bare.revealed(4).all()
  assert np.isneginf(bare.log_scores(4)).sum() == 6


def test_logits_only_at_logits():
  with pytest.raises(NotRevealed, match="scores"):
    _ = ask("scores").logits


def test_top_k_of_all_classes_equals_scores():
  np.testing.assert_allclose(
      ask("top_k", k=4).probabilities(4), ask("scores").probabilities(4))


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_probabilities_never_contradict_what_was_revealed(c, k, seed):
  k = min(k, c)
  given_ = np.random.default_rng(seed).normal(scale=3, size=(5, c))
  x = np.stack([np.arange(5), np.zeros(5)], axis=1)
  answer = oracle("top_k", given=given_, k=k).query(x)
  scores = scipy.special.softmax(given_, axis=1)
  np.testing.assert_allclose(
      answer.values, -np.sort(-scores, axis=1)[:, :k], rtol=1e-9)
  dense = answer.probabilities(c)
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  # No hidden class can be likelier than the least of those revealed.
  assert (dense <= np.where(answer.revealed(c), dense,
                            answer.values[:, -1:] + 1e-12)).all()


def test_rounding_and_type():
  rounded = ask("scores", decimals=2, dtype="float16")
  assert rounded.values.dtype == np.float16
  np.testing.assert_array_equal(
      rounded.values, np.round(
          scipy.special.softmax(LOGITS, axis=1), 2).astype(np.float16))
  # Rounded rows need not sum to one; as probabilities they do.
  np.testing.assert_allclose(rounded.probabilities(4).sum(axis=1), 1, rtol=1e-6)


def test_rounding_everything_away_leaves_nothing_known():
  flat = np.zeros((2, 4))
  answer = ask("scores", given=flat, decimals=0)
  np.testing.assert_array_equal(answer.values, 0)
  np.testing.assert_allclose(answer.probabilities(4), 0.25)


def test_a_value_too_large_for_its_type_is_refused_and_not_charged():
  spender = oracle("logits", given=LOGITS * 1e6, dtype="float16")
  with pytest.raises(InputError, match="float16"):
    spender.query(np.zeros((1, 2)))
  assert spender.ledger.spent == 0


def test_ledger_counts_rows_all_or_none():
  ledger = Ledger(budget=10)
  ledger.charge(7)
  with pytest.raises(BudgetExceeded, match="7 of 10"):
    ledger.charge(4)
  assert (ledger.spent, ledger.left) == (7, 3)
  ledger.charge(3)
  assert ledger.left == 0
  with pytest.raises(InputError, match="-1 rows cannot be charged"):
    ledger.charge(-1)
  assert ledger.left == 0


@pytest.mark.parametrize("budget", [-1, 2.5, "ten", True])
def test_ledger_refuses_what_is_no_budget(budget):
  with pytest.raises(InputError, match="budget is"):
    Ledger(budget)


def test_ledger_that_goes_on_from_more_than_its_budget():
  with pytest.raises(BudgetExceeded):
    Ledger(budget=5, spent=6)


def test_ledger_under_threads():
  ledger = Ledger(budget=1000)
  refused = []

  def spend():
    for _ in range(300):
      try:
        ledger.charge(1)
      except BudgetExceeded:
        refused.append(1)

  threads = [threading.Thread(target=spend) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert ledger.spent == 1000
  assert len(refused) == 200


def test_over_budget_is_refused_before_the_victim_sees_it():
  seen = []

  def victim(x):
    seen.append(len(x))
    return LOGITS[x[:, 0].astype(int)]

  spender = Oracle(victim, outputs="logits", input_shape=(2,), num_classes=4,
                   access="scores", ledger=Ledger(3))
  spender.query(np.zeros((2, 2)))
  with pytest.raises(BudgetExceeded):
    spender.query(np.zeros((2, 2)))
  assert (seen, spender.ledger.spent) == ([2], 2)


def test_a_victim_that_fails_charges_nothing():
  def victim(x):
    raise ConnectionError("gone")

  spender = Oracle(victim, outputs="logits", input_shape=(2,), num_classes=4)
  with pytest.raises(ConnectionError):
    spender.query(np.zeros((2, 2)))
  assert spender.ledger.spent == 0


@pytest.mark.parametrize("inputs, message", [
    (np.zeros((2, 3)), "shape"),
    (np.float64(3), "shape"),
    (np.array([["a", "b"]]), "dtype"),
    (np.array([[0.0, 1.0], [np.nan, 0.0]]), "row 1"),
    (np.array([[np.inf, 0.0]]), "row 0"),
])
def test_queries_are_checked(inputs, message):
  spender = oracle("scores")
  with pytest.raises(InputError, match=message):
    spender.query(inputs)
  assert spender.ledger.spent == 0


@pytest.mark.parametrize("outputs, given_, message", [
    ("probabilities", LOGITS, "declare outputs='logits'"),
    ("probabilities", np.full((2, 4), 0.26), "sums to 1.04"),
    ("logits", np.full((2, 4), 0.25), "declare outputs='probabilities'"),
    ("logits", np.array([[np.nan] * 4] * 2), "NaN"),
    ("logits", np.array([["a"] * 4] * 2), "dtype"),
])
def test_a_victim_that_is_not_what_it_says(outputs, given_, message):
  spender = oracle("scores", outputs, given_)
  with pytest.raises(VictimMismatch, match=message):
    spender.query(np.zeros((2, 2)))
  assert spender.ledger.spent == 0


def test_a_victim_with_another_number_of_classes():
  spender = Oracle(lambda x: np.zeros((len(x), 3)), outputs="logits",
                   input_shape=(2,), num_classes=4)
  with pytest.raises(VictimMismatch, match=r"\(1, 3\)"):
    spender.query(np.zeros((1, 2)))


def test_a_network_of_zeros_and_ones_may_give_logits():
  np.testing.assert_array_equal(
      ask("logits", given=np.eye(4)[:2]).logits, np.eye(4)[:2])


def test_half_precision_probabilities_pass():
  rough = scipy.special.softmax(
      np.random.default_rng(0).normal(size=(2, 1000)), axis=1)
  ask("scores", "probabilities", rough.astype(np.float16))


@pytest.mark.parametrize("settings_, message", [
    ({"access": "logits", "outputs": "probabilities"}, "gives probabilities"),
    ({"access": "top_k"}, "k is None"),
    ({"access": "top_k", "k": 5}, "from 1 to 4"),
    ({"access": "top_k", "k": 0}, "k is 0"),
    ({"access": "scores", "k": 2}, "only access 'top_k'"),
    ({"access": "scores", "decimals": -1}, "decimals"),
    ({"access": "scores", "decimals": True}, "decimals is True"),
    ({"access": "scores", "dtype": "int8"}, "dtype"),
    ({"access": "scores", "outputs": "odds"}, "odds"),
])
def test_settings_that_contradict(settings_, message):
  with pytest.raises(InputError, match=message):
    oracle(**settings_)


def test_the_oracle_has_no_attribute_that_leads_to_the_victim():
  class Victim:
    def __call__(self, x):
      return np.zeros((len(x), 4))

  victim = Victim()
  spender = Oracle(victim, outputs="logits", input_shape=(2,), num_classes=4)
  assert not hasattr(spender, "__dict__")
  values = [getattr(spender, name) for name in Oracle.__slots__]
  assert victim not in values
  # Only the function that answers leads there, through its closure.
  leading = [value for value in values if victim in _reachable(value, 1)]
  assert leading == []


def _reachable(thing, steps):
  found = [thing]
  for _ in range(steps):
    found += gc.get_referents(*found)
  return [other for other in found if not isinstance(other, np.ndarray)]


def test_joined_and_taken_responses_keep_their_order():
  answer = ask("top_k", k=2)
  again = Response.join([answer.take(np.array([row])) for row in (1, 0)])
  np.testing.assert_array_equal(again.classes, answer.classes[::-1])
  np.testing.assert_array_equal(again.values, answer.values[::-1])
