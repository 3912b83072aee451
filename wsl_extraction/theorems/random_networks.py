r"""Theorem 3: random deep networks, which forget how alike their inputs were.

Inputs x of {0, 1}^d are centred to 2 x - 1, of length sqrt(d), so that the
correlation of two is 1 - 2 (share of features in which they differ). Each layer
has weights N(0, 1 / inputs), no biases, and the activation sign or ReLU. As the
width grows, the correlation (cosine) of two inputs after a layer tends to a
function of the one before, whatever the inputs:

  sign   2/pi arcsin(rho)                                    arcsine law
  ReLU   (sqrt(1 - rho^2) + (pi - arccos rho) rho) / pi      arc-cosine kernel

Under sign every correlation shrinks by 2/pi at least in the limit: inputs
become orthogonal, labels a coin toss to whoever looks at statistics of few
features, exponentially so in the depth. Under ReLU all inputs become alike
(rho tends to 1) around a common mean; the output here is therefore compared
with its median.

References:
  Das, Gollapudi, Kumar, Panigrahy. On the Learnability of Random Deep
    Networks. SODA 2020.
  Cho, Saul. Kernel Methods for Deep Learning. NeurIPS 2009, section 2 (orders
    0 and 1).
  Sheppard. On the Application of the Theory of Error to Cases of Normal
    Distribution and Normal Correlation. Philosophical Transactions A, 1899
    (the arcsine law).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from wsl_extraction.errors import InputError


def after_sign(rho: np.ndarray) -> np.ndarray:
  """The correlation after a layer of sign units, from that before it."""
  return 2 / np.pi * np.arcsin(rho)


def after_relu(rho: np.ndarray) -> np.ndarray:
  """The correlation after a layer of ReLUs, from that before it."""
  return (np.sqrt(1 - rho**2) + (np.pi - np.arccos(rho)) * rho) / np.pi


@dataclasses.dataclass(frozen=True)
class Activation:
  """An activation, and what it does to correlations."""

  name: str
  apply: Callable[[np.ndarray], np.ndarray]
  kernel: Callable[[np.ndarray], np.ndarray]


def _sign(values: np.ndarray) -> np.ndarray:
  return np.where(values >= 0, 1, -1).astype(values.dtype)


def _relu(values: np.ndarray) -> np.ndarray:
  return np.maximum(values, 0)


SIGN = Activation("sign", _sign, after_sign)
RELU = Activation("relu", _relu, after_relu)
ACTIVATIONS = (SIGN, RELU)


def predicted(activation: Activation, rho: float, depth: int) -> np.ndarray:
  """The correlations before any layer and after 1..depth: [depth + 1]."""
  law = np.full(depth + 1, rho, np.float64)
  for layer in range(depth):
    # A kernel may leave [-1, 1] by rounding.
    law[layer + 1] = np.clip(activation.kernel(law[layer]), -1, 1)
  return law


def inputs_with_correlation(rho: float, dimension: int,
                            rng: np.random.Generator) -> np.ndarray:
  """Two inputs of {0, 1}^d whose centred correlation is rho, float64 [2, d].

  Raises:
    InputError: d (1 - rho) / 2 is no whole number from 0 to d.
  """
  apart = dimension * (1 - rho) / 2
  if not (0 <= apart <= dimension and abs(apart - round(apart)) < 1e-9):
    raise InputError(f"no two inputs of {{0, 1}}^{dimension} have correlation "
                     f"{rho}; choose one of 1 - 2 j / {dimension}")
  first = rng.integers(0, 2, dimension)
  second = first.copy()
  changed = rng.permutation(dimension)[:round(apart)]
  second[changed] = 1 - second[changed]
  return np.stack([first, second]).astype(np.float64)


def correlations(activation: Activation, inputs: np.ndarray, width: int,
                 depth: int, rng: np.random.Generator) -> np.ndarray:
  """Correlations of two inputs after 1..depth layers of one random network.

  Args:
    activation: Of all layers.
    inputs: Of {0, 1}^d, [2, d].
    width: Units of each layer.
    depth: How many layers.
    rng: Of the weights.

  Returns:
    Float64 [depth].
  """
  values = (2 * inputs - 1).astype(np.float32)
  cosines = np.zeros(depth)
  for layer in range(depth):
    weights = rng.standard_normal((values.shape[1], width), np.float32)
    values = activation.apply(values @ weights)
    # Their scale does not matter to the cosine, but may overflow.
    values /= np.sqrt(np.mean(values**2, dtype=np.float64)).astype(np.float32)
    a, b = values.astype(np.float64)
    cosines[layer] = a @ b / np.sqrt((a @ a) * (b @ b))
  return cosines


@dataclasses.dataclass(frozen=True, eq=False)
class RandomNetwork:
  """A random network from {0, 1}^d to {0, 1}.

  Attributes:
    activation: Of the hidden layers.
    weights: [inputs, outputs] for each hidden layer.
    readout: [width].
    median: The label is 1 where the readout is above it.
  """

  activation: Activation
  weights: Sequence[np.ndarray]
  readout: np.ndarray
  median: float

  @classmethod
  def draw(cls, activation: Activation, dimension: int, width: int, depth: int,
           rng: np.random.Generator, samples: int = 2001) -> RandomNetwork:
    """A network of `depth` hidden layers, its labels balanced.

    The median is that of the readout on random inputs, so that no label is
    more frequent and a constant surrogate has a fidelity of 1/2.
    """
    if depth < 1 or width < 1 or dimension < 1:
      raise InputError(f"a network of depth {depth}, width {width} and "
                       f"{dimension} inputs cannot be; give 1 or more of each")
    sizes = (dimension, *[width] * depth)
    weights = [rng.standard_normal((a, b)) / np.sqrt(a)
               for a, b in itertools.pairwise(sizes)]
    drawn = cls(activation, weights, rng.standard_normal(width), 0.0)
    heights = drawn.heights(rng.integers(0, 2, (samples, dimension)))
    return dataclasses.replace(drawn, median=float(np.median(heights)))

  def heights(self, inputs: np.ndarray) -> np.ndarray:
    """The readout before it is compared, [n], of inputs [n, d]."""
    values = 2.0 * np.asarray(inputs, np.float64) - 1
    for matrix in self.weights:
      values = self.activation.apply(values @ matrix)
    return values @ self.readout

  def __call__(self, inputs: np.ndarray) -> np.ndarray:
    """Labels {0, 1} of inputs of {0, 1}^d: int64 [n] of [n, d]."""
    return (self.heights(inputs) > self.median).astype(np.int64)

  def probabilities(self, inputs: np.ndarray) -> np.ndarray:
    """The labels one-hot, float64 [n, 2]: what an `Oracle` reveals."""
    return np.eye(2)[self(inputs)]
