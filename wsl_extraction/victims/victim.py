"""Victims, and the sources that load them."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from wsl_extraction.data.split import Parts
from wsl_extraction.networks.decision_tree import DecisionTree
from wsl_extraction.networks.linear_weights import LinearWeights
from wsl_extraction.networks.relu_network import ReluNetwork
from wsl_extraction.networks.step_sum import StepSum
from wsl_extraction.oracle.exchanges import Link
from wsl_extraction.oracle.responders import victim_resolution
from wsl_extraction.oracle.response import Quantity
from wsl_extraction.oracle.spaces import Space
from wsl_extraction.runtime.runtime import Runtime
from wsl_extraction.victims import answers


@dataclasses.dataclass(frozen=True, eq=False)
class Victim:
  """A model to put behind an oracle.

  Attributes:
    space: The inputs that it takes.
    outputs: The number of its classes, c.
    quantities: What it computes, and the functions of rows [n, *space.shape]
      that do.
    fingerprint: Differs between victims that answer differently.
    licence: Under which its weights may be used, one line for the user; empty
      where that is not known.
    remote: Whether an answer can be lost on the way, and was given all the
      same.
    link: The way to a remote one, where each request is charged by itself.
    decimals: To so many its scores are rounded; None where that is not known.
    named: The number of classes that it scores, where it gives the best scores.
    value_range: The range of values that reach the model, where its user
      chooses it; None where the source knows by itself.
    is_random: True for weights that were drawn and never trained: such a victim
      is not expected to be right.
    weights: What maps flattened rows to logits, where it is known: for proofs,
      never for the oracle.
  """

  space: Space
  outputs: int
  quantities: Mapping[Quantity, Callable[[np.ndarray], Any]]
  fingerprint: str
  licence: str = ""
  remote: bool = False
  link: Link | None = None
  weights: DecisionTree | LinearWeights | ReluNetwork | StepSum | None = None
  decimals: int | None = None
  named: int | None = None
  value_range: tuple[float, float] | None = None
  is_random: bool = False

  def predict(self, rows: np.ndarray) -> Any:
    """Logits or probabilities [n, c] of rows, or what else it gives."""
    return next(iter(self.quantities.values()))(rows)

  def facts(self) -> dict[str, Any]:
    """The facts that identify it, as JSON can hold them."""
    return {"quantities": [one.value for one in self.quantities],
            "outputs": self.outputs, "fingerprint": self.fingerprint,
            "resolution": victim_resolution(self)}


class VictimSource(abc.ABC):
  """Makes a victim; its fields say which."""

  @abc.abstractmethod
  def load(self, parts: Parts, runtime: Runtime) -> Victim:
    """Loads or trains the victim.

    Args:
      parts: The data: the inputs and classes that it has to fit, and the
        private examples that it may learn from.
      runtime: Gives the cache, and what its training needs.

    Raises:
      InputError: It cannot be had, or does not fit.
    """


def quantities_of(outputs: str, predict: Callable[[np.ndarray], Any],
                  where: str = "outputs", *, classes: int | None = None,
                  class_names: Sequence[Any] | None = None,
                  k: int | None = None
                  ) -> Mapping[Quantity, Callable[[np.ndarray], Any]]:
  """The quantity that a function gives, as an oracle reads it.

  Args:
    outputs: The form of its answers, and so which quantity; see
      `answers.Answers`.
    predict: It, of rows [n, ...].
    where: The name of the setting `outputs`.
    classes: c, if it is known.
    class_names: See `answers.Answers`, as for `k`.
    k: The number of classes that it names.

  Raises:
    InputError: `outputs` is none of `answers.OUTPUTS`.
  """
  form = answers.Answers(answers.check_outputs(where, outputs), classes,
                         class_names, k)
  return {form.quantity: answers.reader(form, predict)}


def in_batches(network: keras.Model,
               batch_size: int = 256) -> Callable[[np.ndarray], np.ndarray]:
  """The function of a network, as a victim: rows [n, ...] to [n, c].

  An oracle is asked a batch at a time, and Keras' `predict` makes a pipeline
  for each call that costs several times the answer (benchmarks/labelling.py).

  Args:
    network: Maps rows to outputs.
    batch_size: The most rows that it sees at once.
  """
  def predict(rows: np.ndarray) -> np.ndarray:
    # A batch of no rows still has the shape of an answer.
    starts = range(0, max(len(rows), 1), batch_size)
    return np.concatenate(
        [answers.as_array(answers.plain(
            network.predict_on_batch(rows[start:start + batch_size])))
         for start in starts])

  return predict


def digest(*parts: Any) -> str:
  """A short fingerprint of bytes, arrays and strings."""
  sums = hashlib.blake2b(digest_size=16)
  for part in parts:
    if isinstance(part, np.ndarray):
      part = str((part.dtype.str, part.shape)).encode() + part.tobytes()
    elif not isinstance(part, bytes):
      part = str(part).encode()
    sums.update(len(part).to_bytes(8, "little") + part)
  return sums.hexdigest()


def range_facts(space: Space) -> tuple[float, float]:
  """The range of a space for fingerprints: whole numbers as such."""
  low, high = (int(end) if end.is_integer() else end
               for end in space.value_range)
  return low, high


def weights_digest(network: keras.Model) -> str:
  """A fingerprint of a network's weights."""
  return digest(*network.get_weights())
