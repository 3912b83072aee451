"""Services on a bad day: every row answered, each row that they saw charged."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from fixtures.services import CLASSES, POOL, loaded, scores, serving
from wsl_extraction.errors import InputError
from wsl_extraction.oracle.exchanges import AnswerLost
from wsl_extraction.oracle.ledger import BudgetExceeded
from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.responders import Live
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveals import Label, Scores

PROTOCOLS = ("kserve_v2", "tf_serving")


def on(number, name):
  """The fault `name` at one request only."""
  return lambda request: name if request == number else ""


def opened(path):
  return ResponseStore(path, Scores(), CLASSES, dtype="float64")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_2000_rows_though_answers_are_lost_and_requests_turned_away(
    tmp_path, protocol):
  def fault(number):
    return {0: "busy", 17: "drop", 10: "busy"}.get(number % 20, "")

  with serving(fault=fault, retry_after="0") as (service, address), opened(
      tmp_path / "s") as store:
    oracle = Oracle(Live(loaded(address, protocol, batch_size=20), Scores()),
                    store=store)
    for start in range(0, 2000, 500):
      oracle.query(POOL[start:start + 500])
    stored = store.read(oracle.space.keys(POOL)).values
    # 100 batches: 5 sent again as their answers were lost, 11 turned away.
    assert service.requests == 116
    assert oracle.ledger.rows == store.spent == service.rows == 2100
    assert oracle.ledger.resent == store.resent == 100
    # A batch of other size may be computed in another order.
    np.testing.assert_allclose(stored, scores(POOL), rtol=1e-14)


@pytest.mark.parametrize("name", ["drop", "cut"])
def test_a_broken_connection_is_a_lost_answer(name):
  with serving(fault=on(2, name)) as (service, address):
    oracle = Oracle(Live(loaded(address), Scores()))
    response = oracle.query(POOL[:48])
  np.testing.assert_allclose(response.values, scores(POOL[:48]), rtol=1e-14)
  assert (service.rows, oracle.ledger.rows, oracle.ledger.resent) == (
      64, 64, 16)


def test_an_answer_that_is_late_is_lost_and_never_taken_for_another():
  with serving(fault=on(1, "late")) as (service, address):
    oracle = Oracle(Live(loaded(address, timeout=0.3), Scores()))
    response = oracle.query(POOL[:48])
  np.testing.assert_allclose(response.values, scores(POOL[:48]), rtol=1e-14)
  assert (service.rows, oracle.ledger.rows, oracle.ledger.resent) == (
      64, 64, 16)


def test_an_answer_to_another_request_is_a_lost_one():
  with serving(fault=on(2, "repeat")) as (service, address):
    oracle = Oracle(Live(loaded(address), Scores()))
    response = oracle.query(POOL[:48])
  np.testing.assert_allclose(response.values, scores(POOL[:48]), rtol=1e-14)
  assert oracle.ledger.rows == service.rows == 64


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_too_many_is_thrown_away(protocol):
  with serving(fault=lambda number: "extra") as (service, address):
    oracle = Oracle(Live(loaded(address, protocol), Scores()))
    for start in range(0, 48, 16):
      response = oracle.query(POOL[start:start + 16])
      np.testing.assert_allclose(
          response.values, scores(POOL[start:start + 16]), rtol=1e-14)
      time.sleep(0.05)  # until the second answer has come
  assert oracle.ledger.rows == service.rows == 48


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("name", "line"), [
    ("error", r"status 500 \(out of memory\); see what it logs, and run the "),
    ("garble", r"that are no JSON; see that Served.url and Served.protocol")])
def test_a_refusal_ends_the_query_and_is_not_asked_again(
    tmp_path, protocol, name, line):
  with serving(fault=on(2, name)) as (service, address):
    for _ in range(2):
      with opened(tmp_path / "s") as store:
        oracle = Oracle(Live(loaded(address, protocol), Scores()), store=store)
        if not len(store):
          with pytest.raises(VictimFailed, match=line) as refusal:
            oracle.query(POOL[:64])
          assert "\n" not in str(refusal.value)
          assert (service.requests, len(store), store.spent) == (2, 16, 32)
        else:
          oracle.query(POOL[:64])
    # 64 rows, and the 16 of which the answer was of no use once more.
    assert service.rows == store.spent == 80 and store.resent == 16


def test_wrong_answers_name_no_value():
  """A service may say more than the reveal of the oracle."""
  for answer in (lambda rows: scores(rows)[:-1], lambda rows: scores(rows).T,
                 lambda rows: np.zeros((0, 3))):
    with serving(answer) as (_, address):
      oracle = Oracle(Live(loaded(address), Label()))
      with pytest.raises(VictimFailed) as refusal:
        oracle.query(POOL[:10])
      assert not any(digit in str(refusal.value).replace("10 rows", "")
                     for digit in "0123456789")


def test_a_service_that_never_answers_is_one_line(tmp_path):
  with serving(fault=lambda number: "drop") as (service, address), (
      opened(tmp_path / "s")) as store:
    oracle = Oracle(Live(loaded(address, retries=2), Scores()), store=store)
    with pytest.raises(AnswerLost, match=r"did not answer \(the connection "
                       r"broke\); what was sent stays charged"):
      oracle.query(POOL[:20])
    assert service.rows == store.spent == 48 and store.resent == 32


def test_a_service_that_is_always_busy_is_one_line():
  with serving(fault=lambda number: "busy", retry_after="0"
               ) as (service, address):
    oracle = Oracle(Live(loaded(address, retries=2), Scores()))
    with pytest.raises(VictimFailed, match=r"429 \(too many requests\)"):
      oracle.query(POOL[:20])
    assert (service.requests, service.rows, oracle.ledger.rows) == (3, 0, 16)


def test_nothing_is_charged_where_nobody_listens(tmp_path):
  with opened(tmp_path / "s") as store:
    with serving() as (service, address):
      oracle = Oracle(Live(loaded(address, retries=1), Scores()), store=store)
      oracle.query(POOL[:16])
    with pytest.raises(InputError, match=r"no connection to .*refused"):
      oracle.query(POOL[:64])
    assert store.spent == service.rows == 16
    with pytest.raises(InputError, match=r"no connection to .*refused"):
      loaded(address)


def test_the_budget_holds_though_answers_are_lost(tmp_path):
  with serving(fault=lambda number: "drop" if number % 3 else ""
               ) as (service, address), opened(tmp_path / "s") as store:
    oracle = Oracle(Live(loaded(address), Scores()), 100, store)
    with pytest.raises(BudgetExceeded):
      oracle.query(POOL[:96])
    assert service.rows == store.spent <= 100
    # What was answered is there.
    assert len(store) == service.rows // 48 * 16


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull",
    b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<html></h",
    b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_such_service_is_one_line(answer, protocol):
  with socket.create_server(("127.0.0.1", 0)) as listener:
    def serve():
      while True:
        try:
          taken, _ = listener.accept()
        except OSError:
          return
        with taken:
          taken.recv(65536)
          taken.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(InputError) as refusal:
      loaded(f"http://127.0.0.1:{listener.getsockname()[1]}", protocol,
             retries=1, timeout=5)
    listener.shutdown(socket.SHUT_RDWR)
  thread.join(5)
  assert "\n" not in str(refusal.value)
