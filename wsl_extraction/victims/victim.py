"""What a victim is to the rest of the package."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from wsl_extraction.networks.relu_network import ReluNetwork


@dataclasses.dataclass(frozen=True)
class Victim:
  """A model to put behind an oracle.

  Attributes:
    predict: Maps images [n, h, w, d], in the data set's range, to [n, c].
    outputs: What it gives, "logits" or "probabilities".
    input_shape: (h, w, d).
    num_classes: c.
    fingerprint: Differs between victims that answer differently.
    licence: Under which its weights may be used, one line for the user; empty
      where that is not known.
    weights: The network that maps flattened images to logits, where the victim
      is one: for proofs, never for the oracle.
  """

  predict: Callable[[np.ndarray], np.ndarray]
  outputs: str
  input_shape: tuple[int, ...]
  num_classes: int
  fingerprint: str
  licence: str = ""
  weights: ReluNetwork | None = None

  def facts(self) -> dict[str, Any]:
    """All but the function, of what JSON can hold."""
    return {"outputs": self.outputs, "input_shape": list(self.input_shape),
            "num_classes": self.num_classes, "fingerprint": self.fingerprint}


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """What the caller offers when a victim is made.

  Attributes:
    cache: A folder for what is made once and used again.
    callbacks: Called with the steps of a training and the images that go
      through the network in each, gives Keras callbacks for it.
    compile_options: For Keras' `compile`, beside the optimizer; see
      `devices.compile_options`.
  """

  cache: pathlib.Path
  callbacks: Callable[[int, int], Sequence[keras.callbacks.Callback]] = (
      lambda steps, images: ())
  compile_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def in_batches(network: keras.Model,
               batch_size: int = 256) -> Callable[[np.ndarray], np.ndarray]:
  """The function of a network, as a victim: images [n, h, w, d] to [n, c].

  An oracle is asked a batch at a time, and Keras' `predict` makes a pipeline
  for each call that costs several times the answer (benchmarks/labelling.py).

  Args:
    network: Maps images to outputs.
    batch_size: The most images that it sees at once.
  """
  def predict(images: np.ndarray) -> np.ndarray:
    # A batch of no images still has the shape of an answer.
    starts = range(0, max(len(images), 1), batch_size)
    return np.concatenate(
        [network.predict_on_batch(images[start:start + batch_size])
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


def weights_digest(network: keras.Model) -> str:
  """A fingerprint of a network's weights."""
  return digest(*network.get_weights())
