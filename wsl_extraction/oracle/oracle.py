"""The oracle: what an attack holds of a victim, and nothing else.

It reveals what a `Reveal` says, books every row in a `Ledger` before the victim
is called, and refuses what the budget does not cover before the victim sees it.
The victim lives in a closure, never in an attribute.

References:
  Jagielski, Carlini, Berthelot, Kurakin, Papernot. High Accuracy and High
    Fidelity Extraction of Neural Networks. USENIX Security 2020, section 3.4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from wsl_extraction import checks
from wsl_extraction.oracle.exchanges import by_requests
from wsl_extraction.oracle.ledger import Budget, Ledger
from wsl_extraction.oracle.responders import Responder
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.response_store import ResponseStore


@final
class Oracle:
  """Answers queries and charges for them.

  Attributes:
    space: The inputs that it takes.
    outputs: The number of classes, c.
    reveal: What a response holds.
    ledger: What has been spent, and of what.
    remembers: Whether a row that was answered once is answered again at no
      charge.
  """

  __slots__ = ("_answer", "ledger", "outputs", "remembers", "reveal", "space")

  def __init__(self, responder: Responder,
               budget: Budget | int | None = None,
               store: ResponseStore | None = None,
               batch_size: int | None = None,
               publish: Callable[[Sequence[bytes], Response], None]
               | None = None):
    """Puts a responder behind a ledger.

    Args:
      responder: Answers rows that are paid for.
      budget: What may be spent; a whole number means rows.
      store: Keeps charges and responses. A row whose response it holds never
        reaches the responder again, and costs nothing.
      batch_size: With a store, the most rows that are charged and answered at
        once; the responses are kept before the next are asked about. None for
        all rows of a query.
      publish: Called with the identities of the rows of each query, and the
        response.

    Raises:
      BudgetExceeded: The store holds more charges than the budget.
    """
    self.space, self.outputs = responder.space, responder.outputs
    self.reveal, self.remembers = responder.reveal, store is not None
    self.ledger = Ledger(budget, responder.reveal.meters, store,
                         responder.remote)
    # No reference to `self`: the closure is all that leads to the victim.
    space, ledger, lock = self.space, self.ledger, threading.Lock()
    empty = _empty(responder)
    batch_size = checks.whole("batch_size", batch_size, 1, optional=True)

    def answer(unchecked: Any) -> Response:
      rows = space.checked(unchecked)
      keys = space.keys(rows)
      if not keys:
        return empty
      with lock:
        if responder.link is not None:
          return by_requests(responder, ledger, store, rows, keys, batch_size)
        if store is None:
          ledger.charge(keys)
          return responder(rows, keys)
        missing = store.missing(keys)
        if not len(missing):
          return store.read(keys)
        unknown = [keys[row] for row in missing]
        ledger.afford(unknown)
        every = len(unknown) == len(keys)
        asked = rows if every else rows[missing]
        size = batch_size or len(unknown)
        ledger.charge(unknown[:size])
        written = []
        for start in range(0, len(unknown), size):
          batch = unknown[start:start + size]
          response = responder(asked[start:start + size], batch)
          # In one transaction: each of them costs several waits for the disk.
          with store.transaction():
            written.append(store.write(batch, response))
            if following := unknown[start + size:start + 2 * size]:
              ledger.charge(following)
        # Most often nothing was known before: reading back would cost a fifth.
        return Response.join(written) if every else store.read(keys)

    def published(unchecked: Any) -> Response:
      rows, response = space.checked(unchecked), answer(unchecked)
      if publish is not None:
        publish(space.keys(rows), response)
      return response

    self._answer = answer if publish is None else published

  def query(self, rows: Any) -> Response:
    """Asks about every row, or about none.

    Args:
      rows: Real numbers [n, *space.shape]. Images that are still files are
        decoded only if the victim has to see them.

    Raises:
      InputError: They do not lie in the space; nothing is charged.
      BudgetExceeded: They are more than what is left of the budget; the victim
        has not seen them and nothing is charged. Or lost answers took what was
        left (`exchanges.AnswersLost`), which stays charged.
      VictimFailed: The victim did not answer; they are charged.
    """
    return self._answer(rows)


def _empty(responder: Responder) -> Response:
  """The response to no rows."""
  layout = responder.reveal.layout(responder.outputs)
  return Response(responder.outputs, responder.reveal.scale, {
      name: np.zeros((0, *(max(side, 0) for side in shape)), dtype or "float32")
      for name, (dtype, shape) in layout.items()})
