"""Requests to a remote victim: the ledger holds the rows that it has seen."""

from __future__ import annotations

import numpy as np
import pytest

from wsl_extraction.oracle.exchanges import AnswerLost, AnswersLost, Link
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.replays import TransferSet
from wsl_extraction.oracle.responders import BareVictim, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Scores
from wsl_extraction.oracle.spaces import Vectors


class Remote:
  """A victim that has seen rows, and loses the answers to some requests."""

  def __init__(self, lost=(), resends=3, batch_size=4):
    self.seen: list[float] = []
    self.requests, self.lost = 0, set(lost)
    self.prepared: list[tuple[int, int]] = []  # attempt, rows seen before it
    self.is_up = True
    self.victim = BareVictim(
        Vectors(1), 2, {Quantity.PROBABILITIES: self.answer}, remote=True,
        link=Link(batch_size, resends, self.prepare))

  def prepare(self, attempt):
    if not self.is_up:
      raise VictimFailed("there is no connection")
    self.prepared.append((attempt, len(self.seen)))

  def answer(self, rows):
    self.requests += 1
    self.seen += rows[:, 0].tolist()
    if self.requests in self.lost:
      raise AnswerLost("the connection broke")
    share = rows / 100
    return np.concatenate([share, 1 - share], axis=1)

  def oracle(self, budget=None, store=None):
    return Oracle(Live(self.victim, Scores()), budget, store)


def rows(*numbers):
  return np.array(numbers, np.float64)[:, None]


TEN = rows(*range(10))


@pytest.fixture
def store(tmp_path):
  with ResponseStore(tmp_path / "s", Scores(), 2, dtype="float64") as opened:
    yield opened


@pytest.mark.parametrize("stored", [False, True])
def test_a_lost_answer_is_charged_again(store, stored):
  remote = Remote(lost=(2, 3))
  oracle = remote.oracle(store=store if stored else None)
  response = oracle.query(TEN)
  np.testing.assert_array_equal(response.probabilities()[:, 0],
                                TEN[:, 0] / 100)
  assert remote.seen == [0, 1, 2, 3, *[4, 5, 6, 7] * 3, 8, 9]
  assert (oracle.ledger.rows, oracle.ledger.resent) == (18, 8)
  # Waited and connected before each charge, longer after each failure.
  assert remote.prepared == [(0, 0), (0, 4), (1, 8), (2, 12), (0, 16)]


@pytest.mark.parametrize("stored", [False, True])
def test_a_budget_holds_for_what_is_sent_again(store, stored):
  remote = Remote(lost=(1,))
  oracle = remote.oracle(budget=10, store=store if stored else None)
  told = (r"4 of 8 rows of a query are answered: the budget is 10 rows, 8 are "
          r"charged, 4 of them rows sent again")
  with pytest.raises(AnswersLost, match=told) as lost:
    oracle.query(rows(*range(8)))
  assert (len(remote.seen), oracle.ledger.rows) == (8, 8)
  # What was paid for is not lost.
  assert lost.value.answered.tolist() == [0, 1, 2, 3]
  assert lost.value.response is not None
  np.testing.assert_array_equal(
      lost.value.response.probabilities()[:, 0], [0, 0.01, 0.02, 0.03])


def test_rows_known_before_are_answered_though_the_budget_is_lost(store):
  remote = Remote(lost=(2,))
  oracle = remote.oracle(budget=12, store=store)
  oracle.query(rows(5, 1))
  with pytest.raises(AnswersLost) as lost:
    oracle.query(rows(*range(10)))
  assert lost.value.answered.tolist() == [0, 1, 2, 3, 4, 5]
  # The same again, from a store that knows of it.
  with pytest.raises(AnswersLost) as again:
    remote.oracle(budget=12, store=store).query(rows(*range(10)))
  assert again.value.answered.tolist() == lost.value.answered.tolist()
  assert len(remote.seen) == store.spent == 10


def test_more_than_the_budget_is_refused_before_the_first_request(store):
  remote = Remote()
  for oracle in (remote.oracle(9), remote.oracle(9, store)):
    with pytest.raises(BudgetExceeded, match="a batch of 10 rows"):
      oracle.query(TEN)
    assert (remote.seen, oracle.ledger.rows) == ([], 0)


def test_what_was_answered_is_kept_when_the_victim_fails(store):
  remote = Remote(lost=range(2, 10), resends=1)
  with pytest.raises(AnswerLost):
    remote.oracle(store=store).query(TEN)
  assert (len(store), store.spent, store.resent) == (4, 12, 4)
  remote.lost = set()
  seen = len(remote.seen)
  remote.oracle(store=store).query(TEN)
  # Those of the lost answer are sent, and charged, once more.
  assert remote.seen[seen:] == [4, 5, 6, 7, 8, 9]
  assert (store.spent, store.resent) == (len(remote.seen), 8)


def test_nothing_is_charged_while_there_is_no_connection(store):
  remote = Remote()
  remote.is_up = False
  for oracle in (remote.oracle(), remote.oracle(store=store)):
    with pytest.raises(VictimFailed):
      oracle.query(TEN)
    assert (remote.seen, oracle.ledger.rows) == ([], 0)


def test_rows_of_a_transfer_set_are_charged_and_never_sent(store):
  remote = Remote()
  remote.oracle(store=store).query(rows(*range(8)))
  remote.seen.clear()
  remote.prepared.clear()
  remote.lost = {3}
  known = TransferSet(store, Live(remote.victim, Scores()))
  oracle = Oracle(known)
  oracle.query(rows(0, 1, 2, 3, 6, 7, 8, 9))
  # 8 rows, two of them twice; the first four never needed a connection.
  assert remote.seen == [8, 9, 8, 9]
  assert (oracle.ledger.rows, oracle.ledger.resent) == (10, 2)
  assert [attempt for attempt, _ in remote.prepared] == [0, 1]
