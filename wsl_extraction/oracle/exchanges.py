"""Exchanges with a responder: what is charged before what is sent.

A local victim computes all rows that it is asked about. A remote one gets them
a request at a time: each request is charged when it is about to be sent, and
charged again when it is sent again, so that the ledger holds the rows that the
service has seen, whenever the process ends.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from wsl_extraction.oracle.ledger import Ledger
from wsl_extraction.oracle.outputs import VictimFailed
from wsl_extraction.oracle.response import Response


class AnswerLost(VictimFailed):
  """Rows were sent, and their answer did not come back.

  Nobody knows whether the service has answered them: they count as answered.
  """


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


def exchange(responder: Linked, ledger: Ledger, rows: Any,
             keys: Sequence[bytes], batch_size: int | None = None
             ) -> Iterator[tuple[Sequence[bytes], Response]]:
  """Charges rows and asks about them, a request at a time.

  Args:
    responder: What answers, by a link.
    ledger: What charges.
    rows: Checked rows [n, *shape], n at least 1.
    keys: Their identities.
    batch_size: The most rows at once; None for as many as the link takes.

  Yields:
    The identities of the rows of a request, and the response to them.

  Raises:
    BudgetExceeded: They are more than what is left, and nothing is charged; or
      lost answers took what was left.
    VictimFailed: The victim did not answer; what was sent stays charged.
  """
  link = responder.link
  assert link is not None, "only a remote victim is asked by requests"
  ledger.afford(keys)
  size = min(batch_size or link.batch_size, link.batch_size)
  for start in range(0, len(keys), size):
    some = keys[start:start + size]
    yield some, _request(
        link, responder, ledger, rows[start:start + size], some)


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
