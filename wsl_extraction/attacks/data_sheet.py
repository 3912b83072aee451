"""The terms in which attacks describe themselves."""

from __future__ import annotations

import enum


class Queries(enum.Enum):
  """The origin of the inputs of queries."""

  POOL = "pool"
  SYNTHETIC = "synthetic"
  NONE = "none"


class Goal(enum.Enum):
  """The goal of an adversary (Jagielski et al. 2020, section 3.2)."""

  ACCURACY = "task accuracy"
  FIDELITY = "fidelity"
  FUNCTIONAL_EQUIVALENCE = "functional equivalence"


class Model(enum.Enum):
  """The class of victims that an attack is made for."""

  LINEAR = "linear model"
  NEURAL_NETWORK = "neural network"
  DECISION_TREE = "decision tree"
