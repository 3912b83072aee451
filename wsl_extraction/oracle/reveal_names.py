"""Reveals by name, as people type them."""

from __future__ import annotations

import re
from typing import Any

from wsl_extraction import checks
from wsl_extraction.oracle.reveals import (
    Label,
    LabelScore,
    Logits,
    Reveal,
    Scores,
    TopK,
)
from wsl_extraction.oracle.side_reveals import (
    Both,
    Gradients,
    Leaf,
    Partial,
    PowerTrace,
)

_NAMES = {"label": Label, "label_score": LabelScore, "scores": Scores,
          "logits": Logits, "leaf": Leaf, "partial": Partial,
          "power_trace": PowerTrace}


def parse(where: str, value: Any) -> Reveal:
  """Reads a reveal: an object, or its name such as "scores" or "top_k:3".

  Two of them are "leaf + label".

  Args:
    where: The setting's name, for messages.
    value: What was given; of names case does not count, nor "-" for "_".

  Raises:
    InputError: It is none.
  """
  if isinstance(value, Reveal):
    return value
  name = value.strip().lower().replace("-", "_") if isinstance(
      value, str) else ""
  if "+" in name:
    first, _, second = name.partition("+")
    return Both(parse(where, first), parse(where, second))
  if name in _NAMES:
    return _NAMES[name]()
  counted = re.fullmatch(r"top_?k:(\d+)", name)
  if counted and int(counted[1]):
    return TopK(int(counted[1]))
  of = re.fullmatch(r"gradients:(logits|scores)", name)
  if of:
    return Gradients(of[1])
  return checks.refuse(where, value, "label, label_score, top_k:3, scores, "
                       "logits, or an object such as TopK(3)")
