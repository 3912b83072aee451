"""Results of attacks."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import keras

from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.step_sum import StepSum


class Status(enum.Enum):
  """The end of an attack."""

  DONE = "DONE"
  BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
  INCOMPLETE = "INCOMPLETE"


@dataclasses.dataclass(frozen=True)
class Figure:
  """A number that an attack reports beside its surrogate.

  Attributes:
    name: In `result.json`, and what the printed line begins with.
    value: A number, a bool or a text.
    text: What is printed; nothing where it is empty.
  """

  name: str
  value: Any
  text: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Extraction:
  """The result of an attack.

  Attributes:
    surrogate: Maps rows to logits [n, c].
    status: How the attack ended.
    weights: What the surrogate is, where it was computed: for proofs.
    figures: What else there is to say.
    missing: What the surrogate lacks; empty if nothing.
  """

  surrogate: keras.Model
  status: Status
  weights: DecisionTree | LinearWeights | ReluNetwork | StepSum | None = None
  figures: tuple[Figure, ...] = ()
  missing: str = ""

  def figure(self, name: str) -> Any:
    """The value of the figure of that name."""
    return next(one.value for one in self.figures if one.name == name)
