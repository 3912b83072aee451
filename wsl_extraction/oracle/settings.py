"""The settings of an oracle, and the stores of its responses."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

from wsl_extraction import checks
from wsl_extraction.oracle import response_codec
from wsl_extraction.oracle.defences import Defence, Rounded
from wsl_extraction.oracle.ledger import Budget
from wsl_extraction.oracle.responders import DTYPES, Answering, Live
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.response_store import ResponseStore
from wsl_extraction.oracle.reveal_names import parse
from wsl_extraction.oracle.reveals import Label, Logits, Reveal, Scores, TopK
from wsl_extraction.oracle.store_file import Mode


@dataclasses.dataclass(frozen=True, kw_only=True)
class OracleSettings:
  """Reveal, defences and budget of an oracle.

  Attributes:
    reveal: What it reveals; `reveal_names.parse` reads names.
    budget: What an attack may spend; `Budget.of` reads numbers of rows.
    defences: Applied to the victim's values in this order.
    decimals: Rounds them after all other defences; None does not.
    dtype: The type of what is revealed; None is the victim's own.
    response_dtype: The type in which responses are kept on disk.
  """

  reveal: Reveal = dataclasses.field(default_factory=Scores)
  budget: Budget = dataclasses.field(default_factory=Budget)
  defences: tuple[Defence, ...] = ()
  decimals: int | None = None
  dtype: str | None = None
  response_dtype: str = "float32"

  def __post_init__(self):
    self._set("reveal", parse("reveal", self.reveal))
    self._set("budget", Budget.of(self.budget))
    defences = self.defences
    if isinstance(defences, Defence):
      defences = (defences,)
    if not isinstance(defences, (tuple, list)) or not all(
        isinstance(one, Defence) for one in defences):
      checks.refuse("defences", defences, "a list of defences, such as "
                    "(Rounded(2),)")
    self._set("defences", tuple(defences))
    self._set("decimals", checks.whole("decimals", self.decimals, 0,
                                       optional=True))
    checks.one_of("dtype", self.dtype, DTYPES)
    checks.one_of("response_dtype", self.response_dtype,
                  response_codec.DTYPES)

  def _set(self, name: str, value: Any) -> None:
    object.__setattr__(self, name, value)

  @property
  def all_defences(self) -> tuple[Defence, ...]:
    """The defences, rounding included."""
    if self.decimals is None:
      return self.defences
    return (*self.defences, Rounded(self.decimals))

  @property
  def resolution(self) -> float:
    """The distance of neighbouring values, 0 where they are not rounded."""
    return max((one.resolution for one in self.all_defences), default=0.0)

  def live(self, victim: Answering, is_owner: bool = False) -> Live:
    """A victim that answers as the settings say.

    Args:
      victim: It.
      is_owner: Whether its owner asks; see `Live`.

    Raises:
      InputError: It cannot.
    """
    return Live(victim, self.reveal, self.all_defences, self.dtype, is_owner)

  def store(self, path: str | os.PathLike, outputs: int, victim: str,
            data: str | None, mode: Mode = Mode.OWNER,
            patience: float = 0.0, resolution: float = 0.0) -> ResponseStore:
    """Opens the responses at `path`, which must be those of these settings.

    Args:
      path: The file.
      outputs: The number of classes, c.
      victim: The fingerprint of the victim.
      data: That of the data set. Not its name, which may be one of several
        paths to it.
      mode: What this process does with it.
      patience: Seconds to wait for another process that uses it.
      resolution: Of the victim's own scores, 0 if they are not rounded.

    Raises:
      InputError: The file is of other settings, in use, or damaged.
    """
    path = pathlib.Path(path)
    identity = {
        "defences": "; ".join(map(str, self.all_defences)),
        "revealed dtype": self.dtype, "victim": victim, "data set": data}
    is_new = not path.exists()
    try:
      return ResponseStore(
          path, self.reveal, outputs, identity, self.response_dtype,
          resolution=max(self.resolution, resolution), mode=mode,
          patience=patience)
    except ValueError:
      # What SQLite makes of a new file on a full disk.
      if is_new and path.is_file() and not path.stat().st_size:
        path.unlink()
      raise


def richest(victim: Answering) -> OracleSettings:
  """The settings that reveal all that a classifier can give, to measure."""
  quantities = victim.quantities
  reveal: Reveal = Label()
  if Quantity.LOGITS in quantities:
    reveal = Logits()
  elif Quantity.PROBABILITIES in quantities:
    reveal = Scores()
  elif Quantity.TOP_SCORES in quantities:
    reveal = TopK(victim.named or 1)
  return OracleSettings(reveal=reveal, response_dtype="float64")
