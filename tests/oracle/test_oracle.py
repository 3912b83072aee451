"""The threat model: what is revealed, what is hidden, what is charged."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import oracles
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.defences import Defence
from wsl_extraction.oracle.ledger import Budget, BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed, VictimMismatch
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import NotRevealed, Quantity, Response
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Logits, Meter, TopK
from wsl_extraction.oracle.side_reveals import Both, Gradients
from wsl_extraction.oracle.spaces import Vectors

LOGITS = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, 2.9]])


def oracle(reveal, quantity="logits", values=LOGITS, **settings_):
  """An oracle whose victim looks its answers up by the first input value."""
  return oracles.oracle(lambda x: values[x[:, 0].astype(int)], values.shape[1],
                        2, reveal, quantity=quantity, **settings_)


def query(*args, **kwargs):
  return oracle(*args, **kwargs).query(np.array([[0, 0], [1, 0]]))


def test_each_level_reveals_its_part():
  scores = scipy.special.softmax(LOGITS, axis=1)
  np.testing.assert_array_equal(query("logits").logits, LOGITS)
  np.testing.assert_allclose(query("scores").values, scores, rtol=1e-12)
  top = query("top_k:2")
  np.testing.assert_array_equal(top.classes, [[0, 2], [1, 3]])
  np.testing.assert_allclose(
      top.values, [scores[0, [0, 2]], scores[1, [1, 3]]], rtol=1e-12)
  one = query("label_score")
  np.testing.assert_array_equal(one.classes, [[0], [1]])
  np.testing.assert_allclose(one.values, scores.max(axis=1, keepdims=True))
  label = query("label")
  np.testing.assert_array_equal(label.classes, [[0], [1]])
  with pytest.raises(NotRevealed, match="values are not revealed"):
    _ = label.values
  for level in ("label", "label_score", "scores", "logits"):
    np.testing.assert_array_equal(query(level).top_classes, [0, 1])


def test_hidden_scores_are_hidden_not_renormalised():
  top = query("top_k:2")
  assert (top.values.sum(axis=1) < 0.98).all()
  assert top.known_classes().sum(axis=1).tolist() == [2, 2]
  dense = top.probabilities()
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  np.testing.assert_allclose(dense[0, [0, 2]], top.values[0])
  assert dense[0, 1] == dense[0, 3]


def test_a_label_is_taken_at_its_word():
  label = query("label")
  np.testing.assert_array_equal(label.probabilities(), np.eye(4)[[0, 1]])
  assert label.known_classes().all()
  assert np.isneginf(label.log_scores()).sum() == 6


def test_logits_only_at_logits():
  with pytest.raises(NotRevealed, match="'logits'"):
    _ = query("scores").logits


def test_top_k_of_all_classes_equals_scores():
  np.testing.assert_allclose(
      query("top_k:4").probabilities(), query("scores").probabilities())


@given(st.integers(2, 8), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_probabilities_never_contradict_what_was_revealed(c, k, seed):
  k = min(k, c)
  logits = np.random.default_rng(seed).normal(scale=3, size=(5, c))
  x = np.stack([np.arange(5), np.zeros(5)], axis=1)
  response = oracle(TopK(k), values=logits).query(x)
  scores = scipy.special.softmax(logits, axis=1)
  np.testing.assert_allclose(
      response.values, -np.sort(-scores, axis=1)[:, :k], rtol=1e-9)
  dense = response.probabilities()
  np.testing.assert_allclose(dense.sum(axis=1), 1)
  # No hidden class can be likelier than the least of those revealed.
  assert (dense <= np.where(response.known_classes(), dense,
                            response.values[:, -1:] + 1e-12)).all()


def test_rounding_and_type():
  rounded = query("scores", decimals=2, dtype="float16")
  assert rounded.values.dtype == np.float16
  np.testing.assert_array_equal(
      rounded.values, np.round(
          scipy.special.softmax(LOGITS, axis=1), 2).astype(np.float16))
  # Rounded rows need not sum to one; as probabilities they do.
  np.testing.assert_allclose(rounded.probabilities().sum(axis=1), 1, rtol=1e-6)


def test_rounding_everything_away_leaves_nothing_known():
  response = query("scores", values=np.zeros((2, 4)), decimals=0)
  np.testing.assert_array_equal(response.values, 0)
  np.testing.assert_allclose(response.probabilities(), 0.25)


def test_a_value_too_large_for_its_type_becomes_the_largest():
  large = oracle("logits", values=LOGITS * 1e6, dtype="float16")
  np.testing.assert_array_equal(
      large.query(np.zeros((1, 2))).logits, [[65504, -65504, 65504, 0]])
  assert large.ledger.rows == 1


def test_over_budget_is_refused_before_the_victim_sees_it():
  seen = []

  def predict(x):
    seen.append(len(x))
    return LOGITS[x[:, 0].astype(int)]

  spender = oracles.oracle(predict, 4, 2, budget=3)
  spender.query(np.zeros((2, 2)))
  with pytest.raises(BudgetExceeded):
    spender.query(np.zeros((2, 2)))
  assert (seen, spender.ledger.rows) == ([2], 2)


def test_a_victim_that_fails_has_been_called_and_is_paid():
  def predict(x):
    raise ConnectionError("gone")

  spender = oracles.oracle(predict, 4, 2)
  with pytest.raises(ConnectionError):
    spender.query(np.zeros((2, 2)))
  assert spender.ledger.rows == 2


def test_a_long_query_keeps_each_batch_before_the_next(tmp_path):
  asked = []

  def predict(x):
    asked.append(x[:, 0].tolist())
    if 6 in x[:, 0]:
      raise ConnectionError("gone")
    return np.repeat(x, 2, axis=1)

  rows = np.arange(9.0)[:, None]
  with ResponseStore(tmp_path / "s", Logits(), 2) as store:
    def spender(budget):
      return Oracle(Live(oracles.victim(predict, 2, 1), Logits()), budget,
                    store, batch_size=2)

    with pytest.raises(BudgetExceeded):
      spender(8).query(rows)
    assert (asked, store.spent) == ([], 0)
    with pytest.raises(ConnectionError):
      spender(9).query(rows)
    assert asked == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (len(store), store.spent) == (6, 8)
    asked.clear()
    rows[6] = 9
    oracle = spender(10)
    np.testing.assert_array_equal(
        oracle.query(rows).logits, np.repeat(rows, 2, axis=1))
    # Row 7 is charged already, row 6 was another.
    assert (asked, oracle.ledger.rows) == ([[9, 7], [8]], 10)


@pytest.mark.parametrize("inputs, message", [
    (np.zeros((2, 3)), "shape"),
    (np.float64(3), "shape"),
    ([[1, 2], [3]], "no array"),
    (np.array([["a", "b"]]), "dtype"),
    (np.array([[1j, 0]]), "dtype"),
    (np.array([[0.0, 1.0], [np.nan, 0.0]]), "row 1"),
    (np.array([[np.inf, 0.0]]), "row 0"),
])
def test_queries_are_checked_before_anything_is_paid(inputs, message):
  spender = oracle("scores")
  with pytest.raises(InputError, match=message):
    spender.query(inputs)
  assert spender.ledger.rows == 0


def test_no_rows_cost_nothing_and_have_a_response():
  spender = oracle("top_k:2", budget=0)
  response = spender.query(np.zeros((0, 2)))
  assert response.classes.shape == response.values.shape == (0, 2)
  assert spender.ledger.rows == 0


@pytest.mark.parametrize("quantity, values, message", [
    ("probabilities", LOGITS, "declare outputs='logits'"),
    ("probabilities", np.full((2, 4), 0.26), "sums to 1.04"),
    ("logits", np.full((2, 4), 0.25), "declare outputs='probabilities'"),
    ("logits", np.array([[np.nan] * 4] * 2), "NaN"),
    ("logits", np.array([["a"] * 4] * 2), "dtype"),
    ("logits", np.zeros((2, 3)), r"\(2, 3\)"),
])
def test_owners_are_told_that_a_victim_is_not_what_it_is_declared(
    quantity, values, message):
  made = oracles.victim(lambda x: values[:len(x)], 4, 2, quantity)
  owner = Oracle(Live(made, Logits() if quantity == "logits" else TopK(4),
                      is_owner=True))
  with pytest.raises(VictimMismatch, match=message):
    owner.query(np.zeros((2, 2)))


@pytest.mark.parametrize("values", [
    np.zeros((2, 3)), np.zeros(2), np.array([["a"] * 4] * 2), "nothing",
    [[1, 2], [3]]])
def test_an_adversary_is_told_that_a_victim_failed_and_nothing_else(values):
  adversary = oracles.oracle(lambda x: values, 4, 2, "label", budget=2)
  with pytest.raises(VictimFailed) as caught:
    adversary.query(np.zeros((2, 2)))
  assert str(caught.value) == (
      "the victim failed to answer a batch of 2 rows, which stay charged; see "
      "that it gives numbers for every input")
  assert adversary.ledger.left() == 0


def test_a_network_of_zeros_and_ones_may_give_logits():
  made = oracles.victim(lambda x: np.eye(4)[:2], 4, 2)
  owner = Oracle(Live(made, Logits(), is_owner=True))
  np.testing.assert_array_equal(
      owner.query(np.zeros((2, 2))).logits, np.eye(4)[:2])


def test_half_precision_probabilities_pass():
  rough = scipy.special.softmax(
      np.random.default_rng(0).normal(size=(2, 1000)), axis=1)
  made = oracles.victim(lambda x: rough.astype(np.float16), 1000, 2,
                        "probabilities")
  Oracle(Live(made, TopK(1), is_owner=True)).query(np.zeros((2, 2)))


@pytest.mark.parametrize("settings_, message", [
    ({"reveal": "logits", "quantity": "probabilities"}, "gives probabilities"),
    ({"reveal": "top_k"}, "reveal is 'top_k'"),
    ({"reveal": "top_k:5"}, "from 1 to 4"),
    ({"reveal": "top_k:0"}, "'top_k:0'"),
    ({"reveal": "leaf"}, "gives leaves"),
    ({"reveal": "scores", "decimals": -1}, "decimals"),
    ({"reveal": "scores", "decimals": True}, "decimals is True"),
    ({"reveal": "scores", "dtype": "int8"}, "dtype"),
    ({"reveal": "scores", "defences": (3,)}, "defences is 3"),
])
def test_settings_that_contradict(settings_, message):
  with pytest.raises(InputError, match=message):
    oracle(**settings_)


def test_the_oracle_has_no_attribute_that_leads_to_the_victim():
  class Predict:
    def __call__(self, x):
      return np.zeros((len(x), 4))

  predict = Predict()
  spender = oracles.oracle(predict, 4, 2)
  assert not hasattr(spender, "__dict__")
  values = [getattr(spender, name) for name in Oracle.__slots__]
  assert predict not in values
  # Only the function that answers leads there, through its closure.
  leading = [value for value in values if predict in _reachable(value, 1)]
  assert leading == []


def _reachable(thing, steps):
  reached = [thing]
  for _ in range(steps):
    reached += gc.get_referents(*reached)
  return [other for other in reached if not isinstance(other, np.ndarray)]


def test_joined_and_taken_responses_keep_their_order():
  response = query("top_k:2")
  swapped = Response.join([response.take(np.array([row])) for row in (1, 0)])
  np.testing.assert_array_equal(swapped.classes, response.classes[::-1])
  np.testing.assert_array_equal(swapped.values, response.values[::-1])


def test_logits_and_gradients_are_charged_on_meters_of_their_own():
  weights = np.arange(6.0).reshape(2, 3)
  made = BareVictim(Vectors(2), 3, {
      Quantity.LOGITS: lambda x: x @ weights,
      Quantity.LOGIT_GRADIENTS: lambda x: np.broadcast_to(
          weights.T, (len(x), 3, 2))})
  spender = Oracle(Live(made, Both(Logits(), Gradients())),
                   Budget(rows=10, gradient_rows=4))
  response = spender.query(np.ones((3, 2)))
  np.testing.assert_array_equal(response.logits[0], [3, 5, 7])
  np.testing.assert_array_equal(response.gradients[2], weights.T)
  assert spender.ledger.spent == {
      Meter.ROWS: 3, Meter.GRADIENT_ROWS: 3, Meter.TRACES: 0}
  assert spender.ledger.equal_cost(2) == 3 + 3 * 3
  with pytest.raises(BudgetExceeded, match="3 of 4"):
    spender.query(np.ones((2, 2)))


def test_defences_act_in_order_between_victim_and_reveal():
  class Reversed(Defence):
    def perturb(self, rows, values, rng):
      return values[:, ::-1]

  class Noise(Defence):
    def perturb(self, rows, values, rng):
      return values + rng.normal(size=values.shape)

  scores = scipy.special.softmax(LOGITS, axis=1)
  np.testing.assert_allclose(
      query("scores", defences=(Reversed(),)).values, scores[:, ::-1])
  # Noise follows from the rows: the same query, the same answer.
  np.testing.assert_array_equal(query("logits", defences=(Noise(),)).values,
                                query("logits", defences=(Noise(),)).values)
  assert query("label", defences=(Reversed(),)).top_classes.tolist() == [3, 2]


def test_a_detector_may_refuse_and_is_paid():
  class Refused(InputError):
    pass

  class Detector(Defence):
    def watch(self, rows, response):
      if len(rows) > 1:
        raise Refused("too many at once")

  spender = oracle("label", defences=(Detector(),), budget=5)
  with pytest.raises(Refused):
    spender.query(np.zeros((2, 2)))
  spender.query(np.zeros((1, 2)))
  assert spender.ledger.rows == 3


def test_threads_ask_one_oracle_within_its_budget():
  spender, refused = oracle("label", budget=100), []

  def work():
    for _ in range(40):
      try:
        spender.query(np.zeros((1, 2)))
      except BudgetExceeded:
        refused.append(1)

  threads = [threading.Thread(target=work) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert (spender.ledger.rows, len(refused)) == (100, 60)
