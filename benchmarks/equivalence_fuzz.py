"""Generated networks: is anything proved that is not so?

Pairs of networks of 1 to 4 layers, some read from Keras models of many kinds of
layers, others of numbers from 1e-300 to 1e300, denormals or a few scales a
column. The other network is a copy, the same with its units exchanged and
scaled, with noise, with one weight moved, or a stranger. `decide`,
`largest_difference` and `certify` answer within a second each. Whatever they
say is held against exact rational arithmetic at 60 inputs of the domain,
corners among them, and at the best input that any of them gave; models are held
against their own `predict`. Wrong is: a bound below an exact difference,
"equal" where an exact difference is above the tolerance, a difference that is
not the exact one, an accepted model that answers otherwise, or an error.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction

import keras
import numpy as np
import timing
from keras import layers

from wsl_extraction.equivalence import certify
from wsl_extraction.equivalence.decide import (
    Different,
    Equal,
    decide,
    largest_difference,
    quiet,
)
from wsl_extraction.equivalence.domains import Box, Corners, Domain
from wsl_extraction.errors import InputError
from wsl_extraction.networks import keras_reader
from wsl_extraction.networks.relu_network import ReluNetwork

_SECONDS = 1.0
_SCALES = ("usual", "mixed", "columns", "any", "denormal")
_KINDS = ("copy", "exchanged", "noise", "one weight", "stranger")


@dataclasses.dataclass(frozen=True)
class Case:
  """Two networks, a domain, and what is said of them in the table."""

  group: str
  f: ReluNetwork
  g: ReluNetwork
  domain: Domain


def drawn(rng: np.random.Generator, shape: tuple[int, ...],
          scale: str) -> np.ndarray:
  """Numbers [*shape] of one of the scales."""
  sign = rng.choice([-1.0, 1.0], shape)
  if scale == "any":
    return sign * 10.0 ** rng.uniform(-300, 300, shape)
  if scale == "columns":
    return sign * rng.uniform(0.5, 2, shape) * 10.0 ** rng.uniform(
        -300, 300, shape[-1:])
  if scale == "denormal":
    return sign * rng.choice([0.0, 5e-324, 1e-310, 2e-308, 1.0], shape)
  if scale == "mixed":
    return sign * 10.0 ** rng.uniform(-9, 9, shape)
  return rng.normal(size=shape) / np.sqrt(max(shape[0], 1))


def weights_case(rng: np.random.Generator) -> Case:
  """Networks of drawn weights."""
  scale = _SCALES[rng.integers(len(_SCALES))]
  sizes = (int(rng.integers(1, 5)),
           *rng.integers(1, 9, rng.integers(0, 4)).tolist(),
           int(rng.integers(1, 4)))

  def network() -> ReluNetwork:
    linear = rng.uniform() < 0.2 and drawn(rng, (sizes[0], sizes[-1]), scale)
    return ReluNetwork(
        [drawn(rng, shape, scale) for shape in itertools.pairwise(sizes)],
        [drawn(rng, (size,), scale) for size in sizes[1:]],
        linear=None if linear is False else linear)

  f = network()
  kind = _KINDS[rng.integers(len(_KINDS))]
  g = network() if kind == "stranger" else _changed(f, kind, rng)
  if rng.uniform() < 0.3:
    return Case(scale, f, g, Corners(sizes[0]))
  size = 10.0 ** rng.uniform(-6, 6) if scale != "usual" else 1.0
  return Case(scale, f, g, Box(-size * rng.uniform(0, 1, sizes[0]),
                               size * rng.uniform(0, 1, sizes[0])))


def _changed(f: ReluNetwork, kind: str,
             rng: np.random.Generator) -> ReluNetwork:
  weights = [matrix.copy() for matrix in f.weights]
  biases = [bias.copy() for bias in f.biases]
  size = 10.0 ** rng.uniform(-14, -1)
  if kind == "exchanged":
    for layer, width in enumerate(f.hidden):
      order, by = rng.permutation(width), 2.0 ** rng.integers(-4, 5, width)
      weights[layer] = weights[layer][:, order] * by
      biases[layer] = biases[layer][order] * by
      weights[layer + 1] = weights[layer + 1][order] / by[:, None]
  elif kind == "noise":
    for array in (*weights, *biases):
      array *= 1 + size * rng.normal(size=array.shape)
  elif kind == "one weight":
    matrix = weights[rng.integers(len(weights))]
    matrix.flat[rng.integers(matrix.size)] *= 1 + size
  weights, biases = ([np.clip(array, -1.7e308, 1.7e308) for array in arrays]
                     for arrays in (weights, biases))
  return ReluNetwork(weights, biases, linear=f.linear)


def model_case(rng: np.random.Generator) -> Case:
  """Networks read from a Keras model, before and after a change of weights.

  Raises:
    AssertionError: The model was accepted, and answers otherwise.
  """
  model = _model(rng)
  f = _read(model, rng)
  arrays = model.get_weights()
  kind = rng.integers(3)
  if kind and arrays:
    size = 0.0 if kind == 1 else 10.0 ** rng.uniform(-6, -1)
    model.set_weights([array * (1 + size * rng.uniform(size=array.shape))
                       for array in arrays])
  g = _read(model, rng)
  return Case("Keras", f, g, Box.unit(f.dimension))


def _model(rng: np.random.Generator) -> keras.Model:
  """A random graph of 1 to 4 layers with weights, and others between."""
  is_image = rng.uniform() < 0.3
  inputs = keras.Input((4, 4, 1) if is_image else (int(rng.integers(1, 4)),))
  x = inputs
  if is_image:
    x = layers.Conv2D(2, 2, strides=2, activation="relu")(x)
    x = layers.AveragePooling2D(2)(x) if rng.uniform() < 0.5 else x
    x = layers.Flatten()(x)
  for _ in range(rng.integers(1, 5)):
    before = x
    x = layers.Dense(int(rng.integers(1, 6)))(x)
    extra = rng.integers(8)
    if extra == 0:
      x = layers.BatchNormalization()(x)
    elif extra == 1:
      x = layers.LeakyReLU(0.2)(x)
    elif extra == 2 and before.shape == x.shape:
      x = layers.Add()([before, x])
    elif extra == 3:
      x = layers.Concatenate()([before, x])
    elif extra == 4:
      x = layers.Rescaling(0.5, 0.1)(x)
    if extra != 5:
      x = layers.ReLU(max_value=1.0 if extra == 6 else None)(x)
  model = keras.Model(inputs, layers.Dense(int(rng.integers(1, 4)))(x))
  for variable in model.variables:
    values = rng.normal(size=variable.shape)
    variable.assign(np.abs(values) + 0.1 if "variance" in variable.path
                    else values)
  return model


def _read(model: keras.Model, rng: np.random.Generator) -> ReluNetwork:
  network = keras_reader.read(model)
  rows = rng.uniform(-1, 2, (20, *model.input_shape[1:])).astype("float32")
  answers = np.asarray(model.predict_on_batch(rows), np.float64)
  apart = np.abs(answers - network(rows.reshape(20, -1))).max()
  assert apart <= 1e-4 * (1 + np.abs(answers).max()), "a model is misread"
  return network


def _exact(f: ReluNetwork, g: ReluNetwork, rows: np.ndarray) -> Fraction:
  return max(abs(a - b) for a, b in zip(
      f.exact(rows).ravel(), g.exact(rows).ravel(), strict=True))


@quiet
def judged(case: Case, rng: np.random.Generator) -> tuple[str, list[str]]:
  """The answer of `decide`, and what was wrong."""
  f, g, domain = case.f, case.g, case.domain
  wrong = []
  largest = largest_difference(f, g, domain, _SECONDS)
  corners = rng.integers(0, 2, (20, f.dimension))
  rows = np.vstack([
      domain.sample(38, rng), domain.low, domain.high,
      np.where(corners, domain.high, domain.low), largest.inputs])
  seen = _exact(f, g, rows)
  if largest.upper < seen or largest.lower != _exact(
      f, g, largest.inputs[None]):
    wrong.append("largest_difference")
  tolerance = [0.0, 1e-9, float(min(seen, 10**300)),
               min(largest.upper, 1e300)][rng.integers(4)]
  answer = decide(f, g, domain, tolerance, _SECONDS)
  if isinstance(answer, Equal):
    is_wrong = not seen <= answer.bound <= tolerance
  elif isinstance(answer, Different):
    is_wrong = not answer.difference > tolerance or (
        answer.difference != _exact(f, g, answer.inputs[None]))
  else:
    is_wrong = answer.upper < max(seen, answer.lower)
  if is_wrong:
    wrong.append("decide")
  if isinstance(domain, Box) and len(f.weights) == len(g.weights) == 2:
    centred = bool(rng.integers(2))
    proof = certify.certify(f, g, domain, centred=centred)
    apart = f.exact(rows) - g.exact(rows)
    if centred:
      apart = apart - (apart.sum(axis=1) / Fraction(f.outputs))[:, None]
    if not abs(apart).max() <= proof.upper or proof.lower > proof.upper:
      wrong.append("certify")
  return type(answer).__name__, wrong


def main() -> None:
  args = timing.arguments(__doc__, rounds=1, cases="networks of each source")
  count = 20 if args.quick else int(args.cases or 1000)
  certify.SECONDS = _SECONDS
  answers: dict[str, collections.Counter] = {}
  failures = []
  sources: tuple[Callable[[np.random.Generator], Case], ...] = (
      weights_case, model_case)
  for number, source in enumerate(sources):
    for place in range(count):
      rng = np.random.default_rng([number, place])
      group = source.__name__
      try:
        case = quiet(source)(rng)
        group = case.group
        said, wrong = judged(case, rng)
      except (AssertionError, ArithmeticError, InputError, ValueError,
              TypeError) as error:
        said, wrong = "error", [f"{type(error).__name__}: {error}"]
      answers.setdefault(group, collections.Counter())[said] += 1
      answers[group]["wrong"] += bool(wrong)
      failures += [f"[{number}, {place}] {one}" for one in wrong]
      if place % 100 == 99:
        keras.backend.clear_session()
  columns = ("Equal", "Different", "Undecided", "error", "wrong")
  rows = [[group, str(sum(counts.values()) - counts["wrong"]),
           *(str(counts[name]) for name in columns)]
          for group, counts in sorted(answers.items())]
  args.folder = "results"
  args.figures = "counts, seeds [source, place] for source 0 and 1"
  timing.publish(
      args, "Proofs of generated networks",
      timing.table(["weights", "pairs", *map(str.lower, columns)], rows),
      "Wrong: " + ("; ".join(failures) if failures else "none") + ".")


if __name__ == "__main__":
  main()
