"""Responders of kept responses, and around other responders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from wsl_extraction.errors import InputError
from wsl_extraction.oracle.responders import Responder
from wsl_extraction.oracle.response import Response
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.spaces import Space


class Counted(Responder):
  """Tells how many rows were answered, batch by batch."""

  def __init__(self, inner: Responder, count: Callable[[int], None]):
    """Calls `count` with the rows of each batch that `inner` answered."""
    self.space, self.outputs = inner.space, inner.outputs
    self.reveal, self.remote = inner.reveal, inner.remote
    self.link, self._inner, self._count = inner.link, inner, count

  def sent(self, keys):
    return self._inner.sent(keys)

  def __call__(self, rows, keys):
    response = self._inner(rows, keys)
    self._count(len(response))
    return response


class TransferSet(Responder):
  """Takes responses from a store, and asks for those that it lacks."""

  def __init__(self, store: Any, otherwise: Responder):
    """Reads `store`, a `ResponseStore`; `otherwise` answers the rest."""
    self.space, self.outputs = otherwise.space, otherwise.outputs
    self.reveal, self.remote = otherwise.reveal, otherwise.remote
    self._store, self._otherwise = store, otherwise
    self.link = otherwise.link

  def sent(self, keys):
    return [keys[row] for row in self._store.missing(keys)]

  def __call__(self, rows, keys):
    missing = self._store.missing(keys)
    if not len(missing):
      return self._store.read(keys)
    answered = self._otherwise(rows[missing], [keys[row] for row in missing])
    place = {keys[row]: order for order, row in enumerate(missing)}
    held = [row for row, key in enumerate(keys) if key not in place]
    parts = [answered]
    if held:
      parts.append(self._store.read([keys[row] for row in held]))
    order = {row: len(missing) + at for at, row in enumerate(held)}
    return Response.join(parts).take(np.array(
        [order[row] if row in order else place[key]
         for row, key in enumerate(keys)]))


class Replay(Responder):
  """Gives the responses that another process has written, and asks nobody."""

  def __init__(self, store: Any, space: Space, outputs: int, reveal: Reveal):
    """Reads `store`, a `ResponseStore` or `PublishedResponses`."""
    self.space, self.outputs = reveal.inputs(space), outputs
    self.reveal = reveal
    self._store = store

  def __call__(self, rows, keys):
    return self._store.read(keys)


class Silent(Responder):
  """Answers nothing; for checks of settings before there is a victim."""

  def __init__(self, space: Space, outputs: int, reveal: Reveal):
    """Stands for a victim that is yet to be made."""
    self.space, self.outputs, self.reveal = space, outputs, reveal

  def __call__(self, rows, keys):
    raise InputError("there is no victim yet; make it before asking")
