"""Extraction of a linear classifier from labels, by least squares."""

import dataclasses

import keras
import numpy as np

from wsl_extraction.attacks.attack import Attack
from wsl_extraction.attacks.data_sheet import Goal, Model, Queries
from wsl_extraction.attacks.extraction import Extraction, Figure, Status
from wsl_extraction.oracle.reveals import Label
from wsl_extraction.oracle.spaces import Vectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeastSquares(Attack):
  """Fits a linear classifier to the labels of random inputs.

  Attributes:
    rows: The inputs that are made up and asked about, n.
  """

  needs = (Label(),)
  space = Vectors
  queries = Queries.SYNTHETIC
  goal = Goal.FIDELITY
  model = Model.LINEAR

  rows: int = 500

  def run(self, oracle, knowledge, rng, runtime):
    inputs = oracle.space.sample(self.rows, rng)           # [n, d]
    classes = oracle.query(inputs).top_classes             # [n]
    targets = np.eye(oracle.outputs)[classes]              # [n, c]
    columns = np.hstack([inputs, np.ones((self.rows, 1))])  # [n, d + 1]
    solution = np.linalg.lstsq(columns, targets, rcond=None)[0]  # [d + 1, c]
    surrogate = keras.Sequential([
        keras.Input(oracle.space.shape), keras.layers.Dense(oracle.outputs)])
    surrogate.set_weights([solution[:-1], solution[-1]])
    off = np.abs(columns @ solution - targets).mean()
    return Extraction(surrogate, Status.DONE, figures=(
        Figure("residual", float(off), f"{off:.3f} on average"),))
