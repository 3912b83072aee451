"""Responders behind an oracle: a victim, or responses already paid for."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from wsl_extraction import checks
from wsl_extraction.errors import InputError
from wsl_extraction.oracle import outputs as answers
from wsl_extraction.oracle.defences import Defence
from wsl_extraction.oracle.exchanges import Link
from wsl_extraction.oracle.response import Quantity, Response, softmax
from wsl_extraction.oracle.reveals import Reveal
from wsl_extraction.oracle.rows import LazyRows
from wsl_extraction.oracle.spaces import Space

DTYPES = (None, "float16", "float32", "float64")

_TABULAR = (Quantity.LOGITS, Quantity.PROBABILITIES, Quantity.TOP_SCORES,
            Quantity.LABELS)


class Answering(Protocol):
  """The members of a victim that a responder reads."""

  @property
  def space(self) -> Space:
    """The inputs that it takes."""
    ...

  @property
  def outputs(self) -> int:
    """The number of its classes, c."""
    ...

  @property
  def quantities(self) -> Mapping[Quantity, Callable[[np.ndarray], Any]]:
    """The functions of rows [n, *shape] that compute its quantities."""
    ...

  @property
  def fingerprint(self) -> str:
    """A text that tells victims apart."""
    ...

  @property
  def remote(self) -> bool:
    """True if an answer can be lost on the way back."""
    ...

  @property
  def link(self) -> Link | None:
    """The way to it, where each of its requests is charged by itself."""
    ...

  @property
  def decimals(self) -> int | None:
    """To so many it rounds its scores; None where that is not declared."""
    ...

  @property
  def named(self) -> int | None:
    """The number of classes that it scores, k; None for all."""
    ...


@dataclasses.dataclass(frozen=True, eq=False)
class BareVictim:
  """Functions of rows as a victim, for theory and tests; see `Answering`."""

  space: Space
  outputs: int
  quantities: Mapping[Quantity, Callable[[np.ndarray], Any]]
  remote: bool = False
  fingerprint: str = ""
  link: Link | None = None
  decimals: int | None = None
  named: int | None = None


class Responder(abc.ABC):
  """Answers rows that are charged already.

  Attributes:
    space: The inputs that it takes.
    outputs: The number of classes, c.
    reveal: What a response holds.
    remote: See `Answering`.
    link: See `Answering`.
  """

  space: Space
  outputs: int
  reveal: Reveal
  remote: bool = False
  link: Link | None = None

  def sent(self, keys: Sequence[bytes]) -> Sequence[bytes]:
    """The identities among `keys` of rows that reach the victim."""
    return keys

  @abc.abstractmethod
  def __call__(self, rows: np.ndarray | LazyRows,
               keys: Sequence[bytes]) -> Response:
    """The response to checked rows [n, *shape], n at least 1."""


class Live(Responder):
  """Asks a victim, applies the defences, and cuts down what is left.

  Rounding and casting come before ranking, so that no order of values that are
  equal to the adversary is revealed.
  """

  def __init__(self, victim: Answering, reveal: Reveal,
               defences: Sequence[Defence] = (), dtype: str | None = None,
               is_owner: bool = False):
    """Wraps a victim.

    Args:
      victim: What is asked.
      reveal: What is revealed.
      defences: Applied to the values in this order.
      dtype: Casts revealed values to "float16", "float32" or "float64"; None
        leaves them as they are.
      is_owner: Whether the victim's owner asks: then answers are checked
        against what is declared, and errors tell what was wrong.

    Raises:
      InputError: The victim cannot give what is to be revealed.
    """
    reveal.check(victim.outputs, victim.quantities)
    _check_named(reveal, victim)
    checks.one_of("dtype", dtype, DTYPES)
    for defence in defences:
      checks.instance("defences", defence, Defence,
                      "defences, such as Rounded(2)")
    self.space, self.outputs = reveal.inputs(victim.space), victim.outputs
    self.reveal, self.remote = reveal, victim.remote
    self.defences, self.dtype = tuple(defences), dtype
    self._victim, self._is_owner, self.link = victim, is_owner, victim.link

  @property
  def resolution(self) -> float:
    """The distance of neighbouring values."""
    return max(victim_resolution(self._victim),
               *(one.resolution for one in self.defences), 0.0)

  def __call__(self, rows, keys):
    rows = np.asarray(rows)
    if rows.shape != (len(keys), *self.space.shape):
      raise InputError(f"a query of {len(keys)} rows turned out to have shape "
                       f"{rows.shape}; it stays charged")
    parts = {}
    for part in self.reveal.parts:
      # Copies: a view leads to the array that it was cut from.
      parts.update((name, np.array(array)) for name, array in self._part(
          part, rows, keys).items())
    response = Response(
        self.outputs, self.reveal.scale, parts, self.resolution)
    for defence in self.defences:
      defence.watch(rows, response)
    return response

  def _part(self, reveal: Reveal, rows: np.ndarray,
            keys: Sequence[bytes]) -> Mapping[str, np.ndarray]:
    quantities = self._victim.quantities
    quantity = next(one for one in reveal.reads if one in quantities)
    # A copy: a victim may work in place, and views reach into other arrays.
    values = self._asked(quantities[quantity], rows.copy())
    if quantity not in _TABULAR:
      return reveal.cut(quantity, self._other(values, len(rows)))
    if self._is_owner:
      answers.check_declared(quantity, values, len(rows), self.outputs,
                             self._victim.decimals)
    values = answers.as_floats(quantity, values, len(rows), self.outputs)
    if quantity is Quantity.LOGITS and (
        reveal.scale is Quantity.PROBABILITIES):
      # In double precision: distinct logits must not tie as rounded scores.
      values = softmax(values.astype(np.float64)).astype(values.dtype)
      quantity = Quantity.PROBABILITIES
    rng = np.random.default_rng(int.from_bytes(
        hashlib.blake2b(b"".join(keys), digest_size=16).digest(), "little"))
    for defence in self.defences:
      values = defence.perturb(rows, values, rng)
    return reveal.cut(quantity, _cast(values, self.dtype))

  def _asked(self, function: Callable[[np.ndarray], Any],
             rows: np.ndarray) -> Any:
    try:
      return function(rows)
    except answers.BadAnswer as error:
      text = str(error)
    # Not above: an adversary would find the text, which may hold what is not
    # revealed, in the context of the error.
    raise answers.VictimMismatch(text) if self._is_owner else (
        answers.failed(len(rows)))

  def _other(self, values: Any, rows: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape[:1] != (rows,):
      raise answers.VictimFailed(
          f"the victim failed to answer a batch of {rows} rows, which stay "
          "charged; see that it answers every input")
    return values


def victim_resolution(victim: Answering) -> float:
  """The distance of neighbouring scores of a victim; 0 if not declared."""
  return 0.0 if victim.decimals is None else 10.0**-victim.decimals


def _check_named(reveal: Reveal, victim: Answering) -> None:
  named, k = victim.named, getattr(reveal, "k", 0)
  if named is not None and k > named and (
      not set(victim.quantities) & {Quantity.LOGITS, Quantity.PROBABILITIES}):
    raise InputError(f"the reveal '{reveal}' needs scores of {k} classes; the "
                     f"victim gives {named}: choose the reveal 'top_k:{named}'")


def _cast(values: np.ndarray, dtype: str | None) -> np.ndarray:
  """Values in a dtype; what is too large becomes the largest number."""
  if dtype is None:
    return values
  largest = np.finfo(dtype).max
  return np.clip(values, -largest, largest).astype(dtype)
