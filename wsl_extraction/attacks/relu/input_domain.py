"""Inputs as an API takes them: any numbers, a box, or whole pixels.

An API of images may clip its inputs to their range and round them to 8 bits,
and says so nowhere. A few rows show it: two inputs that it makes one of have
the same answer.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from wsl_extraction.oracle.oracle import Oracle
from wsl_extraction.oracle.outputs import VictimFailed

_LEVELS = 255  # steps of 8 bits
_TRIES = 12
_MORE = 3  # rows that confirm what one shows
_SAME = 1e-9  # as a share of what a step of half a pixel changes


@dataclasses.dataclass(frozen=True, eq=False)
class InputDomain:
  """The inputs that an oracle tells apart.

  Attributes:
    box: The lowest and highest x of every feature, each [d]; None for all real
      numbers.
    step: The x-distance of neighbouring inputs, [d]; None for real inputs.
    lift: What is added to whole steps, as a share of one, so that an oracle
      that cuts off rounds none of them down.
    is_bytes: Whether rows are sent as uint8.
    text: What was found out, for the user.
  """

  box: tuple[np.ndarray, np.ndarray] | None = None
  step: np.ndarray | None = None
  lift: float = 0.0
  is_bytes: bool = False
  text: str = "any real inputs"

  def nearest(self, inputs: np.ndarray) -> np.ndarray:
    """The nearest inputs [n, d] that the oracle tells apart."""
    if self.box is None:
      return inputs
    low, high = self.box
    inputs = np.clip(inputs, low, high)
    if self.step is not None:
      inputs = np.clip(low + np.round((inputs - low) / self.step) * self.step,
                       low, high)
    return inputs

  def sent(self, inputs: np.ndarray) -> np.ndarray:
    """The rows [n, d] to send for inputs that `nearest` gave."""
    if self.is_bytes:
      return np.round(inputs).astype(np.uint8)
    if self.step is None or not self.lift:
      return inputs
    assert self.box is not None
    return np.minimum(inputs + self.lift * self.step, self.box[1])


def explore(oracle: Oracle, examples: np.ndarray, box: bool | None,
            rng: np.random.Generator) -> InputDomain:
  """Finds out from a few rows what the oracle makes of its inputs.

  Args:
    oracle: With a space of finite range; without one, nothing is asked.
    examples: float64 [n, d].
    box: Whether inputs must stay in the range: None where the oracle decides.
    rng: Draws the rows.

  Raises:
    BudgetExceeded: The budget ends first.
    VictimFailed: The oracle answers neither real numbers nor whole pixels.
  """
  space = oracle.space
  if not space.has_range:
    return InputDomain()
  low, high = (np.broadcast_to(np.asarray(end, np.float64).ravel(), (
      space.features,)) for end in (space.low, space.high))
  probe = _Probe(oracle, low, (high - low) / _LEVELS, rng)
  is_bytes = bool((low == 0).all() and (high == _LEVELS).all())
  try:
    how = probe.rounding() and probe.rounding(_MORE)
  except VictimFailed:
    probe.ask(probe.pixels(1), True)
    return InputDomain((low, high), probe.step, 0.0, True,
                       "uint8 pixels alone: the oracle refuses other numbers")
  if how:
    return InputDomain(
        (low, high), probe.step, 0.25 if how == "cuts" else 0.0, is_bytes,
        f"whole pixels: the oracle {how} inputs to 8 bits")
  if box or (box is None and space.bounded):
    return InputDomain((low, high), text="real inputs in their range")
  if not space.bounded and probe.clips() and probe.clips(_MORE):
    return InputDomain((low, high), text="real inputs in their range, to which "
                       "the oracle clips")
  return InputDomain()


@dataclasses.dataclass(frozen=True, eq=False)
class _Probe:
  """Rows that an oracle may take for one and the same."""

  oracle: Oracle
  low: np.ndarray
  step: np.ndarray
  rng: np.random.Generator

  @np.errstate(invalid="ignore")
  def rounding(self, rows: int = 1) -> str:
    """The word for what it does to fractions of a pixel; empty for nothing."""
    for _ in range(_TRIES):  # where answers are constant, nothing shows
      pixels = self.pixels(rows)
      real = self.ask(pixels + self.rng.uniform(0.55, 0.9, pixels.shape))
      up, down = self.ask(pixels + 1.0), self.ask(pixels + 0.25)
      for how, other in (("rounds", up), ("cuts", down)):
        if _same(real, other, up - down):
          return how
      if (up != down).any():
        break
    return ""

  @np.errstate(invalid="ignore")
  def clips(self, rows: int = 1) -> bool:
    """Whether inputs out of range are taken for the nearest in it."""
    for _ in range(_TRIES):
      pixels = self.pixels(rows)
      out = pixels + self.rng.choice(
          [-1.0, 1.0], pixels.shape) * 2 * _LEVELS
      beyond, edge = self.ask(out), self.ask(np.clip(out, 0, _LEVELS))
      usual = edge - self.ask(pixels)
      if usual.any():
        return _same(beyond, edge, usual)
    return False

  def pixels(self, rows: int) -> np.ndarray:
    return self.rng.integers(
        30, _LEVELS - 30, (rows, len(self.low))).astype(np.float64)

  def ask(self, pixels: np.ndarray, is_bytes: bool = False) -> np.ndarray:
    rows = self.low + pixels * self.step
    rows = rows.reshape(-1, *self.oracle.space.shape)
    if is_bytes:
      rows = np.round(rows).astype(np.uint8)
    return self.oracle.query(rows).values.astype(np.float64)


def _same(one: np.ndarray, other: np.ndarray, usual: np.ndarray) -> bool:
  """Equal, but for far less than what an input that differs changes."""
  if not np.isfinite([one, other, usual]).all():
    return False
  largest = np.abs(usual).max()
  return bool(largest > 0 and np.abs(one - other).max() <= _SAME * largest)
