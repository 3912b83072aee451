"""Checks of settings, in the one wording that all refusals share.

Each takes the name under which a user knows the setting, such as
"Recipe.steps", returns the value as a plain Python object, and raises
`InputError` where it cannot be used. NumPy's numbers count as Python's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from wsl_extraction.errors import InputError

T = TypeVar("T")

LARGEST_SEED = 2**31 - 1


def whole(where: str, value: Any, least: int | None = 0,
          most: int | None = None, *, optional: bool = False) -> Any:
  """A whole number.

  Args:
    where: The setting's name.
    value: What was given for it.
    least: The smallest that is allowed; None for no limit.
    most: The largest.
    optional: Whether None is allowed as well.
  """
  if optional and value is None:
    return None
  if not is_whole(value) or (least is not None and value < least) or (
      most is not None and value > most):
    refuse(where, value, f"a whole number{_range(least, most)}", optional)
  return int(value)


def is_whole(value: Any, least: int | None = None) -> bool:
  """Returns True for an integer of at least `least` that is no bool."""
  return (isinstance(value, (int, np.integer))
          and not isinstance(value, (bool, np.bool_))
          and (least is None or bool(value >= least)))


def number(where: str, value: Any, least: float | None = None,
           most: float | None = None, *, above: float | None = None,
           below: float | None = None, optional: bool = False) -> Any:
  """A finite real number.

  Args:
    where: The setting's name.
    value: What was given for it.
    least: The smallest that is allowed.
    most: The largest.
    above: What it has to exceed.
    below: What it has to stay under.
    optional: Whether None is allowed as well.
  """
  if optional and value is None:
    return None
  inside = is_number(value) and all((
      least is None or value >= least, most is None or value <= most,
      above is None or value > above, below is None or value < below))
  if not inside:
    words = [f"above {above:g}"] if above is not None else []
    words += [f"below {below:g}"] if below is not None else []
    limits = " and ".join(words)
    refuse(where, value, "a number" + (
        f" {limits}" if limits else "") + _range(least, most), optional)
  return float(value)


def is_number(value: Any) -> bool:
  """Returns True for a finite real number that is no bool."""
  return (isinstance(value, (int, float, np.integer, np.floating))
          and not isinstance(value, (bool, np.bool_))
          and math.isfinite(value))


def seed(where: str, value: Any) -> int:
  """A seed: a whole number that every backend takes."""
  return whole(where, value, 0, LARGEST_SEED)


def flag(where: str, value: Any) -> bool:
  """True or False."""
  if not isinstance(value, (bool, np.bool_)):
    refuse(where, value, "True or False")
  return bool(value)


def one_of(where: str, value: Any, choices: Collection[Any]) -> Any:
  """One of a few values."""
  if not any(type(value) is type(one) and value == one for one in choices):
    named = ", ".join("None" if one is None else str(one) for one in choices)
    raise InputError(f"{where} is {value!r}; choose one of {named}")
  return value


def instance(where: str, value: Any, kind: type[T] | tuple[type, ...],
             example: str) -> T:
  """An object of a type.

  Args:
    where: The setting's name.
    value: What was given for it.
    kind: The type, or several.
    example: What to write, such as "a split, such as @split.Split()".
  """
  if not isinstance(value, kind):
    refuse(where, value, example)
  return value


def text(where: str, value: Any, example: str, *,
         optional: bool = False) -> Any:
  """A string, not empty."""
  if optional and value is None:
    return None
  if not isinstance(value, str) or not value:
    refuse(where, value, example, optional)
  return value


def reference(where: str, value: Any, example: str, *,
              optional: bool = False) -> Any:
  """Something to call, not what it gives.

  Args:
    where: The setting's name.
    value: What was given for it.
    example: What to write, such as "@resnet_v2.resnet_v2".
    optional: Whether None is allowed as well.
  """
  if optional and value is None:
    return None
  if not callable(value):
    refuse(where, value, f"a reference without parentheses, such as {example}",
           optional)
  return value


def whole_numbers(where: str, values: Any, least: int = 0, *,
                  distinct: bool = False, empty: bool = False
                  ) -> tuple[int, ...]:
  """A sequence of whole numbers, as a tuple.

  Args:
    where: The setting's name.
    values: What was given for it.
    least: The smallest that is allowed.
    distinct: Whether each may be there only once.
    empty: Whether there may be none.
  """
  good = isinstance(values, (Sequence, np.ndarray)) and not isinstance(
      values, str) and (empty or len(values) > 0) and all(
          is_whole(value, least) for value in values)
  if not good or (distinct and len(set(values)) != len(values)):
    refuse(where, values, f"a list of whole numbers{_range(least, None)}" + (
        " each" if not distinct else ", each once"))
  return tuple(int(value) for value in values)


def listed(names: Iterable[Any]) -> str:
  """Names as they are shown in a message."""
  return ", ".join(map(str, names))


def refuse(where: str, value: Any, wanted: str, optional: bool = False) -> Any:
  """Raises InputError in the common wording."""
  shown = " ".join(repr(value).split())
  shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
  raise InputError(
      f"{where} is {shown}; give {wanted}{', or None' if optional else ''}")


def _range(least: float | None, most: float | None) -> str:
  if least is None and most is None:
    return ""
  if most is None:
    return f", {least:g} or more"
  if least is None:
    return f", {most:g} or less"
  # Not by :g, which rounds large ones.
  return f" from {least} to {most}"
