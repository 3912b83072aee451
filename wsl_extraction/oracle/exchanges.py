"""Exchanges with a responder: what is charged before what is sent.

A local victim computes all rows that it is asked about. A remote one gets them
a request at a time: each request is charged when it is about to be sent, and
charged again when it is sent again, so that the ledger holds the rows that the
service has seen, whenever the process ends.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from wsl_extraction.oracle.ledger import BudgetExceeded, Ledger
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_store import ResponseStore


class AnswerLost(VictimFailed):
  """Rows were sent, and their answer did not come back.

  Nobody knows whether the service has answered them: they count as answered.
  """


class AnswersLost(BudgetExceeded):
  """Lost answers took what was left of the budget.

  Attributes:
    answered: The positions [m] of the rows of the query that were answered.
    response: The response to them; None where there are none.
  """

  def __init__(self, ledger: Ledger, rows: int, answered: Sequence[int],
               parts: Sequence[Response]):
    """Keeps what was answered of a query of so many rows."""
    super().__init__(
        f"{len(answered)} of {rows} rows of a query are answered: the budget "
        f"is {ledger.budget}, {ledger.rows} are charged, {ledger.resent} of "
        "them rows sent again as their answers were lost; raise the budget")
    self.answered = np.array(answered, np.int64)
    self.response = Response.join(parts) if parts else None


@dataclasses.dataclass(frozen=True)
class Link:
  """The way to a remote victim.

  Attributes:
    batch_size: The most rows of one request.
    resends: How often a request whose answer was lost is sent again.
    prepare: Waits until a request may be sent, and connects; called before the
      request is charged, with the number of times that it was sent already. It
      raises `InputError` where there is no connection.
  """

  batch_size: int
  resends: int = 0
  prepare: Callable[[int], None] = lambda attempt: None


class Linked(Protocol):
  """The members of a `responders.Responder` that are read here."""

  @property
  def link(self) -> Link | None:
    """The way to a remote victim; None where requests do not matter."""
    ...

  def sent(self, keys: Sequence[bytes]) -> Sequence[bytes]:
    """The identities among `keys` of rows that reach the victim."""
    ...

  def __call__(self, rows: Any, keys: Sequence[bytes]) -> Response:
    """The response to checked rows [n, *shape], n at least 1."""
    ...


def by_requests(responder: Linked, ledger: Ledger, store: ResponseStore | None,
                rows: Any, keys: Sequence[bytes],
                batch_size: int | None = None) -> Response:
  """Charges rows and asks about them, a request at a time.

  Args:
    responder: What answers, by a link.
    ledger: What charges.
    store: Keeps the response to each request before the next one is sent.
    rows: Checked rows [n, *shape], n at least 1.
    keys: Their identities.
    batch_size: The most rows at once; None for as many as the link takes.

  Raises:
    BudgetExceeded: They are more than what is left, and nothing is charged.
    AnswersLost: Lost answers took what was left.
    VictimFailed: The victim did not answer; what was sent stays charged.
  """
  link = responder.link
  assert link is not None, "only a remote victim is asked by requests"
  missing = store.missing(keys) if store is not None else (
      np.arange(len(keys), dtype=np.int64))
  size = min(batch_size or link.batch_size, link.batch_size)
  parts: list[Response] = []
  done = 0
  try:
    ledger.afford([keys[row] for row in missing.tolist()])
    for start in range(0, len(missing), size):
      chosen = missing[start:start + size]
      some = [keys[row] for row in chosen.tolist()]
      response = _request(link, responder, ledger, rows[chosen], some)
      parts.append(response if store is None else store.write(some, response))
      done += len(some)
  except BudgetExceeded as error:
    if not ledger.resent:
      raise
    if store is not None:
      unknown = {keys[row] for row in missing[done:].tolist()}
      answered = [row for row, key in enumerate(keys) if key not in unknown]
      parts = [store.read([keys[row] for row in answered])] if answered else []
    else:
      answered = list(range(done))
    raise AnswersLost(ledger, len(keys), answered, parts) from error
  if store is None or len(missing) == len(keys):
    return Response.join(parts)
  return store.read(keys)


def _request(link: Link, responder: Linked, ledger: Ledger, rows: Any,
             keys: Sequence[bytes]) -> Response:
  """One request, sent again while its answer is lost."""
  sent = responder.sent(keys)
  for attempt in itertools.count():
    if sent:
      link.prepare(attempt)
    ledger.charge(sent if attempt else keys, again=attempt > 0)
    try:
      return responder(rows, keys)
    except AnswerLost:
      if attempt >= link.resends:
        raise
  raise AssertionError("counting does not end")
